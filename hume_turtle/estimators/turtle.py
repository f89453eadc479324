"""TURTLE (Gadetsky, Jiang & Brbić, ICML 2024): the labeling with maximal-margin linear classifiers.

The objective is in `core/objectives.py`, its minimisation in `core/turtle_solver.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import numpy as np
import torch
from sklearn.utils.validation import validate_data
from torch import Tensor

from hume_turtle.checks import check_dims, check_flag, check_number, check_spaces
from hume_turtle.core.batching import Batches
from hume_turtle.core.precision import (
    check_precision,
    pick_device,
    pick_precision,
    precision_name,
)
from hume_turtle.core.sampling import derived_seed, draw_batches, generator
from hume_turtle.core.task_encoders import SoftmaxEncoder, draw_heads
from hume_turtle.core.turtle_solver import TERMS, minimise_turtle
from hume_turtle.estimators.base import (
    LabelingEstimator,
    check_converged,
    check_recipe,
    column_names,
    groups,
    per_run,
    single_space,
    to_device,
)
from hume_turtle.estimators.class_sizes import check_prior, fit_gamma
from hume_turtle.estimators.labeling import hard_labels, label_rows, soft_labels
from hume_turtle.estimators.number_of_classes import select_n_classes
from hume_turtle.estimators.snapshot import Snapshot
from hume_turtle.estimators.turtle_fast import Run, fast_size, log_shares, solve_fast
from hume_turtle.progress import progress

# What the fast recipe decides itself.
SET_BY_RECIPE = ("outer_steps", "inner_steps", "inner_lr", "outer_lr", "warm_start")
# Settings that batched runs may differ in.
BATCHED = ("n_classes", "seed", "gamma", "inner_lr", "outer_lr", "warm_start")


class Turtle(LabelingEstimator):
    """TURTLE: unsupervised transfer with frozen representations (Gadetsky et al., ICML 2024).

    Searches for the labeling τ of n rows in C classes that linear classifiers with a large margin
    explain in every representation space: minimises
    `Σ_k CE(inner head of space k, τ) − γ Σ_k H(mean_i τ^k_i)`, where the inner heads are trained
    on τ by a few Adam steps. The defaults are the published ones.

    Args:
        n_classes: number of classes C, at least 2; or "auto": chosen from 2 to 40 without labels
            (`select_n_classes`).
        gamma: weight γ of the entropy that keeps the classes from emptying: the larger, the more
            alike the classes' sizes. "auto" chooses it without labels (`class_sizes.py`).
        outer_steps: outer iterations T.
        inner_steps: Adam steps M of the inner heads in each outer iteration.
        inner_lr: learning rate of the inner heads.
        outer_lr: learning rate of the task encoder.
        batch_size: rows in an outer iteration, drawn without replacement; all rows if there are
            fewer.
        warm_start: keep the inner heads and their Adam state from one outer iteration to the next
            (warm), or draw new heads in each (cold).
        precision: of the operands of matrix products: "fp32", as published; "bf16"; or "auto",
            bf16 where the device multiplies it in hardware. All else is float32 throughout.
        class_prior: the classes' shares of the rows, where they are known: C positive numbers, of
            which class c gets the c-th. `−γ Σ_k KL(mean_i τ^k_i || class_prior)` then takes the
            place of the entropy (ours, not the paper's).
        recipe: "published", the algorithm as above; or "fast": see `turtle_fast.py`. It
            minimises the same objective from random and k-means starts in a few principal
            components and decides steps, learning rates and warm start itself.
        seed: of the task encoder's start, the inner heads and the batches.
        device: "auto" (the GPU where there is one), "cpu", "cuda", ...

    Attributes:
        labels_: (n,) int64, the hard labels of the rows of the fit.
        history_: dict of (T,) arrays `loss`, `cross_entropy` (`Σ_k CE`) and `entropy`
            (`Σ_k H`, nats), each before that outer step.
        precision_: "fp32" or "bf16", what the products of the fit ran in.
        heads_: K arrays (C, d_k + 1), the task encoder's effective weights; the last column is
            the bias.
        n_classes_: the number of classes C.
        gamma_: the weight γ.
        n_classes_choice_: how "auto" chose the number of classes, a `NumberOfClasses`; `load` does
            not bring it back.
        n_features_in_: d of a fit on one space, as scikit-learn has it.
        feature_names_in_: (d,) the column names of a fit on one data frame.
    """

    _fitted = ("labels_",)

    def __init__(
        self,
        n_classes,
        *,
        gamma=10.0,
        outer_steps=6000,
        inner_steps=10,
        inner_lr=1e-3,
        outer_lr=1e-3,
        batch_size=10_000,
        warm_start=False,
        class_prior=None,
        precision="fp32",
        recipe="published",
        seed=0,
        device="auto",
    ):
        self.n_classes = n_classes
        self.gamma = gamma
        self.outer_steps = outer_steps
        self.inner_steps = inner_steps
        self.inner_lr = inner_lr
        self.outer_lr = outer_lr
        self.batch_size = batch_size
        self.warm_start = warm_start
        self.class_prior = class_prior
        self.precision = precision
        self.recipe = recipe
        self.seed = seed
        self.device = device

    def fit_many(self, spaces, settings, *, callback=None) -> list[Turtle]:
        """Solve several settings as one batch: seeds, γ, learning rates, cold and warm start, C.

        Settings that differ only in these share every matrix product, different seeds only where
        a batch is all rows; each run's result equals that of its own `fit` up to rounding.

        Args:
            spaces: as in `fit`.
            settings: dicts of what differs from this estimator, for example
                `[{"seed": s} for s in range(5)]`.
            callback: as in `fit`, where there is one dict.

        Returns:
            A fitted estimator for each dict, in order.
        """
        variants, given = self._variants(settings), spaces
        least = [variant.n_classes for variant in variants if variant.n_classes != "auto"]
        spaces = check_spaces(spaces, max(least, default=None))
        names, device = column_names(given), pick_device(self.device)
        fits = [variant._with_numbers(spaces, device) for variant in variants]
        unsolved = [fit for fit in fits if not fit.__sklearn_is_fitted__()]
        for group in batched_runs(unsolved, len(spaces[0])):
            if group[0].recipe == "fast":
                found = solve_fast(spaces, group, device)
            else:
                found = solve_published(spaces, group, device, callback)
            keep(group, *found, spaces)
        for variant, fit in zip(variants, fits):
            numbers = {"n_classes": variant.n_classes, "gamma": variant.gamma}
            variant.__dict__.update(fit.__dict__ | numbers)
            variant.precision_ = precision_name(fit.precision, device)
            if variant.gamma == "auto":
                variant._gamma = fit.gamma
            if names is not None:
                variant.feature_names_in_ = names
        return variants

    def _with_numbers(self, spaces: list, device: torch.device) -> Turtle:
        """A copy that has numbers for "auto"; fitted already where choosing γ has done it."""
        model = Turtle(**self.get_params())
        if model.n_classes == "auto":
            model.n_classes_choice_ = select_n_classes(spaces, seed=model.seed, device=device)
            model.n_classes = model.n_classes_choice_.chosen
        if model.gamma == "auto":
            settings = {name: getattr(model, name) for name in Run._fields}
            model.gamma, *fit = fit_gamma(spaces, Run(**settings), device)
            if model.recipe == "fast":
                keep([model], *fit, spaces)
        return model

    @property
    def n_classes_(self) -> int:
        self._check_fitted()
        return len(self.heads_[0])

    @property
    def gamma_(self) -> float:
        self._check_fitted()
        return self._gamma if self.gamma == "auto" else self.gamma

    def predict_proba(self, spaces) -> np.ndarray:
        """The labeling τ of any rows, (n, C) float32: the mean over spaces of τ^k."""
        return soft_labels(*self._checked(spaces))[0]

    def confidence(self, spaces) -> np.ndarray:
        """How sure the labeling τ is of each row: `max_c τ_c` (n,) float32, at least 1 / C.

        It is the probability of the class that `predict` gives, from `predict_proba`: the mean over
        spaces of τ^k. Where the spaces disagree on a row, it is about 1 / K, however sure each is
        on its own. Only a chunk of rows is held with all classes at once.
        """
        parts = [labeling[0].amax(dim=0).cpu() for labeling in label_rows(*self._checked(spaces))]
        return torch.cat(parts).numpy()

    @property
    def n_features_in_(self) -> int:
        if not self.__sklearn_is_fitted__() or len(self.heads_) != 1:
            raise AttributeError("n_features_in_ is there after a fit on one space only")
        return self.heads_[0].shape[1] - 1

    def _checked(self, spaces) -> tuple[list[Tensor], list]:
        """The heads, K of (1, C, d_k + 1), and the checked spaces of rows that they shall label."""
        self._check_fitted()
        space = single_space(spaces)
        if hasattr(self, "n_features_in_") and len(getattr(space, "shape", ())) == 2:
            validate_data(self, space, reset=False, skip_check_array=True)  # its columns
        checked = check_spaces(spaces)
        check_dims([space.shape[1] for space in checked], [h.shape[1] - 1 for h in self.heads_])
        return [to_device(head, pick_device(self.device))[None] for head in self.heads_], checked

    def _check_settings(self) -> None:
        check_number("n_classes", self.n_classes, 2, integer=True, auto=True)
        check_number("gamma", self.gamma, 0, auto=True)
        check_prior(self.class_prior, self.n_classes)
        if self.class_prior is not None and self.gamma == "auto":
            raise ValueError("gamma='auto' looks for the sizes that class_prior states: give one")
        for name in ("outer_steps", "inner_steps", "batch_size"):
            check_number(name, getattr(self, name), 1, integer=True)
        for name in ("inner_lr", "outer_lr"):
            check_number(name, getattr(self, name), 0, exclusive=True)
        check_number("seed", self.seed, 0, integer=True)
        check_flag("warm_start", self.warm_start)
        check_precision(self.precision)
        check_recipe(self, SET_BY_RECIPE)

    def _check_restored(self) -> None:
        n_classes = self.n_classes
        if n_classes == "auto" and self.heads_:
            n_classes = max(2, len(self.heads_[0]))
        for k, head in enumerate(self.heads_):
            if head.ndim != 2 or len(head) != n_classes or not np.isfinite(head).all():
                raise ValueError(
                    f"the head of space {k} has shape {head.shape}, not finite weights for "
                    f"{n_classes} classes"
                )
        if not self.heads_:
            raise ValueError("it holds no heads")


def batched_runs(models: list[Turtle], n: int) -> Iterator[list[Turtle]]:
    """Estimators that are solved together: alike but for `BATCHED`, and with the same batches."""
    for alike in groups(models, apart_from=BATCHED):
        sizes = [fast_size(m) if m.recipe == "fast" else (None, m.batch_size) for m in alike]
        for size in dict.fromkeys(sizes):
            group = [model for model, own in zip(alike, sizes) if own == size]
            if size[1] >= n:  # every batch is all rows, whatever the seed
                yield group
            else:
                yield from groups(group, apart_from=tuple(set(BATCHED) - {"seed"}))


def keep(models: list[Turtle], heads: list[Tensor], history: dict, spaces: list) -> None:
    """Give R models their heads, K tensors (R, C, d_k + 1), their history and their labels."""
    for r, model in enumerate(models):
        model.heads_ = [head[r, : model.n_classes].cpu().numpy() for head in heads]
        model.history_ = {name: values[:, r].cpu().numpy() for name, values in history.items()}
        check_converged(model, model.heads_)
    for model, labels in zip(models, hard_labels(heads, spaces)):
        model.labels_ = labels


def solve_published(spaces: list, models: list[Turtle], device: torch.device, callback=None):
    """Fit estimators that share all settings but `BATCHED`; returns their heads and history.

    `spaces` are K checked arrays (n, d_k). The heads are (R, C, d_k + 1), where C is the largest
    number of classes: a run with fewer has the rest absent (see `draw_heads`).
    """
    first = models[0]
    dims = [space.shape[1] for space in spaces]
    streams = [generator(model.seed, device) for model in models]
    classes = [model.n_classes for model in models]
    cold = [r for r, model in enumerate(models) if not model.warm_start]
    encoder = SoftmaxEncoder.from_heads(draw_heads(dims, classes, streams))

    def starts() -> Iterator[list[Tensor]]:
        runs = range(len(models))
        while True:
            yield draw_heads(
                dims, [classes[r] for r in runs], [streams[r] for r in runs], max(classes)
            )
            runs = cold

    dtype = pick_precision(first.precision, device)
    batches = Batches(spaces, first.batch_size, device, dtype)
    stream = generator(derived_seed(first.seed, 1), device)
    rows = draw_batches(batches.n, first.batch_size, first.outer_steps, stream)
    _, history = minimise_turtle(
        batches,
        progress(rows, first.outer_steps, "TURTLE"),
        encoder,
        starts(),
        inner_steps=first.inner_steps,
        warm_start=[model.warm_start for model in models],
        gamma=per_run(models, "gamma", device),
        inner_lr=per_run(models, "inner_lr", device),
        outer_lr=per_run(models, "outer_lr", device),
        log_prior=None if first.class_prior is None else log_shares(first.class_prior, device),
        watch=None if callback is None else snapshots(callback, spaces),
    )
    return [head.detach() for head in encoder.heads()], history


def snapshots(callback: Callable[[Snapshot], None], spaces: list) -> Callable[..., None]:
    """The solver's `watch`, which gives the callback a `Snapshot` in each outer iteration."""
    iterations = count()

    def watch(terms: Tensor, heads: list[Tensor], inner_heads: list[Tensor]) -> None:
        values = dict(zip(TERMS, terms[:, 0].tolist()))
        both = [[head[0].cpu().numpy().copy() for head in part] for part in (heads, inner_heads)]
        callback(Snapshot(next(iterations), values, *both, lambda: soft_labels(heads, spaces)[0]))

    return watch
