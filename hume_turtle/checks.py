"""Bad input gets a clear error before any work: settings, spaces and labels."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import issparse
from torch import Tensor

NAMED = 5  # columns that a message names


def check_number(
    name: str,
    value,
    low: float,
    *,
    integer: bool = False,
    exclusive: bool = False,
    auto: bool = False,
):
    """Raise ValueError unless `value` is a finite number >= `low` (> `low` if exclusive).

    auto: "auto" is fine too.
    """
    if auto and isinstance(value, str) and value == "auto":
        return
    kind = int if integer else (int, float)
    limit = 2**62 if integer else float(np.finfo(np.float32).max)  # of generators and tensors
    value = value.item() if isinstance(value, np.generic) else value
    fine = isinstance(value, kind) and not isinstance(value, bool) and abs(value) <= limit
    if not fine or value < low or (exclusive and value == low):
        sort, sign = "an integer" if integer else "a number", ">" if exclusive else ">="
        top = f" and <= {limit:.1e}" if isinstance(value, kind) and value > limit else ""
        other = ", or 'auto'" if auto else ""
        raise ValueError(f"{name}={value!r} must be {sort} {sign} {low}{top}{other}")


def check_flag(name: str, value) -> None:
    """Raise ValueError unless `value` is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name}={value!r} must be True or False")


def check_choice(name: str, value, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of the names."""
    if value not in choices:
        raise ValueError(f"{name}={value!r} must be one of {', '.join(choices)}")


def check_spaces(spaces, n_classes: int | None = None) -> list:
    """Turn one array or a list of arrays into K float arrays of the same rows, or say why not.

    Args:
        spaces: one array (n, d), or a list or tuple of K arrays (n, d_k): NumPy arrays and memory
            maps, torch tensors on any device, data frames, nested sequences, all with real numbers
            or booleans of any precision. A list is always a list of spaces: rows that are
            themselves lists of numbers are one space only inside another list, `[rows]`.
        n_classes: if given, at least this many rows are needed.

    Returns:
        list of K arrays or tensors (n, d_k) of half, single or double precision.

    Raises:
        ValueError: naming the space and the number at fault.
    """
    spaces = list(spaces) if isinstance(spaces, (list, tuple)) else [spaces]
    if not spaces:
        raise ValueError("no representation space given: the list of spaces is empty")
    spaces = [_check_space(k, space) for k, space in enumerate(spaces)]
    rows = len(spaces[0])
    for k, space in enumerate(spaces):
        if len(space) != rows:
            raise ValueError(
                f"space {k} has {len(space)} rows, but space 0 has {rows}: "
                "every space must hold the same images in the same order"
            )
    if n_classes is not None and rows < n_classes:
        few = f"space 0 has {rows} rows, fewer than n_classes={n_classes}"
        raise ValueError(f"{few} (n_samples={rows})")  # scikit-learn's checks look for this name
    return spaces


def check_dims(found: list[int], expected: list[int]) -> None:
    """Raise ValueError unless the spaces have the widths of the fit."""
    if len(found) != len(expected):
        raise ValueError(f"{len(found)} spaces given, but the fit used {len(expected)}")
    for k, (dim, wanted) in enumerate(zip(found, expected)):
        if dim != wanted:
            raise ValueError(f"space {k} has {dim} dimensions, but the fit used {wanted}")


def _check_space(k: int, space):
    if issparse(space) or (isinstance(space, Tensor) and space.layout != torch.strided):
        raise ValueError(f"space {k} is a sparse matrix, which is not supported: make it dense")
    space = space if isinstance(space, Tensor) else _as_array(k, space)
    if "complex" in str(space.dtype):
        raise ValueError(f"space {k} has dtype {space.dtype}: Complex data not supported")
    if isinstance(space, np.ndarray) and space.dtype.kind not in "fiub":
        raise ValueError(f"space {k} has dtype {space.dtype}: numbers are needed")
    if space.ndim != 2:
        raise ValueError(
            f"space {k} has {space.ndim} dimension(s) with shape {tuple(space.shape)}: two are "
            "needed, (n, d). Reshape your data; each item of a list is taken as a space of its own"
        )
    if 0 in space.shape:
        missing = "feature" if space.shape[1] == 0 else "sample"
        raise ValueError(
            f"space {k} is empty: 0 {missing}(s) (shape={tuple(space.shape)}) while a minimum of "
            "1 is required."
        )
    if isinstance(space, Tensor):
        space = space.detach()
        space = space if space.dtype.is_floating_point else space.to(torch.float32)
    elif space.dtype not in (np.float16, np.float32, np.float64):
        with np.errstate(over="ignore"):
            space = space.astype(np.float32)
    _check_finite(k, space)
    return space


def _as_array(k: int, space) -> np.ndarray:
    """Anything but a tensor as an array, without a copy where there is an array behind it."""
    if hasattr(getattr(space, "dtypes", None), "items"):  # a data frame of pandas
        return _frame_values(k, space)
    try:
        return np.asarray(space)
    except ValueError as error:
        raise ValueError(f"space {k} is not a two-dimensional array: {error}") from None


def _frame_values(k: int, frame) -> np.ndarray:
    """The numbers (n, d) of a data frame; ValueError naming the columns that hold others."""
    names = [str(name) for name, dtype in frame.dtypes.items() if dtype.kind not in "fiub"]
    if names:
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        raise ValueError(
            f"space {k} has columns that hold no numbers: {', '.join(names[:NAMED])}{more}"
        )
    values = np.asarray(frame)
    if values.dtype.kind != "O":
        return values
    return frame.to_numpy(np.float32, na_value=np.nan)  # columns of several types, or with gaps


def _check_finite(k: int, space, chunk: int = 1 << 12) -> None:
    """In chunks, so that a memory map is never held whole in memory."""
    bad = 0
    for i in range(0, len(space), chunk):
        part = space[i : i + chunk]
        if isinstance(part, Tensor):
            bad += int((~torch.isfinite(part.to(torch.float32))).sum())
        else:
            with np.errstate(over="ignore"):
                bad += int((~np.isfinite(part.astype(np.float32, copy=False))).sum())
    if bad:
        raise ValueError(f"space {k} holds {bad} values that are NaN or infinite in float32")


def check_labels(labels, name: str = "labels") -> np.ndarray:
    """One integer label per row as an int64 array (n,), from any one-dimensional array or list.

    Raises ValueError for empty input, other shapes, and labels that are not integers.
    """
    if hasattr(labels, "detach"):  # a tensor, perhaps on an accelerator
        labels = labels.detach().cpu()
    labels = np.asarray(labels)
    if labels.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, not of shape {labels.shape}")
    if labels.size == 0:
        raise ValueError(f"{name} is empty")
    if labels.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold integers, not {labels.dtype}")
    if labels.dtype.kind == "f" and not (np.isfinite(labels) & (labels == np.floor(labels))).all():
        raise ValueError(f"{name} must hold integers, found a fraction, NaN or infinity")
    return labels.astype(np.int64)
