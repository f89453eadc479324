"""HUME (Gadetsky & Brbić, NeurIPS 2023): the labeling on which linear classifiers generalise.

First the objective as a pure function, then its minimisation, then the estimator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import product

import numpy as np
import torch
from torch import Tensor

from hume_turtle.estimator import (
    LabelingEstimator,
    check_converged,
    check_dims,
    check_flag,
    check_number,
    check_spaces,
    generator,
    groups,
    per_run,
    pick_device,
    progress,
    to_device,
)
from hume_turtle.inner import Adam
from hume_turtle.metrics import match_clusters
from hume_turtle.probes import cross_validation_score
from hume_turtle.sampling import draw_inner_heads, draw_subsets
from hume_turtle.task_encoder import (
    OrthonormalEncoder,
    linear_logits,
    sparsemax,
    with_constant,
)
from hume_turtle.unrolled import HeadSpace, Split, UnrolledDescent

JOINT = ("seed", "n_runs", "entropy_weight", "outer_lr")  # settings that joint runs may differ in
ANNEAL_AT = (100, 200)  # after these outer iterations outer_lr × 0.1 and temperature ÷ 10


def hume_objective(
    rows: Tensor,
    space1: Tensor,
    space2: HeadSpace,
    heads: Tensor,
    train: Split,
    test: Split,
    *,
    temperature: float,
    entropy_weight: Tensor,
    descent: UnrolledDescent,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """HUME's loss of R runs on S subsets each, all of the same k rows of data.

    The labeling is `τ = sparsemax(Z_1 Wᵀ / temperature)`. A linear head is trained by gradient
    descent on `CE(head(Z_2), τ)` over a subset's training rows; the loss is `CE(head(Z_2), τ)` on
    its test rows minus `entropy_weight · H(mean τ over both)`. Its gradient by W flows through τ
    on both parts, and so through every inner step.

    Args:
        rows: the task encoders' rows W, (R, C, d_1).
        space1: Z_1, (k, d_1), rows of unit length.
        space2: Z_2 of the same rows, with the constant column.
        heads: the inner heads' starts, (R, S, C, d_2 + 1).
        train, test: the rows that train and test the head of each of the R · S problems.
        entropy_weight: (R,).

    Returns:
        The loss, the last inner training error, the test error and the entropy, each (R, S).
    """
    runs, subsets = heads.shape[:2]
    labeling = sparsemax(linear_logits(rows, space1) / temperature, dim=1)  # (R, C, k)
    train_error, test_error = descent.generalization_error(
        labeling.movedim(1, 0).repeat_interleave(subsets, dim=1),  # (C, R S, k)
        space2,
        heads.flatten(0, 1).movedim(1, 0),
        train,
        test,
    )
    mean = subset_means(labeling, train, test)  # (R, S, C)
    entropy = torch.special.entr(mean.clamp_min(torch.finfo(mean.dtype).tiny)).sum(-1)  # H(mean τ)
    test_error = test_error.view(runs, subsets)
    loss = test_error - entropy_weight[:, None] * entropy
    return loss, train_error.view(runs, subsets), test_error, entropy.expand(runs, subsets)


def subset_means(labeling: Tensor, train: Split, test: Split) -> Tensor:
    """Mean of τ (R, C, k) over the rows of each subset, (R, S, C), or (R, 1, C) of all k rows."""
    if isinstance(train.rows, slice):
        return labeling.mean(-1).unsqueeze(1)
    member = (train.rows | test.rows).to(labeling.dtype).unflatten(0, (len(labeling), -1))
    return torch.bmm(member, labeling.mT) / (train.count + test.count)


def minimise_hume(
    space1: Tensor,
    space2: HeadSpace,
    encoder: OrthonormalEncoder,
    subsets: Iterable[Tensor],
    heads: Iterator[Tensor],
    *,
    train_fraction: float,
    temperature: float,
    entropy_weight: Tensor,
    inner_steps: int,
    inner_lr: float,
    outer_lr: Tensor,
    anneal_at: tuple[int, ...] = (),
    watch: Callable[[Tensor], None] | None = None,
) -> dict[str, Tensor]:
    """Minimise HUME's objective for R runs at once; the encoder is updated in place.

    Args:
        space1: Z_1, (n, d_1), rows of unit length.
        space2: Z_2 with the constant column.
        encoder: the task encoders of R runs at their start.
        subsets: for each outer iteration the rows of every run's subsets, (R, S, m).
        heads: for each outer iteration the starts of the inner heads, (R, S, C, d_2 + 1).
        entropy_weight, outer_lr: (R,).
        anneal_at: after these outer iterations outer_lr × 0.1 and temperature ÷ 10.
        watch: called after each outer step with the gradient (R, C, d_1) of the encoder's
            unconstrained parameter before clipping, averaged over subsets.

    Returns:
        History: `loss`, `train_error`, `test_error` and `entropy`, each (T, R, S).
    """
    adam = Adam([encoder.unconstrained], outer_lr)
    descent = UnrolledDescent(inner_steps, inner_lr)
    record = []
    for t, (subset, head) in enumerate(zip(subsets, heads)):
        if t in anneal_at:
            temperature /= 10
            adam.scale_lr(0.1)
        gradient, terms = hume_gradient(
            encoder,
            space1,
            space2,
            subset,
            head,
            n_train=int(subset.shape[-1] * train_fraction),
            temperature=temperature,
            entropy_weight=entropy_weight,
            descent=descent,
        )
        norm = gradient.flatten(1).norm(dim=1).view(-1, 1, 1)  # of each run
        adam.step([gradient * (1 / (norm + 1e-6)).clamp_max(1)])
        record.append(terms)
        if watch is not None:
            watch(gradient)
    history = torch.stack(record, dim=1)  # (4, T, R, S)
    return dict(zip(("loss", "train_error", "test_error", "entropy"), history))


def hume_gradient(
    encoder: OrthonormalEncoder,
    space1: Tensor,
    space2: HeadSpace,
    subset: Tensor,
    heads: Tensor,
    *,
    n_train: int,
    entropy_weight: Tensor,
    **settings,
) -> tuple[Tensor, Tensor]:
    """Gradient of the unconstrained parameter (R, C, d_1), averaged over the S subsets.

    Subsets that are much of the data are solved together on all rows, with masks; others one by
    one on their own rows. Also returns the terms of the objective, (4, R, S).
    """
    rows = encoder.weight  # (R, C, d_1)
    leaf = rows.detach().requires_grad_()
    runs, subsets, size = subset.shape
    if worth_sharing(len(space1), subset):
        train, test = masks(subset, n_train, len(space1))
        terms = hume_objective(
            leaf, space1, space2, heads, train, test, entropy_weight=entropy_weight, **settings
        )
        terms[0].mean(1).sum().backward()
        terms = torch.stack(terms).detach()
    else:
        train, test = Split(slice(n_train), n_train), Split(slice(n_train, size), size - n_train)
        terms = leaf.new_empty(4, runs, subsets)
        for r, s in product(range(runs), range(subsets)):
            index, run = subset[r, s], slice(r, r + 1)
            one = hume_objective(
                leaf[run],
                space1[index],
                space2.take(index),
                heads[run, s : s + 1],
                train,
                test,
                entropy_weight=entropy_weight[run],
                **settings,
            )
            one[0].sum().div(subsets).backward()
            terms[:, r, s] = torch.stack(one).detach().flatten()
    (gradient,) = torch.autograd.grad(rows, encoder.unconstrained, leaf.grad)
    return gradient, terms


def worth_sharing(n: int, subset: Tensor) -> bool:
    """Whether products with all n rows cost less than products with each subset's own.

    On the CPU a product of few heads reaches half the speed of one of many, and all heads of many
    subsets make one of many; an accelerator is bound by how often it reads the rows.
    """
    _, subsets, size = subset.shape
    return n <= size * (2 if subset.device.type == "cpu" else subsets)


def masks(subset: Tensor, n_train: int, n: int) -> tuple[Split, Split]:
    """The subsets' rows (R, S, m), of which n_train train, as masks of all n rows."""
    subset = subset.flatten(0, 1)
    mask = torch.zeros(len(subset), n, dtype=torch.bool, device=subset.device)
    train = mask.scatter(1, subset[:, :n_train], True)
    test = mask.scatter(1, subset[:, n_train:], True)
    return Split(train, n_train), Split(test, subset.shape[1] - n_train)


