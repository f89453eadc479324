"""Fits written as the authors' programs write theirs, so that their evaluation reads ours.

The layouts are those that importers.py reads.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parametrizations

from hume_turtle.estimators.base import read_saved
from hume_turtle.estimators.hume import Hume
from hume_turtle.estimators.turtle import Turtle
from hume_turtle.storage.embeddings import part
from hume_turtle.storage.files import new_files


def export(
    path: str | os.PathLike,
    dataset: str,
    spaces: Sequence[str],
    output: str | os.PathLike,
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Write a saved `Turtle` or `Hume` in the authors' format; the files' paths.

    - TURTLE: `<K>space/<phi1>_<phi2>/<dataset>.pt`, a dict `phi1`, `phi2`, ... of `weight` (C, d_k)
      and `bias` (C,).
    - HUME: `<phi1>_<phi2>/<dataset>/linear_task_<seed>.pt` for each run, the state of PyTorch's
      default orthogonal parametrisation of a linear layer, whose weight is the run's (C, d_1).
      Beside each of several runs `results_<seed>.pickle` with its cross-validation score,
      `CV_Score`.

    The heads act on the rows of the fit: their spaces have to be as the encoders give them.

    dataset, spaces: names as the authors' programs have them, such as cifar10 and clipvitL14.
    Raises ValueError for another file, another number of spaces, a name that leaves `output`, and
    existing files unless `overwrite`. Then no file of `output` has changed.
    """
    kinds = {"Turtle": Turtle, "Hume": Hume}
    kind = kinds.get(read_saved(path)[0].get("estimator"))
    if kind is None:
        raise ValueError(f"{path} holds no Turtle and no Hume")
    model = kind.load(path, device="cpu")
    count = 2 if kind is Hume else len(model.heads_)
    if len(spaces) != count:
        raise ValueError(f"{path} was fitted in {count} spaces; {len(spaces)} named")
    folder, dataset = "_".join(map(part, spaces)), part(dataset)
    if kind is Turtle:
        files = {Path(f"{count}space", folder, f"{dataset}.pt"): partial(softmax_state, model)}
    else:
        files = dict(hume_files(model, Path(folder, dataset)))
    with new_files(output, [*files], overwrite) as new:
        for place, content in files.items():
            (new / place).parent.mkdir(parents=True, exist_ok=True)
            with (new / place).open("wb") as file:
                (torch.save if place.suffix == ".pt" else pickle.dump)(content(), file)
    return [Path(output, place) for place in files]


def softmax_state(model: Turtle) -> dict[str, dict[str, Tensor]]:
    """The weights (C, d_k) and biases (C,) of TURTLE's linear layers."""
    heads = [torch.from_numpy(head) for head in model.heads_]  # K of (C, d_k + 1)
    return {
        f"phi{k}": {"weight": head[:, :-1].clone(), "bias": head[:, -1].clone()}
        for k, head in enumerate(heads, 1)
    }


def hume_files(model: Hume, folder: Path) -> Iterator[tuple[Path, Callable[[], dict]]]:
    """The files of each run, and what makes their content."""
    for run, (rows, score) in enumerate(zip(model.heads_[0], model.run_scores_)):
        seed = model.seed + run
        yield folder / f"linear_task_{seed}.pt", partial(orthogonal_state, rows)
        if model.n_runs > 1:  # a single run has no score
            yield folder / f"results_{seed}.pickle", partial(dict, CV_Score=float(score))


def orthogonal_state(rows: np.ndarray) -> dict[str, Tensor]:
    """The state of an orthogonally parametrised linear layer whose weight is `rows` (C, d_1)."""
    (n_classes, dim), weight = rows.shape, torch.from_numpy(rows)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the rows are completed to a basis at random
        layer = parametrizations.orthogonal(torch.nn.Linear(dim, n_classes, bias=False))
        layer.weight = weight
    if dim > n_classes:  # the completion rounds; so the rows are ours to the last bit
        layer.parametrizations.weight[0].base[:, :n_classes] = weight.T
    return layer.state_dict()
