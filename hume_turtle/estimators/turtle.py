"""TURTLE (Gadetsky, Jiang & Brbić, ICML 2024): the labeling with maximal-margin linear classifiers.

The objective is in `core/objectives.py`, its minimisation in `core/turtle_solver.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from hume_turtle.checks import check_flag, check_number, check_spaces
from hume_turtle.core.batching import Batches, as_tensor
from hume_turtle.core.precision import (
    check_precision,
    pick_device,
    pick_precision,
    precision_name,
)
from hume_turtle.core.sampling import derived_seed, draw_batches, generator
from hume_turtle.core.task_encoders import (
    SoftmaxEncoder,
    draw_heads,
    softmax_labelings,
    with_constant,
)
from hume_turtle.core.turtle_solver import minimise_turtle
from hume_turtle.estimators.base import (
    LabelingEstimator,
    check_converged,
    check_recipe,
    groups,
    per_run,
    to_device,
)
from hume_turtle.estimators.turtle_fast import fast_size, solve_fast
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
        n_classes: number of classes C, at least 2.
        gamma: weight γ of the entropy that keeps the classes from emptying.
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
        self.precision = precision
        self.recipe = recipe
        self.seed = seed
        self.device = device

    def fit_many(self, spaces, settings) -> list[Turtle]:
        """Solve several settings as one batch: seeds, γ, learning rates, cold and warm start, C.

        Settings that differ only in these share every matrix product, different seeds only where
        a batch is all rows; each run's result equals that of its own `fit` up to rounding.

        Args:
            spaces: as in `fit`.
            settings: dicts of what differs from this estimator, for example
                `[{"seed": s} for s in range(5)]`.

        Returns:
            A fitted estimator for each dict, in order.
        """
        variants = self._variants(settings)
        spaces = check_spaces(spaces, max(variant.n_classes for variant in variants))
        device = pick_device(self.device)
        for group in batched_runs(variants, len(spaces[0])):
            heads = _solve(spaces, group, device)
            for model, labels in zip(group, hard_labels(heads, spaces)):
                model.labels_ = labels
                model.precision_ = precision_name(model.precision, device)
        return variants

    def predict_proba(self, spaces) -> np.ndarray:
        """The labeling τ of any rows, (n, C) float32: the mean over spaces of τ^k."""
        self._check_fitted()
        spaces = check_spaces(spaces, dims=[head.shape[1] - 1 for head in self.heads_])
        heads = [to_device(head, pick_device(self.device))[None] for head in self.heads_]
        return soft_labels(heads, spaces)[0]

    def _check_settings(self) -> None:
        check_number("n_classes", self.n_classes, 2, integer=True)
        check_number("gamma", self.gamma, 0)
        for name in ("outer_steps", "inner_steps", "batch_size"):
            check_number(name, getattr(self, name), 1, integer=True)
        for name in ("inner_lr", "outer_lr"):
            check_number(name, getattr(self, name), 0, exclusive=True)
        check_number("seed", self.seed, 0, integer=True)
        check_flag("warm_start", self.warm_start)
        check_precision(self.precision)
        check_recipe(self, SET_BY_RECIPE)

    def _check_restored(self) -> None:
        for k, head in enumerate(self.heads_):
            if head.ndim != 2 or len(head) != self.n_classes or not np.isfinite(head).all():
                raise ValueError(
                    f"the head of space {k} has shape {head.shape}, not finite weights for "
                    f"{self.n_classes} classes"
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


def _solve(spaces: list, models: list[Turtle], device: torch.device) -> list[Tensor]:
    """Fit estimators that share all settings but `BATCHED`; returns their heads.

    `spaces` are K checked arrays (n, d_k). The heads are (R, C, d_k + 1), where C is the largest
    number of classes: a run with fewer has the rest absent (see `draw_heads`).
    """
    solve = solve_fast if models[0].recipe == "fast" else _solve_published
    heads, history = solve(spaces, models, device)
    for r, model in enumerate(models):
        model.heads_ = [head[r, : model.n_classes].cpu().numpy() for head in heads]
        model.history_ = {name: values[:, r].cpu().numpy() for name, values in history.items()}
        check_converged(model, model.heads_)
    return heads


def _solve_published(spaces: list, models: list[Turtle], device: torch.device):
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
    )
    return [head.detach() for head in encoder.heads()], history


@torch.no_grad()
def label_rows(heads: list[Tensor], spaces: list, numbers: int = 1 << 21) -> Iterator[Tensor]:
    """τ of all rows, a chunk of rows (R, C, rows) at a time; heads are K tensors (R, C, d_k + 1).

    Raises ValueError where the logits overflow.
    """
    spaces = [as_tensor(space) for space in spaces]
    chunk = max(1, numbers // sum(space.shape[1] for space in spaces))
    for i in range(0, len(spaces[0]), chunk):
        batch = [with_constant(to_device(z[i : i + chunk], heads[0].device)) for z in spaces]
        labeling = torch.stack(softmax_labelings(heads, batch)).mean(0)
        if not torch.isfinite(labeling).all():
            raise ValueError("the logits overflow float32: bring the spaces to a smaller scale")
        yield labeling


def hard_labels(heads: list[Tensor], spaces: list) -> np.ndarray:
    """argmax τ of every run, (R, n)."""
    parts = [labeling.argmax(dim=1).cpu() for labeling in label_rows(heads, spaces)]
    return torch.cat(parts, dim=1).numpy()


def soft_labels(heads: list[Tensor], spaces: list) -> np.ndarray:
    """τ of every run, (R, n, C)."""
    parts = [labeling.mT.cpu() for labeling in label_rows(heads, spaces)]
    return torch.cat(parts, dim=1).numpy()
