"""HUME (Gadetsky & Brbić, NeurIPS 2023): the labeling on which linear classifiers generalise.

The objective and its minimisation are in `hume_solver.py`; here is the estimator.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor

from hume_turtle.checks import (
    check_choice,
    check_dims,
    check_flag,
    check_number,
    check_spaces,
)
from hume_turtle.core.hume_solver import ANNEAL_AT, minimise_hume
from hume_turtle.core.precision import check_precision, pick_device, precision_name
from hume_turtle.core.products import linear_logits
from hume_turtle.core.sampling import derived_seed, draw_inner_heads, draw_subsets, generator
from hume_turtle.core.task_encoders import OrthonormalEncoder, sparsemax, with_constant
from hume_turtle.core.unrolled import HeadSpace, UnrolledDescent
from hume_turtle.estimators.base import (
    LabelingEstimator,
    check_converged,
    check_recipe,
    groups,
    per_run,
    to_device,
)
from hume_turtle.estimators.hume_fast import FAST, SET_BY_RECIPE, Schedule, inner_loops, lowest
from hume_turtle.estimators.scores import cross_validation_score
from hume_turtle.estimators.voting import class_order, majority_vote, vote_shares
from hume_turtle.progress import progress

BATCHED = ("seed", "n_runs", "gamma", "outer_lr")  # settings that batched runs may differ in


class Hume(LabelingEstimator):
    """HUME: the labeling that linear classifiers generalise on (Gadetsky & Brbić, NeurIPS 2023).

    The task encoder labels rows from φ1, a space learned on the dataset itself (its rows are
    scaled to unit length here); a linear head on φ2, a space of a large pretrained model, must
    predict that labeling on rows it was not trained on. Fit on a training split and call
    `predict` on the test split (inductive), or fit on both together (transductive). The defaults
    are the published ones for STL-10, CIFAR-10 and CIFAR-100-20.

    `inner`, `rank` and `recipe` trade exactness for time; each is off by default, and each refuses
    data on which its error could not be bounded (see `hume_fast.py`).

    Args:
        n_classes: number of classes C, at least 2 and at most the dimensions of φ1.
        temperature: of the sparsemax; divided by 10 at each annealing.
        gamma: weight γ of the entropy that keeps the classes from emptying.
        outer_steps: outer iterations.
        inner_steps: gradient descent steps of the inner head, all differentiated through.
        n_subsets: subsets S whose gradients an outer iteration averages.
        subset_size: rows of a subset, drawn without replacement; all rows if there are fewer.
        train_fraction: part of a subset that trains the inner head; the rest tests it.
        inner_lr: learning rate of the inner head.
        outer_lr: learning rate of the task encoder; times 0.1 at each annealing.
        anneal: anneal after outer iterations 100 and 200.
        random_inner_init: a new inner head for every subset, or one start for the whole run.
        inner: "exact", or "coarse": a tenth of the inner steps, ten times as long.
        rank: None, or the number of principal directions of φ2 that inner heads learn in.
        recipe: "published"; or "fast", which minimises the same objective by a schedule of its
            own, with restarts, coarse steps and the rank that the data permit (`hume_fast.py`).
            Leave the settings in `SET_BY_RECIPE` at their defaults then.
        precision: of the operands of the inner loop's products: "fp32", as published; "bf16"; or
            "auto", bf16 where the device multiplies it in hardware. All else is float32.
        n_runs: runs with seeds `seed`, `seed + 1`, ...; more than one are scored by
            cross-validation on φ2 and decide by majority vote.
        seed: of the task encoder's start, the subsets and the inner heads.
        device: "auto" (the GPU where there is one), "cpu", "cuda", ...

    Attributes:
        labels_: (n,) int64, the hard labels of the rows of the fit.
        run_labels_: (n_runs, n) int64, each run's labels, numbered alike.
        run_scores_: (n_runs,) cross-validation scores of the runs; NaN for a single run.
        history_: dict of (T, n_runs) arrays `loss`, `train_loss`, `test_loss` and `entropy`,
            averaged over subsets, each before that outer step.
        precision_: "fp32" or "bf16", what the products of the fit ran in.
        heads_: [(n_runs, C, d_1)], the orthonormal rows of each run's task encoder.
    """

    _fitted = ("labels_", "run_labels_", "run_scores_")

    def __init__(
        self,
        n_classes,
        *,
        temperature=0.1,
        gamma=10.0,
        outer_steps=1000,
        inner_steps=300,
        n_subsets=20,
        subset_size=10_000,
        train_fraction=0.9,
        inner_lr=1e-3,
        outer_lr=1e-3,
        anneal=True,
        random_inner_init=True,
        inner="exact",
        rank=None,
        recipe="published",
        precision="fp32",
        n_runs=1,
        seed=0,
        device="auto",
    ):
        self.n_classes = n_classes
        self.temperature = temperature
        self.gamma = gamma
        self.outer_steps = outer_steps
        self.inner_steps = inner_steps
        self.n_subsets = n_subsets
        self.subset_size = subset_size
        self.train_fraction = train_fraction
        self.inner_lr = inner_lr
        self.outer_lr = outer_lr
        self.anneal = anneal
        self.random_inner_init = random_inner_init
        self.inner = inner
        self.rank = rank
        self.recipe = recipe
        self.precision = precision
        self.n_runs = n_runs
        self.seed = seed
        self.device = device

    def fit_many(self, spaces, settings) -> list[Hume]:
        """Solve several settings as one batch.

        Settings that differ only in `seed`, `n_runs`, `gamma` and `outer_lr` are solved
        together.

        Args:
            spaces: [Z_1, Z_2], as in `fit`.
            settings: dicts of what differs from this estimator.

        Returns:
            A fitted estimator for each dict, in order; each equals its own `fit` up to rounding.
        """
        variants = self._variants(settings)
        spaces = check_spaces(spaces, max(variant.n_classes for variant in variants))
        if len(spaces) != 2:
            raise ValueError(f"HUME needs two spaces, [φ1, φ2]; {len(spaces)} given")
        for variant in variants:
            variant._check_rows(spaces[0])
        device = pick_device(self.device)
        space1 = l2_normalise(spaces[0], device)
        space2 = with_constant(to_device(spaces[1], device))  # (n, d_2 + 1)
        alike = groups(variants, apart_from=BATCHED)
        loops = inner_loops(space2, [group[0] for group in alike])
        for group, inner_loop in zip(alike, loops):
            _solve(space1, *inner_loop, group)
        for variant in variants:
            variant.precision_ = precision_name(variant.precision, device)
            variant._label(spaces)
        return variants

    def predict(self, spaces) -> np.ndarray:
        """Hard labels (n,) of any rows, `argmax Z_1 Wᵀ` or the majority's vote.

        Args:
            spaces: as in `predict_proba`.
        """
        if self.n_runs > 1:
            return super().predict(spaces)
        return self._logits(self._first_space(spaces))[0].argmax(-1).numpy()

    def predict_proba(self, spaces) -> np.ndarray:
        """The labeling of any rows, (n, C) float32.

        One run gives its sparsemax labeling τ at the last temperature; several give the shares of
        their votes.

        Args:
            spaces: φ1 alone, (n, d_1), or [Z_1, Z_2]; only φ1 is used.
        """
        logits = self._logits(self._first_space(spaces))  # (runs, n, C)
        if self.n_runs > 1:
            best = int(np.argmax(self.run_scores_))
            return vote_shares(logits.argmax(-1).numpy(), best, self.n_classes)
        schedule = self._schedule()
        annealings = sum(t < schedule.outer_steps for t in schedule.anneal_at)
        return sparsemax(logits[0] * 10**annealings / self.temperature).numpy()

    def _first_space(self, spaces):
        """φ1 of rows to label, checked against the fit."""
        self._check_fitted()
        spaces = check_spaces(spaces)
        if len(spaces) > 2:
            raise ValueError(f"HUME labels rows of [φ1] or [φ1, φ2]; {len(spaces)} spaces given")
        check_dims([spaces[0].shape[1]], [self.heads_[0].shape[2]])
        return spaces[0]

    @torch.no_grad()
    def _logits(self, space, chunk: int = 1 << 16) -> Tensor:
        """Z_1 Wᵀ of every run, (runs, n, C); argmax gives the labels, at any temperature."""
        device = pick_device(self.device)
        rows = to_device(self.heads_[0], device)
        parts = [
            linear_logits(rows, l2_normalise(space[i : i + chunk], device)).mT.cpu()
            for i in range(0, len(space), chunk)
        ]
        return torch.cat(parts, dim=1)

    def _label(self, spaces: list) -> None:
        """Label the fit's rows; match and score the runs if there are several."""
        self.run_labels_ = self._logits(spaces[0]).argmax(-1).numpy()  # (runs, n)
        self.run_scores_ = np.full(self.n_runs, np.nan)
        self.labels_ = self.run_labels_[0]
        if self.n_runs == 1:
            return
        self.run_scores_ = np.array(
            [cross_validation_score(spaces[1], run, device=self.device) for run in self.run_labels_]
        )
        best = int(np.argmax(self.run_scores_))
        reference = self.run_labels_[best]
        for r, run in enumerate(self.run_labels_):
            order = class_order(reference, run, self.n_classes)
            self.heads_[0][r] = self.heads_[0][r][order]
        self.run_labels_ = self._logits(spaces[0]).argmax(-1).numpy()  # ties as `predict` has them
        self.labels_ = majority_vote(self.run_labels_, best, self.n_classes)

    def _schedule(self) -> Schedule:
        if self.recipe == "fast":
            return FAST
        anneal_at = ANNEAL_AT if self.anneal else ()
        return Schedule(self.outer_steps, self.n_subsets, self.outer_lr, anneal_at)

    def _check_settings(self) -> None:
        check_number("n_classes", self.n_classes, 2, integer=True)
        for name in ("outer_steps", "inner_steps", "n_subsets", "n_runs"):
            check_number(name, getattr(self, name), 1, integer=True)
        check_number("subset_size", self.subset_size, 2, integer=True)
        for name in ("temperature", "inner_lr", "outer_lr", "train_fraction"):
            check_number(name, getattr(self, name), 0, exclusive=True)
        check_number("gamma", self.gamma, 0)
        check_number("seed", self.seed, 0, integer=True)
        check_flag("anneal", self.anneal)
        check_flag("random_inner_init", self.random_inner_init)
        check_choice("inner", self.inner, ("exact", "coarse"))
        check_precision(self.precision)
        if self.rank is not None:
            check_number("rank", self.rank, 1, integer=True)
        check_recipe(self, SET_BY_RECIPE)

    def _check_rows(self, space) -> None:
        n, dim = space.shape
        if dim < self.n_classes:
            raise ValueError(
                f"space 0 has {dim} dimensions, too few for {self.n_classes} orthonormal rows: "
                "HUME's task encoder needs at least n_classes"
            )
        size = min(self.subset_size, n)
        if not 1 <= int(size * self.train_fraction) < size:
            raise ValueError(
                f"train_fraction={self.train_fraction} of a subset of {size} rows leaves no rows "
                "to train or none to test on"
            )

    def _check_restored(self) -> None:
        shapes = [head.shape for head in self.heads_]
        if len(shapes) != 1 or shapes[0][:-1] != (self.n_runs, self.n_classes):
            raise ValueError(
                f"heads of shape {shapes}, not of {self.n_runs} runs in {self.n_classes} classes"
            )
        if not np.isfinite(self.heads_[0]).all():
            raise ValueError("its heads are not finite")
        if self.run_labels_.shape != (self.n_runs, len(self.labels_)):
            raise ValueError(f"run_labels of shape {self.run_labels_.shape}")
        if self.run_scores_.shape != (self.n_runs,):
            raise ValueError(f"run_scores of shape {self.run_scores_.shape}")


