"""What both estimators share: checked input, the device, seeds, and saving without pickle."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClusterMixin
from torch import Tensor

from hume_turtle.files import atomic_write

FORMAT = 1  # of saved files


def check_spaces(spaces, n_classes: int | None = None, dims: list[int] | None = None):
    """Turn one array or a list of arrays into K float arrays of the same rows, or say why not.

    Args:
        spaces: one array (n, d), or a list of K arrays (n, d_k): numpy, torch, pandas or nested
            sequences; integers and half precision are accepted.
        n_classes: if given, at least this many rows are needed.
        dims: if given, the widths that the spaces must have.

    Returns:
        list of K arrays or tensors (n, d_k), half or single precision.

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
        raise ValueError(f"space 0 has {rows} rows, fewer than n_classes={n_classes}")
    if dims is not None:
        check_dims([space.shape[1] for space in spaces], dims)
    return spaces


def check_dims(found: list[int], expected: list[int]) -> None:
    """Raise ValueError unless the spaces have the widths of the fit."""
    if len(found) != len(expected):
        raise ValueError(f"{len(found)} spaces given, but the fit used {len(expected)}")
    for k, (dim, wanted) in enumerate(zip(found, expected)):
        if dim != wanted:
            raise ValueError(f"space {k} has {dim} dimensions, but the fit used {wanted}")


def _check_space(k: int, space):
    if not isinstance(space, Tensor):
        try:
            space = np.asarray(space)
        except ValueError as error:
            raise ValueError(f"space {k} is not a two-dimensional array: {error}") from None
        if space.dtype.kind not in "fiub":
            raise ValueError(f"space {k} has dtype {space.dtype}: numbers are needed")
    elif space.is_complex():
        raise ValueError(f"space {k} has dtype {space.dtype}: real numbers are needed")
    if space.ndim != 2:
        raise ValueError(
            f"space {k} has {space.ndim} dimension(s) with shape {tuple(space.shape)}: "
            "two are needed, (n, d)"
        )
    if 0 in space.shape:
        raise ValueError(f"space {k} is empty: its shape is {tuple(space.shape)}")
    if isinstance(space, Tensor):
        space = space.detach()
        half = space.dtype in (torch.float16, torch.bfloat16)
        space = space if half else space.to(torch.float32)
    elif space.dtype not in (np.float16, np.float32):
        with np.errstate(over="ignore"):
            space = space.astype(np.float32)
    _check_finite(k, space)
    return space


def _check_finite(k: int, space, chunk: int = 1 << 12) -> None:
    """In chunks, so that a memory map is never held whole in memory."""
    is_finite = torch.isfinite if isinstance(space, Tensor) else np.isfinite
    bad = sum(int((~is_finite(space[i : i + chunk])).sum()) for i in range(0, len(space), chunk))
    if bad:
        raise ValueError(f"space {k} holds {bad} values that are NaN or infinite in float32")


def pick_device(device: str | torch.device) -> torch.device:
    """`"auto"` is the GPU where there is one, else the CPU."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device={device!r} is not a device: {error}") from None


def to_device(space, device: torch.device) -> Tensor:
    """One checked space as a float32 tensor (n, d) on the device."""
    tensor = space if isinstance(space, Tensor) else torch.from_numpy(np.array(space))
    return tensor.to(device=device, dtype=torch.float32)


def generator(seed: int, device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(int(seed))


def check_number(name: str, value, low: float, *, whole: bool = False, open_low: bool = False):
    """Raise ValueError unless `value` is a finite number of at least (or above) `low`."""
    kind = int if whole else (int, float)
    limit = 2**62 if whole else float(np.finfo(np.float32).max)  # of generators and tensors
    value = value.item() if isinstance(value, np.generic) else value
    fine = isinstance(value, kind) and not isinstance(value, bool) and abs(value) <= limit
    if not fine or value < low or (open_low and value == low):
        sort = "a whole number" if whole else "a number"
        raise ValueError(
            f"{name}={value!r}: {sort} {'above' if open_low else 'of at least'} {low} "
            f"and at most {limit:.1e} is needed"
        )


def check_flag(name: str, value) -> None:
    """Raise ValueError unless `value` is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name}={value!r}: True or False is needed")


