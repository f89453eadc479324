"""HUME (Gadetsky & Brbić, NeurIPS 2023): the labeling on which linear classifiers generalise.

The objective and its minimisation are in `hume_solver.py`; here is the estimator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, product

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
from hume_turtle.core.hume_solver import ANNEAL_AT, TERMS, minimise_hume
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
from hume_turtle.estimators.snapshot import Snapshot
from hume_turtle.estimators.voting import (
    VOTES_AT_ONCE,
    class_order,
    majority_vote,
    matched,
    vote_shares,
)
from hume_turtle.progress import progress

BATCHED = ("seed", "n_runs", "gamma", "outer_lr")  # settings that batched runs may differ in
LOGITS_AT_ONCE = 1 << 24  # 64 MB
OTHER_LABELS = 0.01  # of a part's labels; more than rounding moves where devices differ


class Hume(LabelingEstimator):
    """HUME: the labeling that linear classifiers generalise on (Gadetsky & Brbić, NeurIPS 2023).

    The task encoder labels rows from φ1, a space learned on the dataset itself (its rows are
    scaled to unit length here); a linear head on φ2, a space of a large pretrained model, must
    predict that labeling on rows it was not trained on. Fit on a training split and call
    `predict` on the test split (inductive), or fit on both together (transductive). The defaults
    are the published ones for STL-10, CIFAR-10 and CIFAR-100-20.

    `inner`, `rank` and `recipe` trade exactness for time; each is off by default, and each refuses
    data on which its error could not be bounded (see `hume_fast.py`).

    The paper takes the majority vote of a hundred runs, for which their classes are matched to
    those of the run with the best cross-validation score. There are two such votes. `labels_` and
    `predict` match the classes once, on the rows of the fit, and let the best run decide ties: the
    label of a new row then does not depend on which others are labelled with it, and a tie goes to
    the run that the scores trust most rather than to the class with the lowest number.
    `predict_rematched` is the published evaluation: it matches anew on the rows that it is given.

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
            Leave the steps, the learning rates, `n_subsets`, `anneal`, `inner` and `rank` at their
            defaults then.
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

    def fit_many(self, spaces, settings, *, callback=None) -> list[Hume]:
        """Solve several settings as one batch.

        Settings that differ only in `seed`, `n_runs`, `gamma` and `outer_lr` are solved
        together.

        Args:
            spaces: [Z_1, Z_2], as in `fit`.
            settings: dicts of what differs from this estimator.
            callback: as in `fit`, where there is one dict.

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
            solve(space1, *inner_loop, group, callback)
        for variant in variants:
            variant.precision_ = precision_name(variant.precision, device)
            variant._label(spaces, np.full(variant.n_runs, np.nan))
        return variants

    @classmethod
    def join(cls, parts, spaces) -> Hume:
        """One fit of all runs of several fits: what fitting them at once gives, up to rounding.

        So a hundred runs can be fitted and saved ten at a time, and a killed fit loses ten at most:

            parts = [Hume(10, n_runs=10, seed=s).fit(spaces) for s in range(0, 100, 10)]
            fit = Hume.join(parts, spaces)  # Hume(10, n_runs=100)

        Args:
            parts: fits of the same rows, in any order, whose seeds follow one another and whose
                settings are otherwise the same; loaded ones too.
            spaces: [Z_1, Z_2] of the fits: runs that were fitted alone have no score yet.

        Raises:
            ValueError: for parts that are not fits of these rows or do not belong together.
        """
        spaces = check_spaces(spaces)
        parts = _check_parts(parts, spaces)
        first = parts[0]
        joined = cls(**{**first.get_params(), "n_runs": sum(part.n_runs for part in parts)})
        joined.precision_ = first.precision_
        joined.heads_ = [np.concatenate([part.heads_[0] for part in parts])]
        joined.history_ = {
            name: np.concatenate([part.history_[name] for part in parts], axis=1)
            for name in first.history_
        }
        joined._label(spaces, np.concatenate([part.run_scores_ for part in parts]))
        return joined

    def predict(self, spaces) -> np.ndarray:
        """Hard labels (n,) of any rows, `argmax Z_1 Wᵀ` or the majority's vote.

        Args:
            spaces: as in `predict_proba`.
        """
        labels = self._label_runs(self._first_space(spaces))
        if self.n_runs == 1:
            return labels[0]
        return majority_vote(labels, self._best_run(), self.n_classes)

    def predict_rematched(self, spaces) -> np.ndarray:
        """Hard labels (n,) by the vote of HUME's published evaluation.

        The runs' classes are matched to those of the best run on these rows, and a tie goes to the
        lowest class, so that a row's label depends on which others are given. A single run has no
        one to be matched to: its labels are those of `predict`.

        Args:
            spaces: as in `predict_proba`.
        """
        labels = self._label_runs(self._first_space(spaces))
        labels = matched(labels, self._best_run(), self.n_classes)
        return majority_vote(labels, None, self.n_classes)

    def predict_proba(self, spaces) -> np.ndarray:
        """The labeling of any rows, (n, C) float32.

        One run gives its sparsemax labeling τ at the last temperature; several give the shares of
        their votes.

        Args:
            spaces: φ1 alone, (n, d_1), or [Z_1, Z_2]; only φ1 is used.
        """
        space = self._first_space(spaces)
        if self.n_runs > 1:
            return vote_shares(self._label_runs(space), self._best_run(), self.n_classes)
        logits = torch.cat([part[0].mT.cpu() for part in self._logits(space)])  # (n, C)
        return self._labeling(logits).numpy()

    def confidence(self, spaces) -> np.ndarray:
        """How sure the labeling is of each row, (n,) float32: the largest of `predict_proba`.

        Of several runs it is the share of the votes for the class that `predict` gives, where the
        run with the best score has one and a half. Of a single run it is that class's sparsemax
        probability at the last temperature: after annealing it is exactly 1 for most rows, so that
        only several runs order them. Only a chunk of rows is held with all classes at once.

        Args:
            spaces: as in `predict_proba`.
        """
        space = self._first_space(spaces)
        if self.n_runs == 1:
            parts = [self._labeling(part[0].mT).amax(1).cpu() for part in self._logits(space)]
            return torch.cat(parts).numpy()
        labels, best = self._label_runs(space), self._best_run()  # (n_runs, n)
        step = max(1, VOTES_AT_ONCE // self.n_classes)
        blocks = [labels[:, i : i + step] for i in range(0, labels.shape[1], step)]
        return np.concatenate([vote_shares(b, best, self.n_classes).max(1) for b in blocks])

    def _labeling(self, logits: Tensor) -> Tensor:
        """τ (n, C) of one run's logits (n, C), by the temperature that annealing ended at."""
        schedule = self._schedule()
        annealings = sum(t < schedule.outer_steps for t in schedule.anneal_at)
        return sparsemax(logits * 10**annealings / self.temperature)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False  # a fit needs two arrays
        return tags

    def _first_space(self, spaces):
        """φ1 of rows to label, checked against the fit."""
        self._check_fitted()
        spaces = check_spaces(spaces)
        if len(spaces) > 2:
            raise ValueError(f"HUME labels rows of [φ1] or [φ1, φ2]; {len(spaces)} spaces given")
        check_dims([spaces[0].shape[1]], [self.heads_[0].shape[2]])
        return spaces[0]

    @torch.no_grad()
    def _logits(self, space) -> Iterator[Tensor]:
        """Z_1 Wᵀ of every run, a chunk of rows (runs, C, rows) at a time."""
        device = pick_device(self.device)
        heads = to_device(self.heads_[0], device)
        runs, classes, dim = heads.shape
        step = max(1, LOGITS_AT_ONCE // max(runs * classes, dim))
        for i in range(0, len(space), step):
            yield linear_logits(heads, l2_normalise(space[i : i + step], device))

    def _label_runs(self, space) -> np.ndarray:
        """Each run's labels (runs, n): the largest logit, at any temperature."""
        return torch.cat([part.argmax(1).cpu() for part in self._logits(space)], dim=1).numpy()

    def _best_run(self) -> int:
        return int(np.argmax(self.run_scores_))

    def _label(self, spaces: list, scores: np.ndarray) -> None:
        """Label the fit's rows; of several runs, match the classes and score those without (NaN).

        scores: (n_runs,).
        """
        self.run_labels_ = self._label_runs(spaces[0])  # (n_runs, n)
        self.run_scores_ = scores
        self.labels_ = self.run_labels_[0]
        if self.n_runs == 1:
            return
        for r in np.flatnonzero(np.isnan(scores)):
            scores[r] = cross_validation_score(spaces[1], self.run_labels_[r], device=self.device)
        best = self._best_run()
        reference = self.run_labels_[best]
        for r, run in enumerate(self.run_labels_):
            order = class_order(reference, run, self.n_classes)
            self.heads_[0][r] = self.heads_[0][r][order]
        self.run_labels_ = self._label_runs(spaces[0])  # ties as `predict` has them
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
                f"HUME's task encoder needs at least n_classes (n_features={dim})"
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


def _check_parts(parts, spaces: list) -> list[Hume]:
    """Fits in the order of their seeds; ValueError unless all are of one kind and of these rows."""
    parts = list(parts)
    if not parts or not all(isinstance(part, Hume) for part in parts):
        raise ValueError(f"parts must be at least one fitted Hume, not {parts}")
    if len(spaces) != 2:
        raise ValueError(f"HUME needs two spaces, [φ1, φ2]; {len(spaces)} given")
    for part in parts:
        part._check_fitted()
    first, *_ = parts = sorted(parts, key=lambda part: part.seed)
    seed = first.seed
    for part in parts:
        name = f"the part with seed={part.seed}"
        if part.seed != seed:
            raise ValueError(
                f"{name} should have seed={seed}: the seeds of all runs must follow one another, "
                "without gap or overlap"
            )
        seed += part.n_runs
        if len(groups([first, part], apart_from=("seed", "n_runs", "device"))) > 1:
            raise ValueError(f"{name} has other settings than that with seed={first.seed}")
        if part.precision_ != first.precision_:
            raise ValueError(f"{name} ran in {part.precision_}, the first in {first.precision_}")
        labels = part._label_runs(part._first_space(spaces))
        if labels.shape != part.run_labels_.shape:
            raise ValueError(f"{name} has {len(part.labels_)} rows, the spaces {labels.shape[1]}")
        if (labels != part.run_labels_).mean() > OTHER_LABELS:
            raise ValueError(f"{name} labels the rows of space 0 otherwise: it is of other rows")
    return parts


def l2_normalise(space, device: torch.device) -> Tensor:
    """φ1 on the device with every row L2-normalised, (n, d_1); a zero row stays zero."""
    rows = to_device(space, device)
    largest = rows.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
    return torch.nn.functional.normalize(rows / largest, dim=1)  # no square over- or underflows


@torch.enable_grad()
def solve(
    space1: Tensor,
    space2: HeadSpace,
    inner_steps: int,
    inner_lr: float,
    models: list[Hume],
    callback: Callable[[Snapshot], None] | None = None,
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
        watch=None if callback is None else snapshots(callback, space1),
    )
    history = {name: values.mean(-1).cpu().numpy() for name, values in history.items()}  # (T, R)
    rows = encoder.weight.detach().cpu().numpy()  # (R, C, d_1)
    kept = lowest(history["loss"], schedule.restarts)
    for model in models:
        mine = [r for r in kept if owners[r] is model]
        model.heads_ = [rows[mine]]
        check_converged(model, model.heads_)
        model.history_ = {name: values[:, mine] for name, values in history.items()}


def snapshots(callback: Callable[[Snapshot], None], space1: Tensor) -> Callable[..., None]:
    """The solver's `watch`, which gives the callback a `Snapshot` in each outer iteration."""
    iterations = count()

    def watch(gradient: Tensor, terms: Tensor, rows: Tensor, temperature: float) -> None:
        values = dict(zip(TERMS, terms[:, 0].mean(-1).tolist()))

        def label() -> np.ndarray:
            return sparsemax(space1 @ rows[0].mT / temperature).cpu().numpy()

        heads = [rows[0].cpu().numpy().copy()]
        callback(Snapshot(next(iterations), values, heads, None, label))

    return watch