def vote_shares(labelings: np.ndarray, best: int, n_classes: int) -> np.ndarray:
    """Share of the votes for each class, (n, C), from labelings (runs, n) with matched classes.

    Run `best` has half a vote more, which decides ties and nothing else.
    """
    votes = np.eye(n_classes, dtype=np.float32)[labelings]  # (runs, n, C)
    return (votes.sum(0) + 0.5 * votes[best]) / (len(labelings) + 0.5)


class Hume(LabelingEstimator):
    """HUME: the labeling that linear classifiers generalise on (Gadetsky & Brbić, NeurIPS 2023).

    The task encoder labels rows from φ1, a space learned on the dataset itself (its rows are
    scaled to unit length here); a linear head on φ2, a space of a large pretrained model, must
    predict that labeling on rows it was not trained on. Fit on a training split and call
    `predict` on the test split (inductive), or fit on both together (transductive). The defaults
    are the published ones for STL-10, CIFAR-10 and CIFAR-100-20.

    Args:
        n_classes: number of classes C, at least 2 and at most the dimensions of φ1.
        temperature: of the sparsemax; divided by 10 at each annealing.
        entropy_weight: weight η of the entropy that keeps the classes from emptying.
        outer_steps: outer iterations.
        inner_steps: gradient descent steps of the inner head, all differentiated through.
        n_subsets: subsets S whose gradients an outer iteration averages.
        subset_size: rows of a subset, drawn without replacement; all rows if there are fewer.
        train_fraction: part of a subset that trains the inner head; the rest tests it.
        inner_lr: learning rate of the inner head.
        outer_lr: learning rate of the task encoder; times 0.1 at each annealing.
        anneal: anneal after outer iterations 100 and 200.
        random_inner_init: a new inner head for every subset, or one start for the whole run.
        n_runs: runs with seeds `seed`, `seed + 1`, ...; more than one are scored by
            cross-validation on φ2 and decide by majority vote.
        seed: of the task encoder's start, the subsets and the inner heads.
        device: "auto" (the GPU where there is one), "cpu", "cuda", ...

    Attributes:
        labels_: (n,) int64, the hard labels of the rows of the fit.
        run_labels_: (n_runs, n) int64, each run's labels, numbered alike.
        run_scores_: (n_runs,) cross-validation scores of the runs; NaN for a single run.
        history_: dict of (T, n_runs) arrays `loss`, `train_error`, `test_error` and `entropy`,
            averaged over subsets, each before that outer step.
        heads_: [(n_runs, C, d_1)], the orthonormal rows of each run's task encoder.
    """

    _fitted = ("labels_", "run_labels_", "run_scores_")

    def __init__(
        self,
        n_classes,
        *,
        temperature=0.1,
        entropy_weight=10.0,
        outer_steps=1000,
        inner_steps=300,
        n_subsets=20,
        subset_size=10_000,
        train_fraction=0.9,
        inner_lr=1e-3,
        outer_lr=1e-3,
        anneal=True,
        random_inner_init=True,
        n_runs=1,
        seed=0,
        device="auto",
    ):
        self.n_classes = n_classes
        self.temperature = temperature
        self.entropy_weight = entropy_weight
        self.outer_steps = outer_steps
        self.inner_steps = inner_steps
        self.n_subsets = n_subsets
        self.subset_size = subset_size
        self.train_fraction = train_fraction
        self.inner_lr = inner_lr
        self.outer_lr = outer_lr
        self.anneal = anneal
        self.random_inner_init = random_inner_init
        self.n_runs = n_runs
        self.seed = seed
        self.device = device

    def fit_many(self, spaces, settings) -> list[Hume]:
        """Solve several settings as one batch.

        Settings that differ only in `seed`, `n_runs`, `entropy_weight` and `outer_lr` are solved
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
        resident = unit_rows(spaces[0], device), with_constant(to_device(spaces[1], device))
        for group in groups(variants, apart_from=JOINT):
            _solve(*resident, group)
        for variant in variants:
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
        annealings = sum(t < self.outer_steps for t in ANNEAL_AT) if self.anneal else 0
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
            linear_logits(rows, unit_rows(space[i : i + chunk], device)).mT.cpu()
            for i in range(0, len(space), chunk)
        ]
        return torch.cat(parts, dim=1)

    def _label(self, spaces: list) -> None:
        """Label the fit's rows; match and score the runs if there are several."""
        labels = self._logits(spaces[0]).argmax(-1).numpy()  # (runs, n)
        self.run_scores_ = np.full(self.n_runs, np.nan)
        if self.n_runs > 1:
            self.run_scores_ = np.array(
                [cross_validation_score(spaces[1], run, device=self.device) for run in labels]
            )
            reference = labels[int(np.argmax(self.run_scores_))]
            for r, run in enumerate(labels):
                place = match_clusters(reference, run, n_classes=self.n_classes)
                order = np.argsort([place[c] for c in range(self.n_classes)])
                self.heads_[0][r] = self.heads_[0][r][order]
        self.run_labels_ = self._logits(spaces[0]).argmax(-1).numpy()
        self.labels_ = self.predict(spaces[0])

    def _check_settings(self) -> None:
        check_number("n_classes", self.n_classes, 2, whole=True)
        for name in ("outer_steps", "inner_steps", "n_subsets", "n_runs"):
            check_number(name, getattr(self, name), 1, whole=True)
        check_number("subset_size", self.subset_size, 2, whole=True)
        for name in ("temperature", "inner_lr", "outer_lr", "train_fraction"):
            check_number(name, getattr(self, name), 0, open_low=True)
        check_number("entropy_weight", self.entropy_weight, 0)
        check_number("seed", self.seed, 0, whole=True)
        check_flag("anneal", self.anneal)
        check_flag("random_inner_init", self.random_inner_init)

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


