"""The labelings that HUME's and TURTLE's authors released, from their archives to saved tasks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.utils import parametrizations

from hume_turtle.released.archives import as_matrix, open_archive, read_checkpoint
from hume_turtle.released.layouts import (
    Imported,
    matching,
    our_dataset,
    our_space,
    unknown_spaces,
)
from hume_turtle.released.staging import staging
from hume_turtle.released.tasks import Task, task_path

HUME_TASK = re.compile(r"(?:.*/)?([^/_]+)_([^/_]+)/([^/]+)/linear_task_(\d+)\.pt")
TURTLE_TASK = re.compile(r"(?:.*/)?([1-9])space/([^/]+)/([^/]+)\.pt")

ORTHONORMAL = 1e-3  # largest error of W Wᵀ: float32 rounding is a hundredth of it


def import_hume_tasks(
    archive: str | Path, output: str | Path, *, overwrite: bool = False
) -> Imported:
    """HUME's tasks.zip to saved tasks (`tasks.py`), a file a seed.

    A task is the state of an orthogonally parametrised linear layer. The parametrisation is not in
    the state: it is PyTorch's default, which HUME's program uses (Householder reflections, or the
    matrix exponential for a square weight). What lies under a folder `transductive` gets the
    method "hume-transductive". Their scores, which are pickled, are never opened.

    Args:
        archive: with `<phi1>_<phi2>/<dataset>/linear_task_<seed>.pt` under any folder.
        output: root of the tasks.
        overwrite: replace files that are there.

    Raises:
        FileNotFoundError: if there is no archive.
        ValueError: for an archive that is not safe, whole or so laid out, states of other layers,
            rows that are not orthonormal, and files that are there already. Nothing is left behind.
    """

    def plan(match: re.Match) -> Plan:
        phi1, phi2, dataset, seed = match.groups()
        method = "hume-transductive" if "/transductive/" in f"/{match[0]}" else "hume"
        return Plan(method, dataset, (phi1, phi2), str(int(seed)))

    return _import_tasks(archive, output, overwrite, HUME_TASK, plan, orthonormal_heads)


def import_turtle_tasks(
    archive: str | Path, output: str | Path, *, overwrite: bool = False
) -> Imported:
    """TURTLE's turtle_tasks.zip to saved tasks (`tasks.py`), `imported.npz` each.

    Args:
        archive: with `1space/<phi>/<dataset>.pt`, `2space/<phi1>_<phi2>/<dataset>.pt`, ... under
            any folder, each a dict `phi1`, `phi2`, ... of `weight` (C, d_k) and `bias` (C,).
        output: root of the tasks.
        overwrite: replace files that are there.

    Raises:
        FileNotFoundError: if there is no archive.
        ValueError: for an archive that is not safe, whole or so laid out, other content, and files
            that are there already. Nothing is left behind.
    """

    def plan(match: re.Match) -> Plan:
        count, spaces, dataset = int(match[1]), match[2], match[3]
        names = [spaces] if count == 1 else spaces.split("_")
        if len(names) != count:
            raise ValueError(f"member {match[0]!r} names {len(names)} spaces, not {count}")
        return Plan("turtle", dataset, tuple(names), "imported")

    return _import_tasks(archive, output, overwrite, TURTLE_TASK, plan, softmax_heads)


class Plan(NamedTuple):
    """What a task is, from its member's name."""

    method: str
    dataset: str
    spaces: tuple[str, ...]
    seed: str

    def ours(self) -> Plan:
        """The same in this project's names."""
        spaces = tuple(map(our_space, self.spaces))
        return self._replace(dataset=our_dataset(self.dataset), spaces=spaces)

    @property
    def place(self) -> Path:
        return task_path(self.dataset, self.method, self.spaces, self.seed)


def _import_tasks(
    archive: str | Path,
    output: str | Path,
    overwrite: bool,
    layout: re.Pattern,
    plan: Callable[[re.Match], Plan],
    read_heads: Callable[[dict, str, int], tuple[np.ndarray, ...]],
) -> Imported:
    with open_archive(archive) as opened:
        found, notes = matching(opened, [layout], archive)
        theirs = [plan(match) for _, match in found]
        notes += unknown_spaces([space for each in theirs for space in each.spaces])
        ours = [each.ours() for each in theirs]
        places = [each.place for each in ours]
        size = sum(info.file_size for info, _ in found)  # a state is no smaller than its weights
        with staging(output, places, overwrite, size) as folder:
            for each, (info, _) in zip(ours, found):
                heads = read_heads(read_checkpoint(opened, info), info.filename, len(each.spaces))
                task = Task(each.method, each.dataset, each.spaces, heads, info.filename)
                task.save(folder / each.place)
    return Imported([Path(output, place) for place in places], notes)


def softmax_heads(state: dict, name: str, n_spaces: int) -> tuple[np.ndarray, ...]:
    """The heads (C, d_k + 1) of TURTLE's linear layers, the last column is the bias."""
    keys = [f"phi{k + 1}" for k in range(n_spaces)]
    if list(state) != keys:
        raise ValueError(f"member {name!r} holds {list(state)}, not {keys}")
    heads = []
    for key, layer in state.items():
        if not isinstance(layer, dict) or set(layer) != {"weight", "bias"}:
            raise ValueError(f"member {name!r}: {key} is not a dict of weight and bias")
        weight = as_matrix(layer["weight"], f"member {name!r}: {key} weight")
        bias = as_matrix(layer["bias"], f"member {name!r}: {key} bias", ndim=1)
        if len(bias) != len(weight):
            raise ValueError(f"member {name!r}: {key} has {len(bias)} biases, {len(weight)} rows")
        heads.append(np.concatenate([weight, bias[:, None]], axis=1))
    return tuple(heads)


def orthonormal_heads(state: dict, name: str, n_spaces: int = 2) -> tuple[np.ndarray, ...]:
    """The effective weight (C, d_1) of an orthogonally parametrised linear layer's state.

    With `parametrizations.weight.original` alone the layer was made without a fixed basis
    (`use_trivialization=False`); `parametrizations.weight.0.base` (d_1, d_1) is that basis.
    """
    original, base = "parametrizations.weight.original", "parametrizations.weight.0.base"
    if not {original} <= set(state) <= {original, base}:
        raise ValueError(f"member {name!r} holds {sorted(map(str, state))}, not {original}, {base}")
    arrays = {key: as_matrix(value, f"member {name!r}: {key}") for key, value in state.items()}
    n_classes, dim = arrays[original].shape
    if n_classes > dim:
        raise ValueError(f"member {name!r}: {n_classes} rows in {dim} dimensions not orthonormal")
    if base in arrays and arrays[base].shape != (dim, dim):
        raise ValueError(f"member {name!r}: a basis {arrays[base].shape} for {dim} dimensions")
    with torch.random.fork_rng(devices=[]):  # the layer's own start is drawn and not kept
        layer = torch.nn.Linear(dim, n_classes, bias=False, dtype=torch.float32)
        parametrizations.orthogonal(layer, use_trivialization=base in arrays)
    layer.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()})
    weight = layer.weight.detach().numpy()
    error = np.abs(weight @ weight.T - np.eye(n_classes, dtype=np.float32)).max()
    if not error <= ORTHONORMAL:
        raise ValueError(f"member {name!r}: the rows are not orthonormal (W Wᵀ is off by {error})")
    return (weight,)