def l2_normalise(space, device: torch.device) -> Tensor:
    """φ1 on the device with every row L2-normalised, (n, d_1); a zero row stays zero."""
    rows = to_device(space, device)
    largest = rows.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
    return torch.nn.functional.normalize(rows / largest, dim=1)  # no square over- or underflows


@torch.enable_grad()
def _solve(
    space1: Tensor, space2: HeadSpace, inner_steps: int, inner_lr: float, models: list[Hume]
) -> None:
    """Fit estimators that share all settings but `BATCHED`."""
    first, device = models[0], space1.device
    schedule = first._schedule()
    n, dim1, dim2 = len(space1), space1.shape[1], space2.start_dim - 1
    owners, streams = [], []  # of each of the R runs, restarts included
    for model in models:
        for run, restart in product(range(model.n_runs), range(schedule.restarts)):
            owners.append(model)
            streams.append(generator(derived_seed(model.seed + run, restart), device))
    encoder = OrthonormalEncoder.initial(dim1, first.n_classes, streams)
    subsets = draw_subsets(n, first.subset_size, schedule.n_subsets, schedule.outer_steps, streams)
    history = minimise_hume(
        space1,
        space2,
        encoder,
        progress(subsets, schedule.outer_steps, "HUME"),
        draw_inner_heads(
            dim2, first.n_classes, schedule.n_subsets, first.random_inner_init, streams
        ),
        UnrolledDescent(inner_steps, inner_lr),
        train_fraction=first.train_fraction,
        temperature=first.temperature,
        gamma=per_run(owners, "gamma", device),
        outer_lr=torch.tensor([m._schedule().outer_lr for m in owners], device=device),
        anneal_at=schedule.anneal_at,
    )
    history = {name: values.mean(-1).cpu().numpy() for name, values in history.items()}  # (T, R)
    rows = encoder.weight.detach().cpu().numpy()  # (R, C, d_1)
    kept = lowest(history["loss"], schedule.restarts)
    for model in models:
        mine = [r for r in kept if owners[r] is model]
        model.heads_ = [rows[mine]]
        check_converged(model, model.heads_)
        model.history_ = {name: values[:, mine] for name, values in history.items()}
