"""`import_released`, the one entrance for the authors' archives, and how labelings are read."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils import parametrizations

from hume_turtle.checks import check_choice
from hume_turtle.released.archives import as_matrix, open_archive, read_checkpoint, unpacked
from hume_turtle.released.embeddings import import_hume_embeddings
from hume_turtle.released.layouts import Imported, matching, space_names, translation
from hume_turtle.released.pickles import MAX_PICKLE, read_number
from hume_turtle.released.tasks import Task, task_path
from hume_turtle.storage.files import new_files

HUME_TASK = re.compile(r"(?:.*/)?([^/]{1,127}_[^/]{1,127})/([^/]+)/linear_task_(\d+)\.pt")
HUME_SCORE = re.compile(r"(?:.*/)?results_\d+\.pickle")  # beside linear_task_<seed>.pt
TURTLE_TASK = re.compile(r"(?:.*/)?([1-9])space/([^/]{1,255})/([^/]+)\.pt")
KINDS = ("hume-embeddings", "hume-tasks", "turtle-tasks")

ORTHONORMAL = 1e-3  # largest error of W Wᵀ: float32 rounding is a hundredth of it


def import_released(
    kind: str,
    archive: str | Path,
    output: str | Path,
    *,
    overwrite: bool = False,
    rename: Mapping[str, str] | None = None,
) -> Imported:
    """Import one archive that the authors released.

    - "hume-embeddings": HUME's data.zip, to `<output>/embeddings` and `<output>/labels`; see
      `import_hume_embeddings`.
    - "hume-tasks": HUME's tasks.zip, with `<phi1>_<phi2>/<dataset>/linear_task_<seed>.pt` under any
      folder, to saved tasks in `output` (tasks.py). A task is the state of an orthogonally
      parametrised linear layer; the parametrisation is PyTorch's default, which HUME's program uses
      (Householder reflections, or the matrix exponential for a square weight). Tasks under a folder
      `transductive` get the method "hume-transductive". The number `CV_Score` of
      `results_<seed>.pickle` beside a task becomes its score (pickles.py).
    - "turtle-tasks": TURTLE's turtle_tasks.zip, with `1space/<phi>/<dataset>.pt`,
      `2space/<phi1>_<phi2>/<dataset>.pt`, ... under any folder, each a dict `phi1`, `phi2`, ... of
      `weight` (C, d_k) and `bias` (C,), to saved tasks called `imported.npz`.

    rename: {theirs: ours} for names of datasets and spaces that are not the documented ones; a new
        name may be renamed to itself. Names may hold `_`, which also joins them (`space_names`).

    Raises FileNotFoundError if there is no archive; ValueError for an unknown kind or name, an
    archive that is unsafe, incomplete or of another layout, rows that are not orthonormal, and
    existing files unless `overwrite`. Then no file of `output` has changed.
    """
    check_choice("kind", kind, KINDS)
    if kind == "hume-embeddings":
        return import_hume_embeddings(archive, output, overwrite, rename)
    layout, beside, identify, read_heads = {
        "hume-tasks": (HUME_TASK, HUME_SCORE, hume_member, orthonormal_heads),
        "turtle-tasks": (TURTLE_TASK, None, turtle_member, softmax_heads),
    }[kind]
    with open_archive(archive) as opened:
        found, notes = matching(opened, [layout], archive, beside)
        named = [identify(match) for _, match in found]
        names = space_names(archive, [folder for *_, folder, _ in named], rename or {})
        datasets, spaces = [dataset for _, dataset, *_ in named], chain(*names.values())
        ours = translation(archive, datasets, spaces, rename or {})
        tasks = [(m, ours[d], tuple(ours[s] for s in names[f])) for m, d, f, _ in named]
        seeds = [seed for *_, seed in named]
        places = [task_path(d, m, spaces, seed) for (m, d, spaces), seed in zip(tasks, seeds)]
        size = sum(info.file_size for info, _ in found)  # a state is no smaller than its weights
        with new_files(output, places, overwrite, size) as folder:
            scores = [read_score(opened, info, folder) if beside else None for info, _ in found]
            for task, place, score, (info, _) in zip(tasks, places, scores, found):
                state = read_checkpoint(opened, info, folder)
                heads = read_heads(state, info.filename, len(task[2]))
                Task(*task, heads, info.filename, score).save(folder / place)
        if missing := scores.count(None) if beside else 0:
            notes.append(f"{missing} of {len(scores)} tasks have no results_<seed>.pickle")
    return Imported([Path(output, place) for place in places], notes)


# From a member's name: method, dataset, the folder of its spaces with their number, and seed.
def hume_member(match: re.Match) -> tuple[str, str, tuple[str, int], str]:
    spaces, dataset, seed = match.groups()
    method = "hume-transductive" if "/transductive/" in f"/{match[0]}" else "hume"
    return method, dataset, (spaces, 2), str(int(seed))


def turtle_member(match: re.Match) -> tuple[str, str, tuple[str, int], str]:
    count, spaces, dataset = match.groups()
    return "turtle", dataset, (spaces, int(count)), "imported"


def read_score(archive: zipfile.ZipFile, task: zipfile.ZipInfo, folder: Path) -> float | None:
    """The cross-validation score of a HUME task, which lies beside it; None if there is none.

    folder: where the member is unpacked for a moment.
    Raises ValueError for a member that is not a pickle of that number.
    """
    name = re.sub(r"linear_task_(\d+)\.pt$", r"results_\1.pickle", task.filename)
    if name not in archive.namelist():
        return None
    info = archive.getinfo(name)
    try:
        if info.file_size > MAX_PICKLE:
            raise ValueError(f"it has {info.file_size} bytes, above {MAX_PICKLE}")
        with unpacked(archive, info, folder) as path:
            return read_number(path.read_bytes(), "CV_Score")
    except ValueError as error:
        advice = "without it in the archive, `evaluate-tasks` computes the score"
        raise ValueError(f"member {name!r} is not a score: {error}; {advice}") from error


def softmax_heads(state: dict, name: str, n_spaces: int) -> tuple[np.ndarray, ...]:
    """The heads (C, d_k + 1) of TURTLE's linear layers; the last column is the bias."""
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