def unit_rows(space, device: torch.device) -> Tensor:
    """φ1 on the device with every row scaled to unit length, (n, d_1); a zero row stays zero."""
    rows = to_device(space, device)
    largest = rows.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
    return torch.nn.functional.normalize(rows / largest, dim=1)  # no square over- or underflows


@torch.enable_grad()
def _solve(space1: Tensor, space2: Tensor, models: list[Hume]) -> None:
    """Fit estimators that differ only in seed, runs, entropy weight and outer learning rate."""
    first, device = models[0], space1.device
    n, dim1, dim2 = len(space1), space1.shape[1], space2.shape[1] - 1
    owners = [model for model in models for _ in range(model.n_runs)]  # (R,)
    streams = [
        generator(model.seed + run, device) for model in models for run in range(model.n_runs)
    ]
    encoder = OrthonormalEncoder.initial(dim1, first.n_classes, streams)
    subsets = draw_subsets(n, first.subset_size, first.n_subsets, first.outer_steps, streams)
    history = minimise_hume(
        space1,
        HeadSpace(space2),
        encoder,
        progress(subsets, first.outer_steps, "HUME"),
        draw_inner_heads(dim2, first.n_classes, first.n_subsets, first.random_inner_init, streams),
        train_fraction=first.train_fraction,
        temperature=first.temperature,
        entropy_weight=per_run(owners, "entropy_weight", device),
        inner_steps=first.inner_steps,
        inner_lr=first.inner_lr,
        outer_lr=per_run(owners, "outer_lr", device),
        anneal_at=ANNEAL_AT if first.anneal else (),
    )
    rows = encoder.weight.detach().cpu().numpy()  # (R, C, d_1)
    for model in models:
        mine = [r for r, owner in enumerate(owners) if owner is model]
        model.heads_ = [rows[mine]]
        check_converged(model, model.heads_)
        model.history_ = {
            name: values[:, mine].mean(-1).cpu().numpy() for name, values in history.items()
        }