def check_choice(name: str, value, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of the names."""
    if value not in choices:
        raise ValueError(f"{name}={value!r}: one of {', '.join(choices)} is needed")


def check_recipe(model, decided: tuple[str, ...]) -> None:
    """Raise ValueError unless `recipe` is known and, if "fast", what it decides is left to it."""
    check_choice("recipe", model.recipe, ("published", "fast"))
    if model.recipe == "published":
        return
    defaults = type(model)(model.n_classes).get_params()
    for name in decided:
        if getattr(model, name) != defaults[name]:
            raise ValueError(
                f"{name}={getattr(model, name)!r}: recipe='fast' decides {', '.join(decided)} "
                "itself; leave them out, or use recipe='published'"
            )


def check_converged(model, heads: list[np.ndarray]) -> None:
    """Raise ValueError if a fit ran away to values that are not numbers."""
    if not all(np.isfinite(head).all() for head in heads):
        raise ValueError(
            f"the fit with seed {model.seed} diverged: lower inner_lr={model.inner_lr} or "
            f"outer_lr={model.outer_lr}, or bring the spaces to a scale of order one"
        )


def groups(models: list, apart_from: tuple[str, ...]) -> list[list]:
    """Estimators alike in all settings but those named, in order of first appearance."""
    alike: dict[tuple, list] = {}
    for model in models:
        key = tuple(v for name, v in model.get_params().items() if name not in apart_from)
        alike.setdefault(key, []).append(model)
    return list(alike.values())


def per_run(models: list, name: str, device: torch.device) -> Tensor:
    """One setting of R estimators as a tensor (R,)."""
    values = [float(getattr(model, name)) for model in models]
    return torch.tensor(values, device=device, dtype=torch.float32)


def progress(steps: Iterable, total: int, label: str):
    """A progress bar on standard error, off when nobody watches or tqdm is not installed."""
    if sys.stderr is None or not sys.stderr.isatty():
        return steps
    try:
        from tqdm import tqdm
    except ImportError:
        return steps
    return tqdm(steps, total=total, desc=label, leave=False)


class LabelingEstimator(ClusterMixin, BaseEstimator):
    """Base of `Turtle` and `Hume`: many settings at once, prediction, saving.

    A subclass lists its fitted arrays in `_fitted` and defines `fit_many`, `predict_proba`,
    `_check_settings` and `_check_restored`.
    """

    _fitted: tuple[str, ...] = ()

    def fit(self, spaces):
        """Search for the labeling of the rows of `spaces`; no true label takes part.

        Args:
            spaces: K arrays (n, d_k) of the same rows, or one array for one space.

        Returns:
            self, with `labels_` and `history_`.

        Raises:
            ValueError: for spaces or settings that cannot be used, before any work; or if the fit
                diverged.
        """
        (fitted,) = self.fit_many(spaces, [{}])
        self.__dict__.update(fitted.__dict__)
        return self

    def predict(self, spaces) -> np.ndarray:
        """Hard labels (n,) of any rows: the most probable class."""
        return self.predict_proba(spaces).argmax(axis=1)

    def _check_fitted(self) -> None:
        if not hasattr(self, "heads_"):
            raise ValueError(f"this {type(self).__name__} is not fitted: call fit first")

    def _variants(self, settings: list[dict]) -> list:
        """A checked, unfitted copy of this estimator for each dict of settings."""
        settings = [dict(setting) for setting in settings]
        if not settings:
            raise ValueError("settings is empty: give at least one dict, {} changes nothing")
        known = self.get_params().keys() - {"device"}
        for i, setting in enumerate(settings):
            if unknown := sorted(map(str, setting.keys() - known)):
                raise ValueError(f"settings[{i}] names {unknown}: only {sorted(known)} may differ")
        variants = [type(self)(**{**self.get_params(), **setting}) for setting in settings]
        for variant in variants:
            variant._check_settings()
        return variants

    def save(self, path: str | os.PathLike) -> None:
        """Write settings and fitted arrays to one .npz file (no pickle), whole or not at all."""
        self._check_fitted()
        settings = {name: value for name, value in self.get_params().items() if name != "device"}
        header = {"format": FORMAT, "estimator": type(self).__name__, "settings": settings}
        arrays = {f"fitted/{name}": getattr(self, name) for name in self._fitted}
        arrays |= {f"history/{name}": values for name, values in self.history_.items()}
        arrays |= {f"head/{k}": head for k, head in enumerate(self.heads_)}
        with atomic_write(path) as file:
            # `item` turns settings that are NumPy numbers into Python's.
            text = json.dumps(header, default=lambda number: number.item())
            np.savez(file, header=np.array(text), **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike, device: str = "auto"):
        """Read what `save` wrote, on any device.

        Raises:
            ValueError: if the file is not such a file, or its arrays do not fit together.
        """
        header, arrays = _read(path)
        if header.get("estimator") != cls.__name__ or header.get("format") != FORMAT:
            raise ValueError(
                f"{path} holds {header.get('estimator')!r} in format {header.get('format')!r}, "
                f"not a {cls.__name__} in format {FORMAT}"
            )
        try:
            model = cls(**header["settings"], device=device)
            model._check_settings()
            model._restore(arrays)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a whole saved {cls.__name__}: {error}") from error
        return model

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        for name in self._fitted:
            setattr(self, name, arrays[f"fitted/{name}"])
        self.history_ = {
            name.removeprefix("history/"): values
            for name, values in arrays.items()
            if name.startswith("history/")
        }
        self.heads_ = [arrays[f"head/{k}"] for k in range(sum("head/" in name for name in arrays))]
        labels = self.labels_
        if labels.ndim != 1 or labels.dtype.kind != "i" or not labels.size:
            raise ValueError(f"labels of shape {labels.shape} and dtype {labels.dtype}")
        if labels.min() < 0 or labels.max() >= self.n_classes:
            raise ValueError(f"labels outside 0..{self.n_classes - 1}")
        self._check_restored()


def _read(path: str | os.PathLike) -> tuple[dict, dict[str, np.ndarray]]:
    """The header and the arrays of a saved file; nothing in it is executed."""
    with open(path, "rb") as stream:
        try:
            with np.load(stream, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            header = dict(json.loads(str(arrays.pop("header"))))
        except Exception as error:  # a damaged zip raises errors of a dozen kinds
            raise ValueError(f"{path} is not a file that save() wrote: {error}") from error
    return header, arrays
