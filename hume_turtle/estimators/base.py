"""What both estimators share: many settings at once, prediction, and saving without pickle."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import validate_data
from torch import Tensor

from hume_turtle.checks import check_choice
from hume_turtle.estimators.snapshot import check_callback
from hume_turtle.storage.files import atomic_write

FORMAT = 2  # of saved files
SMALL = 2**24  # multiplications in a pass over the rows below which threads cost more than they win


def to_device(space, device: torch.device) -> Tensor:
    """One checked space as a float32 tensor (n, d) on the device."""
    tensor = space if isinstance(space, Tensor) else torch.from_numpy(np.array(space))
    return tensor.to(device=device, dtype=torch.float32)


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
        settings = {k: v for k, v in model.get_params().items() if k not in apart_from}
        key = tuple(tuple(v) if isinstance(v, (list, np.ndarray)) else v for v in settings.values())
        alike.setdefault(key, []).append(model)
    return list(alike.values())


def per_run(models: list, name: str, device: torch.device) -> Tensor:
    """One setting of R estimators as a tensor (R,)."""
    values = [float(getattr(model, name)) for model in models]
    return torch.tensor(values, device=device, dtype=torch.float32)


def single_space(spaces):
    """The only space, as the caller gave it; None where there are several."""
    if not isinstance(spaces, (list, tuple)):
        return spaces
    return spaces[0] if len(spaces) == 1 else None


def column_names(spaces) -> np.ndarray | None:
    """The column names (d,) that scikit-learn sees in a single data frame; None without any."""
    space = single_space(spaces)
    if space is None:
        return None
    seen = BaseEstimator()
    validate_data(seen, space, skip_check_array=True)
    return getattr(seen, "feature_names_in_", None)


@contextmanager
def threads_for(multiplications: int):
    """One PyTorch thread for small work: waiting for others is slow where cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if multiplications < SMALL else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class LabelingEstimator(ClusterMixin, BaseEstimator):
    """Base of `Turtle` and `Hume`: many settings at once, prediction, saving.

    Both are clusterers of scikit-learn: `fit_predict`, `clone`, `get_params`, `set_params`,
    `Pipeline` and pickle work. Its `X` is called `spaces` here, because it may be several.

    A subclass lists its fitted arrays in `_fitted` and defines `fit_many`, `predict_proba`,
    `confidence`, `_check_settings` and `_check_restored`.
    """

    _fitted: tuple[str, ...] = ()
    # scikit-learn would take an argument that is not called X for metadata to be routed.
    __metadata_request__fit = {"spaces": UNUSED, "callback": UNUSED}  # noqa: RUF012
    __metadata_request__predict = {"spaces": UNUSED}  # noqa: RUF012
    __metadata_request__predict_proba = {"spaces": UNUSED}  # noqa: RUF012

    def fit(self, spaces, y=None, *, callback=None):
        """Search for the labeling of the rows of `spaces`; no true label takes part.

        Args:
            spaces: K arrays (n, d_k) of the same rows in a list or tuple, or one array for one
                space: NumPy arrays and memory maps, torch tensors, data frames, or nested
                sequences inside a list (see `check_spaces`).
            y: never read. It is there because scikit-learn's pipelines pass it.
            callback: a function that each outer iteration of a single published run calls with a
                `Snapshot`: the objective's terms, the heads and the labeling before its step.

        Returns:
            self, with `labels_` and `history_`.

        Raises:
            ValueError: for spaces or settings that cannot be used, before any work; or if the fit
                diverged.
        """
        check_callback(callback, self)
        (fitted,) = self.fit_many(spaces, [{}], callback=callback)
        self.__dict__.pop("feature_names_in_", None)  # of a fit before
        self.__dict__.update(fitted.__dict__)
        return self

    def predict(self, spaces) -> np.ndarray:
        """Hard labels (n,) of any rows: the most probable class."""
        return self.predict_proba(spaces).argmax(axis=1)

    def predict_proba(self, spaces) -> np.ndarray:
        """The labeling of any rows, (n, C) float32."""
        raise NotImplementedError

    def confidence(self, spaces) -> np.ndarray:
        """The probability (n,) float32 of each row's predicted class: the largest of its row."""
        raise NotImplementedError

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "heads_")

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(f"this {type(self).__name__} is not fitted: call fit first")

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
        header["precision"] = self.precision_
        if settings.get("gamma") == "auto":
            header["gamma"] = self.gamma_
        if hasattr(self, "feature_names_in_"):
            header["feature_names"] = self.feature_names_in_.tolist()
        arrays = {f"fitted/{name}": getattr(self, name) for name in self._fitted}
        arrays |= {f"history/{name}": values for name, values in self.history_.items()}
        arrays |= {f"head/{k}": head for k, head in enumerate(self.heads_)}
        with atomic_write(path) as file:
            # Settings that are NumPy numbers or arrays become Python's.
            text = json.dumps(header, default=lambda array: array.tolist())
            np.savez(file, header=np.array(text), **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike, device: str = "auto"):
        """Read what `save` wrote, on any device.

        Raises:
            ValueError: if the file is not such a file, or its arrays do not fit together.
        """
        header, arrays = read_saved(path)
        if header.get("estimator") != cls.__name__ or header.get("format") != FORMAT:
            raise ValueError(
                f"{path} holds {header.get('estimator')!r} in format {header.get('format')!r}, "
                f"not a {cls.__name__} in format {FORMAT}"
            )
        try:
            model = cls(**header["settings"], device=device)
            model._check_settings()
            model.precision_ = header["precision"]
            if "gamma" in header:
                model._gamma = float(header["gamma"])
            if "feature_names" in header:
                model.feature_names_in_ = np.array(header["feature_names"], dtype=object)
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
        self._check_restored()
        n_classes = len(self.heads_[0]) if self.n_classes == "auto" else self.n_classes
        if labels.min() < 0 or labels.max() >= n_classes:
            raise ValueError(f"labels outside 0..{n_classes - 1}")


def read_saved(path: str | os.PathLike) -> tuple[dict, dict[str, np.ndarray]]:
    """The header and the arrays of a saved file; nothing in it is executed."""
    with open(path, "rb") as stream:
        try:
            with np.load(stream, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            header = dict(json.loads(str(arrays.pop("header"))))
        except Exception as error:  # a damaged zip raises errors of a dozen kinds
            raise ValueError(f"{path} is not a file that save() wrote: {error}") from error
    return header, arrays
