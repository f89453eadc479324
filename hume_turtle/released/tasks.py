"""Labelings found elsewhere, as linear task encoders, and how well they agree with true labels.

A task has no settings, rows or history of a fit, so it is not a saved `Turtle` or `Hume`.

    <root>/<dataset>/<method>/<spaces joined by +>/<seed>.npz
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from hume_turtle.checks import check_choice
from hume_turtle.estimators.hume import Hume
from hume_turtle.estimators.turtle import Turtle
from hume_turtle.estimators.voting import majority_vote, matched
from hume_turtle.evaluation.metrics import evaluate
from hume_turtle.storage.embeddings import load_labels, load_spaces, part
from hume_turtle.storage.files import atomic_write

FORMAT = 1  # of saved files
METHODS = ("turtle", "hume", "hume-transductive")


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
    """

    method: str
    dataset: str
    spaces: tuple[str, ...]
    heads: tuple[np.ndarray, ...]
    source: str

    def __post_init__(self):
        """Raises ValueError for weights that do not fit together."""
        check_choice("method", self.method, METHODS)
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
        return model.predict(spaces)

    def save(self, path: str | Path) -> None:
        """Write one .npz file atomically, without pickle."""
        header = {"format": FORMAT, "method": self.method, "dataset": self.dataset}
        header |= {"spaces": self.spaces, "source": self.source}
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
    """What `evaluate_tasks` found, as two DataFrames.

    Attributes:
        scores: dataset, method, spaces, seed, split, metric, value (a fraction); the seed "vote"
            is HUME's majority vote over all seeds with a score, as the paper reports it; its
            classes are matched to those of the lowest seed, not of the one with the best score.
        skipped: dataset, method, spaces, seed, reason: tasks that could not be evaluated.
    """

    scores: pd.DataFrame
    skipped: pd.DataFrame


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

    tasks, embeddings, labels: folders of saved tasks, the embedding cache and the true labels.
    split: "train", "test" or "all", which is train followed by test where it has no file.
    Raises FileNotFoundError if there are no tasks.
    """
    check_choice("split", split, ("train", "test", "all"))
    keys = ["dataset", "method", "spaces", "seed"]
    scores, skipped = [], []
    for folder, group in groupby(saved_tasks(tasks), key=lambda path: path.parent):
        for seed, found in _evaluated(list(group), embeddings, labels, split, device):
            row = dict(zip(keys, (*folder.parts[-3:], seed)))
            if isinstance(found, str):
                skipped.append({**row, "reason": found})
                continue
            row["split"] = split
            scores += [{**row, "metric": key, "value": value} for key, value in found.items()]
    return Evaluation(
        pd.DataFrame(scores, columns=[*keys, "split", "metric", "value"]),
        pd.DataFrame(skipped, columns=[*keys, "reason"]),
    )


def saved_tasks(root: str | Path) -> list[Path]:
    """Every task under a folder, seeds in numerical order. FileNotFoundError if there is none."""
    paths = Path(root).glob("*/*/*/*.npz")
    order = sorted(paths, key=lambda path: (path.parent, len(path.stem), path.stem))
    if not order:
        raise FileNotFoundError(f"no tasks in {root}: import them first")
    return order


def _evaluated(
    paths: list[Path], embeddings, labels, split: str, device: str
) -> Iterator[tuple[str, dict[str, float] | str]]:
    """Each seed of one folder and its measures, or the reason why there are none."""
    labelings, classes = [], 0

    @cache
    def rows(dataset: str, spaces: tuple[str, ...]) -> list[np.ndarray]:
        return _whole(lambda part: load_spaces(embeddings, dataset, spaces, part, "none"), split)

    def true_labels(dataset: str) -> np.ndarray:
        return _whole(lambda part: [load_labels(labels, dataset, part)], split)[0]

    for path in paths:
        try:
            task = Task.load(path)
            labeling = task.predict(rows(task.dataset, task.inputs), device)
            truth = true_labels(task.dataset)
            measures = evaluate(truth, labeling)
        except (FileNotFoundError, ValueError) as error:
            yield path.stem, str(error)
            continue
        yield path.stem, measures
        labelings.append(labeling)
        classes = max(classes, len(task.heads[0]))
    if len(labelings) > 1:
        # HUME's scores of runs are in a pickle, which is never opened: the first decides ties.
        labelings = matched(np.stack(labelings), 0, classes)
        yield "vote", evaluate(truth, majority_vote(labelings, 0, classes))


def _whole(load: Callable[[str], list[np.ndarray]], split: str) -> list[np.ndarray]:
    """The arrays of a split; "all" is its own file or train followed by test."""
    try:
        return load(split)
    except FileNotFoundError:
        if split != "all":
            raise
    return [np.concatenate(parts) for parts in zip(load("train"), load("test"))]
