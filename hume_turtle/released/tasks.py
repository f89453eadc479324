"""Labelings found elsewhere, as linear task encoders, and how well they agree with true labels.

A task has no settings, rows or history of a fit, so it is not a saved `Turtle` or `Hume`.

    <root>/<dataset>/<method>/<spaces joined by +>/<seed>.npz
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from hume_turtle.checks import check_choice, check_dims, check_number
from hume_turtle.estimators.hume import Hume
from hume_turtle.estimators.scores import cross_validation_score
from hume_turtle.estimators.turtle import Turtle
from hume_turtle.estimators.voting import majority_vote, matched
from hume_turtle.evaluation.metrics import evaluate
from hume_turtle.storage.embeddings import load_labels, load_spaces, part
from hume_turtle.storage.files import atomic_write

FORMAT = 1  # of saved files
METHODS = ("turtle", "hume", "hume-transductive")
SCORED_ON = {"hume": "train", "hume-transductive": "all"}  # the rows of the published CV_Score
SCORED_ON_TEST = ("imagenet",)  # the published runs there score the test rows instead


@dataclass(frozen=True)
class Task:
    """The weights of a labeling and what they belong to.

    Attributes:
        method: one of `METHODS`.
        dataset: its name.
        spaces: names of the representation spaces that it was found in.
        heads: an array (C, d_k + 1) for each space, the last column is the bias; of HUME one array
            (C, d_1) with orthonormal rows, for the first space only.
        source: the file it came from.
        score: the cross-validation score in φ2 that was released with it, if it was.
    """

    method: str
    dataset: str
    spaces: tuple[str, ...]
    heads: tuple[np.ndarray, ...]
    source: str
    score: float | None = None

    def __post_init__(self):
        """Raises ValueError for weights that do not fit together, or a score that is no number."""
        check_choice("method", self.method, METHODS)
        if self.score is not None:
            check_number("score", self.score, 0)
        shapes = [head.shape for head in self.heads]
        fits = len(shapes) == len(self.inputs) and len({shape[0] for shape in shapes}) == 1
        if not fits or shapes[0][0] < 2 or not all(np.isfinite(head).all() for head in self.heads):
            raise ValueError(f"heads of shapes {shapes} for the spaces {', '.join(self.inputs)}")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The spaces that label rows: all of TURTLE's, HUME's first."""
        return self.spaces if self.method == "turtle" else self.spaces[:1]

    def predict(self, spaces, device: str = "auto") -> np.ndarray:
        """Hard labels (n,) of rows: `argmax mean_k softmax(Z_k W_kᵀ + b_k)`, or `argmax Z_1 Wᵀ`.

        spaces: an array (n, d_k) for each of the `inputs`, on the scale of the encoders' output.
        """
        turtle = self.method == "turtle"
        model = (Turtle if turtle else Hume)(len(self.heads[0]), device=device)
        model.heads_ = list(self.heads) if turtle else [self.heads[0][None]]
        if turtle:  # else a single space is told of as scikit-learn's X
            widths = [space.shape[1] for space in spaces]
            check_dims(widths, [head.shape[1] - 1 for head in self.heads])
        return model.predict(spaces)

    def save(self, path: str | Path) -> None:
        """Write one .npz file atomically, without pickle."""
        header = {"format": FORMAT, "method": self.method, "dataset": self.dataset}
        header |= {"spaces": self.spaces, "source": self.source, "score": self.score}
        arrays = {f"head/{k}": head for k, head in enumerate(self.heads)}
        with atomic_write(path) as file:
            np.savez(file, header=np.array(json.dumps(header)), **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Task:
        """Read what `save` wrote; ValueError for any other file."""
        with open(path, "rb") as stream:
            try:
                with np.load(stream, allow_pickle=False) as file:
                    header = json.loads(str(file["header"]))
                    heads = tuple(file[f"head/{k}"] for k in range(len(file.files) - 1))
                if header.pop("format") != FORMAT:
                    raise ValueError("it has another format")
                spaces = tuple(header.pop("spaces"))
                return cls(**header, spaces=spaces, heads=heads)
            except Exception as error:  # a damaged zip raises errors of a dozen kinds
                raise ValueError(f"{path} is not a saved task: {error}") from error


def task_path(dataset: str, method: str, spaces: tuple[str, ...], seed: str) -> Path:
    """A task's path under the root. Raises ValueError for a name that leaves it."""
    return Path(part(dataset), part(method), part("+".join(spaces)), f"{part(seed)}.npz")


class Evaluation(NamedTuple):
    """What `evaluate_tasks` found, as three DataFrames.

    Attributes:
        scores: dataset, method, spaces, seed, split, metric, value (a fraction); the seed "vote"
            is HUME's majority vote over all seeds with a labeling, as the paper reports it.
        skipped: dataset, method, spaces, seed, reason: tasks that could not be evaluated.
        votes: dataset, method, spaces, reference, reason: the seed whose classes those of all
            seeds of a vote are matched to, and why this one.
    """

    scores: pd.DataFrame
    skipped: pd.DataFrame
    votes: pd.DataFrame


def evaluate_tasks(
    tasks: str | Path,
    embeddings: str | Path,
    labels: str | Path,
    split: str = "test",
    device: str = "auto",
) -> Evaluation:
    """Label the rows of an embedding cache with every saved task and score the labelings.

    The embeddings must be those of the encoder that the task was found with: weights mean nothing
    in another space of the same width.

    HUME's vote is the published one: classes are matched on the evaluated rows to those of the run
    with the highest cross-validation score, and ties go to the lowest class. Where a run has no
    released score, the scores of all runs are computed in φ2, on the rows of `SCORED_ON`. Where φ2
    is missing too, the best of the released scores serves, and without any the lowest seed.

    tasks, embeddings, labels: folders of saved tasks, the embedding cache and the true labels.
    split: "train", "test" or "all", which is train followed by test where it has no file.
    Raises FileNotFoundError if there are no tasks.
    """
    check_choice("split", split, ("train", "test", "all"))
    keys = ["dataset", "method", "spaces"]

    @lru_cache(maxsize=1)  # for the seeds of one folder
    def rows(dataset: str, spaces: tuple[str, ...], split: str) -> list[np.ndarray]:
        return _whole(lambda part: load_spaces(embeddings, dataset, spaces, part, "none"), split)

    def evaluated(path: Path) -> tuple[Task, np.ndarray, np.ndarray, dict[str, float]]:
        """A task, its labeling, the true labels and how well the two agree."""
        task = Task.load(path)
        labeling = task.predict(rows(task.dataset, task.inputs, split), device)
        (truth,) = _whole(lambda part: [load_labels(labels, task.dataset, part)], split)
        return task, labeling, truth, evaluate(truth, labeling)

    scores, skipped, votes = [], [], []
    for folder, group in groupby(saved_tasks(tasks), key=lambda path: path.parent):
        of_folder = dict(zip(keys, folder.parts[-3:]))
        found = {}
        for path in group:
            try:
                found[path.stem] = evaluated(path)
            except (FileNotFoundError, ValueError) as error:
                skipped.append({**of_folder, "seed": path.stem, "reason": str(error)})
        measures = {seed: measured for seed, (*_, measured) in found.items()}
        runs = [task for task, *_ in found.values()]
        if len(runs) > 1 and runs[0].method in SCORED_ON:
            _, labelings, (truth, *_), _ = zip(*found.values())
            best, reason = _reference(runs, rows, device)
            votes.append({**of_folder, "reference": list(found)[best], "reason": reason})
            measures["vote"] = evaluate(truth, _vote(runs, labelings, best))
        for seed, measured in measures.items():
            row = {**of_folder, "seed": seed, "split": split}
            scores += [{**row, "metric": key, "value": value} for key, value in measured.items()]
    return Evaluation(
        pd.DataFrame(scores, columns=[*keys, "seed", "split", "metric", "value"]),
        pd.DataFrame(skipped, columns=[*keys, "seed", "reason"]),
        pd.DataFrame(votes, columns=[*keys, "reference", "reason"]),
    )


def _vote(runs: Sequence[Task], labelings: Sequence[np.ndarray], best: int) -> np.ndarray:
    """The majority vote (n,) of the runs' labelings, in the classes of run `best`."""
    n_classes = max(len(task.heads[0]) for task in runs)
    return majority_vote(matched(np.stack(labelings), best, n_classes), None, n_classes)


def _reference(runs: Sequence[Task], rows: Callable, device: str) -> tuple[int, str]:
    """The run of one folder to which HUME's vote matches the others, and why this one.

    rows: function of a dataset, spaces and a split that gives the embeddings.
    """
    task, released = runs[0], [-np.inf if run.score is None else run.score for run in runs]
    lacking, best = released.count(-np.inf), int(np.argmax(released))
    chosen = f"highest released score, {max(released):.4f}"
    chosen = chosen if lacking < len(runs) else "lowest seed"
    if not lacking:
        return best, chosen
    without = f"{lacking} of {len(runs)} runs have no released score"
    split = "test" if task.dataset in SCORED_ON_TEST else SCORED_ON[task.method]
    try:
        phi1, phi2 = rows(task.dataset, task.spaces, split)
        labelings = np.stack([run.predict([phi1], device) for run in runs])
        scores = cross_validation_score(phi2, labelings, device=device)
    except (FileNotFoundError, ValueError) as error:
        return best, f"{chosen}; {without}, and none can be computed: {error}"
    return int(np.argmax(scores)), f"highest score on {split} rows, {scores.max():.4f}; {without}"


def saved_tasks(root: str | Path) -> list[Path]:
    """Every task under a folder, seeds in numerical order. FileNotFoundError if there is none."""
    paths = Path(root).glob("*/*/*/*.npz")
    order = sorted(paths, key=lambda path: (path.parent, len(path.stem), path.stem))
    if not order:
        raise FileNotFoundError(f"no tasks in {root}: import them first")
    return order


def _whole(load: Callable[[str], list[np.ndarray]], split: str) -> list[np.ndarray]:
    """The arrays of a split; "all" is its own file or train followed by test."""
    try:
        return load(split)
    except FileNotFoundError:
        if split != "all":
            raise
    return [np.concatenate(parts) for parts in zip(load("train"), load("test"))]
