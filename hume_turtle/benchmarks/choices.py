"""What is chosen without labels, beside the truth: the number of classes, and γ for their sizes.

True labels only score the choices. The rules were found on the digits with all their classes, on
other subsets of them and on other mixtures; the column `seen` says which rows are such data.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.preprocessing import StandardScaler

from hume_turtle.checks import check_spaces
from hume_turtle.core.precision import pick_device
from hume_turtle.estimators.class_sizes import GAMMAS, solved
from hume_turtle.estimators.kmeans import kmeans
from hume_turtle.estimators.labeling import hard_labels
from hume_turtle.estimators.number_of_classes import check_candidates, select_n_classes
from hume_turtle.estimators.turtle import Turtle
from hume_turtle.estimators.turtle_fast import Run
from hume_turtle.evaluation.metrics import cluster_accuracy
from hume_turtle.pipeline.machine import hardware
from hume_turtle.pipeline.suite import NUMBER_COLUMNS, SIZE_COLUMNS, Suite
from hume_turtle.storage.files import atomic_write

SUBSETS = range(10)  # seeds of the random subsets of three to nine digits
BALANCED, UNBALANCED = (2, 3, 4, 6, 8, 10, 15, 20, 30), (3, 6, 10, 20)  # classes of mixtures
DIM, ROWS = 16, 2000  # of mixtures; a class has std 1 in every direction
DISTANCE = 6.0  # between the centres of two classes of a mixture, root mean square
SMALLEST = 0.15  # class of an unbalanced mixture, as a share of its largest
SETS = ("iris", "wine", "breast_cancer")  # scikit-learn's; each column is brought to std 1
SEEDS = (0, 1)  # of the fits that are compared for their sizes


class Data(NamedTuple):
    """Rows with known classes: K arrays (n, d_k), labels (n,), the most classes to be tried."""

    case: str
    spaces: list[np.ndarray]
    y: np.ndarray
    seen: bool = False
    most: int = 20


def measure_choices(suite: Suite) -> None:
    """Write data/measured/number-of-classes.csv and class-sizes.csv: about half an hour."""
    made = {"date": date.today().isoformat(), "hardware": hardware()}
    tables = {
        "number-of-classes": (numbers(suite), NUMBER_COLUMNS),
        "class-sizes": (sizes(suite), SIZE_COLUMNS),
    }
    for name, (rows, columns) in tables.items():
        table = pd.DataFrame(rows).assign(**made)[columns]
        path = suite.root / "data" / "measured" / f"{name}.csv"
        with atomic_write(path, "w", encoding="utf-8") as file:
            table.to_csv(file, index=False, float_format="%.4g", lineterminator="\n")
        print("written to", path)


def numbers(suite: Suite) -> Iterator[dict]:
    """The number of classes chosen in every case."""
    for data in (*suite_data(suite), *subsets(suite), *toy_sets(), *mixtures()):
        highest = min(data.most, check_candidates(None, len(data.y))[-1])
        found = select_n_classes(data.spaces, range(2, highest + 1))
        at = int(np.argmax(found.dip))
        row = {
            "case": data.case,
            "seen": data.seen,
            "rows": len(data.y),
            "classes": len(np.unique(data.y)),
            "chosen": found.chosen,
            "certain": found.certain,
            "dip": found.dip[at],
            "agreement": found.agreement[at],
            "agree_best": int(found.candidates[np.argmax(found.agreement)]),
        }
        print(row, flush=True)
        yield row


def sizes(suite: Suite) -> Iterator[dict]:
    """Cluster accuracy with the true number of classes by k-means, γ = 10 and γ chosen."""
    for data in (*suite_data(suite), *toy_sets(), *mixtures()):
        n_classes = len(np.unique(data.y))
        counts = np.unique(data.y, return_counts=True)[1]
        fast = {"recipe": "fast", "n_classes": n_classes}
        fits = {
            gamma: [Turtle(**fast, gamma=gamma, seed=seed).fit(data.spaces) for seed in SEEDS]
            for gamma in (10.0, "auto")
        }
        labels = [kmeans(data.spaces, n_classes, seed=seed) for seed in SEEDS]
        row = {
            "case": data.case,
            "seen": data.seen,
            "classes": n_classes,
            "largest_by_smallest": counts.max() / counts.min(),
            "k-means": np.mean([cluster_accuracy(data.y, each) for each in labels]),
            "gamma 10": np.mean([cluster_accuracy(data.y, fit.labels_) for fit in fits[10.0]]),
            "gamma 10, same search": np.mean(
                [cluster_accuracy(data.y, searched(data.spaces, n_classes, s)) for s in SEEDS]
            ),
            "gamma auto": np.mean([cluster_accuracy(data.y, fit.labels_) for fit in fits["auto"]]),
            "gammas": " ".join(f"{fit.gamma_:g}" for fit in fits["auto"]),
        }
        print(row, flush=True)
        yield row


def searched(spaces: list[np.ndarray], n_classes: int, seed: int) -> np.ndarray:
    """Labels (n,) at γ = 10 after the search that "auto" makes, with more restarts than `fit`."""
    run, device = Run(n_classes, GAMMAS[0], seed), pick_device("auto")
    (found,) = solved(check_spaces(spaces), run, [run.gamma], device)
    return hard_labels([head[:1] for head in found.heads], spaces)[0]


def suite_data(suite: Suite) -> Iterator[Data]:
    """All datasets of the suite, in every space and in every pair of spaces."""
    for dataset in suite.datasets:
        y = suite.labels(dataset, "all")
        names = suite.spaces_of(dataset)
        for chosen in [*combinations(names, 1), *combinations(names, 2)]:
            spaces = suite.spaces(dataset, chosen, "all")
            yield Data(f"{dataset}, {' + '.join(chosen)}", spaces, y, seen=True)


def subsets(suite: Suite) -> Iterator[Data]:
    """Random classes of the digits, in `letters` and in `moco` and `letters`."""
    y = suite.labels("digits", "all")
    for seed in SUBSETS:
        random = np.random.default_rng(seed)
        kept = np.sort(random.choice(10, random.integers(3, 10), replace=False))
        rows = np.isin(y, kept)
        for names in (["letters"], ["moco", "letters"]):
            spaces = [space[rows] for space in suite.spaces("digits", names, "all")]
            digits = "".join(map(str, kept))
            yield Data(f"digits {digits}, {' + '.join(names)}", spaces, y[rows])


def toy_sets() -> Iterator[Data]:
    for name in SETS:
        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        yield Data(name.replace("_", " "), [StandardScaler().fit_transform(x)], y)


def mixtures() -> Iterator[Data]:
    """Gaussian mixtures whose classes overlap, of equal and of geometrically falling sizes."""
    for smallest, numbers_of_classes in ((1.0, BALANCED), (SMALLEST, UNBALANCED)):
        for n_classes in numbers_of_classes:
            random = np.random.default_rng(n_classes)
            shares = np.geomspace(1, smallest, n_classes)
            y = random.choice(n_classes, ROWS, p=shares / shares.sum())
            centres = random.normal(size=(n_classes, DIM)) * DISTANCE / np.sqrt(2 * DIM)
            rows = centres[y] + random.normal(size=(ROWS, DIM))
            kind = "balanced" if smallest == 1 else "unbalanced"
            name = f"Gaussian mixture, {n_classes} {kind} classes"
            yield Data(name, [rows.astype(np.float32)], y, most=40)
