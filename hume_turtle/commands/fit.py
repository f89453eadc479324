"""The command `fit`: TURTLE or HUME on .npy files; no true label is read."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd

from hume_turtle.commands.arrays import open_arrays, rows_of_each
from hume_turtle.core.precision import pick_device
from hume_turtle.estimators.base import LabelingEstimator
from hume_turtle.estimators.hume import Hume
from hume_turtle.estimators.scores import cross_validation_score, generalization_score
from hume_turtle.estimators.selection import select
from hume_turtle.estimators.turtle import Turtle
from hume_turtle.pipeline.fit import ESTIMATORS
from hume_turtle.storage.files import new_files

ELSEWHERE = ("n_classes", "seed")  # settings that --classes and --seeds give
WORDS = {"true": True, "false": False, "none": None}


def settings_of(estimator: str) -> Iterator[tuple[str, object, str]]:
    """Name, default and description of every setting but `ELSEWHERE`, from the class itself."""
    kind = ESTIMATORS[estimator]
    texts = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", inspect.getdoc(kind), re.MULTILINE)
    described = {name: " ".join(text.split()) for name, text in texts}
    for name, parameter in inspect.signature(kind).parameters.items():
        if name not in ELSEWHERE:
            yield name, parameter.default, described[name]


def value(text: str):
    """A number, true, false, none, a list of these with commas, or the text itself.

    The estimators check what they are given.
    """
    if "," in text:
        return [value(each) for each in text.split(",")]
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def grid_of(choices: Iterable[str], known: Iterable[str]) -> dict[str, list]:
    """The grid that `--select NAME=V1,V2` options make."""
    grid: dict[str, list] = {}
    for text in choices:
        name, _, values = text.partition("=")
        name, listed = name.replace("-", "_"), values.split(",")
        if not all(listed) or name in grid:
            raise ValueError(f"--select {text!r} must be NAME=V1,V2,..., each name once")
        if name not in known:
            raise ValueError(f"--select: unknown {name!r}; known are {', '.join(known)}")
        grid[name] = [value(each) for each in listed]
    return grid


def fit(options: argparse.Namespace) -> None:
    """Fit every seed, with every combination of a grid if there is one, and keep one fit of each.

    Models that were fitted on scaled rows are saved as they act on the files' own rows.
    """
    known = [name for name, *_ in settings_of(options.estimator)]
    given = {name: getattr(options, name) for name in known if hasattr(options, name)}
    model = ESTIMATORS[options.estimator](options.classes, **given)
    grid = grid_of(options.select, [name for name in known if name != "device"])
    spaces, seeds = open_arrays(options.spaces, 2), options.seeds
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds {' '.join(map(str, seeds))}: give each seed once")
    files = {seed: {"labels": f"labels-{seed}.npy", "model": f"model-{seed}.npz"} for seed in seeds}
    places = ["results.csv", *(name for names in files.values() for name in names.values())]
    with new_files(options.save, places, options.overwrite) as folder:
        factors = [scale_of(space) if options.scale == "unit-rms" else 1.0 for space in spaces]
        start = perf_counter()
        fits, scores = fit_all(model, scaled(spaces, factors), seeds, grid)
        inputs = {"spaces": " ".join(options.spaces), "factors": " ".join(map(str, factors))}
        results = table(fits, scores).assign(seconds=perf_counter() - start, **inputs)
        chosen = kept(fits, scores)
        for i in chosen:
            act_on_unscaled(fits[i], factors, spaces)
            names = files[fits[i].seed]
            np.save(folder / names["labels"], fits[i].labels_)
            fits[i].save(folder / names["model"])
            results.loc[i, [*names]] = [*names.values()]
        results.to_csv(folder / "results.csv", index=False, lineterminator="\n")
    for i in chosen:
        path = Path(options.save, files[fits[i].seed]["labels"])
        print(f"{path}: {summary(fits[i], scores[i], grid)}")


def scale_of(space: np.ndarray) -> float:
    """What brings rows (n, d) to unit root mean square per element."""
    total = np.einsum("nd,nd->", space, space, dtype=np.float64)  # without a copy in float64
    return float(1 / np.sqrt(total / max(space.size, 1) or 1))


def scaled(spaces: Sequence[np.ndarray], factors: Sequence[float]) -> list[np.ndarray]:
    return [z if factor == 1 else z * np.float32(factor) for z, factor in zip(spaces, factors)]


def fit_all(
    model: LabelingEstimator, spaces: list, seeds: list[int], grid: dict[str, list]
) -> tuple[list[LabelingEstimator], np.ndarray]:
    """Every seed with every combination of the grid, as one batch, and the scores of their labels.

    TURTLE's is the generalization score, HUME's the cross-validation score in φ2; NaN without a
    grid, where nothing is to be chosen.
    """

    def score(spaces: list, labelings: np.ndarray) -> np.ndarray:
        if isinstance(model, Hume):
            return cross_validation_score(spaces[1], labelings, device=model.device)
        return generalization_score(spaces, labelings, device=model.device)

    if not grid:
        fits = model.fit_many(spaces, [{"seed": seed} for seed in seeds])
        return fits, np.full(len(fits), np.nan)
    found = select(model, spaces, {**grid, "seed": seeds}, score=score)
    return found.fits, found.scores


def kept(fits: Sequence[LabelingEstimator], scores: np.ndarray) -> list[int]:
    """For each seed the fit with the highest score; of equals the first."""
    best: dict[int, int] = {}
    for i, fitted in enumerate(fits):
        if fitted.seed not in best or scores[i] > scores[best[fitted.seed]]:
            best[fitted.seed] = i
    return list(best.values())


def act_on_unscaled(fitted: LabelingEstimator, factors: Sequence[float], spaces: list) -> None:
    """Give a fit of scaled rows to the rows as they are; HUME's brings them to unit length."""
    if isinstance(fitted, Turtle) and any(factor != 1 for factor in factors):
        for head, factor in zip(fitted.heads_, factors):
            head[:, :-1] *= np.float32(factor)
        fitted.labels_ = fitted.predict(spaces)  # as the saved fit has them, to the last row


def table(fits: Sequence[LabelingEstimator], scores: np.ndarray) -> pd.DataFrame:
    """One row per fit: what it ran with, the score of its labels and the objective's last value.

    labels, model: the files of a fit that is kept.
    """
    rows = [
        {
            "method": type(fitted).__name__.lower(),
            **fitted.get_params(),
            "precision": fitted.precision_,
            "device": str(pick_device(fitted.device)),
            "score": score,
            "objective": float(np.mean(fitted.history_["loss"][-1])),
            "labels": "",
            "model": "",
        }
        for fitted, score in zip(fits, scores)
    ]
    return pd.DataFrame(rows)


def summary(fitted: LabelingEstimator, score: float, grid: dict) -> str:
    line = rows_of_each(fitted.labels_, range(fitted.n_classes))
    if grid:
        line += f"; score {score:.4f} with "
        line += ", ".join(f"{setting}={getattr(fitted, setting)}" for setting in grid)
    return line
