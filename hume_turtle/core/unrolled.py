"""HUME's inner loop: linear heads trained by gradient descent, and the gradient through it.

Softmax sees only differences of logits. So a head is held relative to its last class,
`V_c = W_c − W_C` for c < C, and the logit of the last class is 0: a tenth of the work saved at ten
classes. The same row masks: at `OUTSIDE` it takes the whole softmax, the probabilities of the other
classes are exactly 0 and that row of data has no part in any product. Problems that train on
different rows thus share one matrix product with all rows.

With P_t the softmax of step t, α = η / n and `spread(G) = G + Σ_c G_c` (what gradients by the first
C − 1 rows of W mean for V, because those by all C rows sum to zero), descent on `CE(Z Wᵀ, τ)` is

    V_{t+1} = V_t − α spread((P_t − τ) Z).

With μ_T the gradient of the outer loss in the same form, the reverse sweep is

    μ_t = μ_{t+1} − α spread([P_t ∘ (A − Σ_c P_t ∘ A)] Z),  A = μ_{t+1} Zᵀ,

and the gradient by the training labels is `α Σ_t μ_{t+1} Zᵀ` (up to a constant for each row of
data, which labels that sum to one do not see): the exact second-order gradient, for two products a
step each way.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

OUTSIDE = 1e30  # logit of the last class on rows that a problem does not train on
STORED_BYTES = {"cpu": 450e6, "accelerator": 8e9}  # of softmaxes kept at a time


class HeadSpace(NamedTuple):
    """What heads see of k rows of data.

    Attributes:
        rows: Z with the constant column, (k, d), in the precision of the products.
        starts: (k, d'), what a head's start is multiplied with where the change of a head sees
            less (`low_rank`); None where a head sees `rows` throughout.
    """

    rows: Tensor
    starts: Tensor | None = None

    @property
    def start_dim(self) -> int:
        """d', the width of a head's start."""
        return (self.rows if self.starts is None else self.starts).shape[1]

    def take(self, index: Tensor | slice) -> HeadSpace:
        return HeadSpace(*(part if part is None else part[index] for part in self))

    def to(self, dtype: torch.dtype) -> HeadSpace:
        return HeadSpace(*(part if part is None else part.to(dtype) for part in self))


class Split(NamedTuple):
    """Which of k rows take part in each of B problems: a mask (B, k), or one slice for all."""

    rows: Tensor | slice
    count: int  # rows of a problem that take part

    @property
    def columns(self) -> slice:
        """The rows that are computed at all."""
        return self.rows if isinstance(self.rows, slice) else slice(None)


def split_at(n_train: int, n: int) -> tuple[Split, Split]:
    """The first n_train of n rows train, the rest test, in every problem."""
    return Split(slice(n_train), n_train), Split(slice(n_train, n), n - n_train)


class Problems(NamedTuple):
    """b problems on the same rows."""

    space: HeadSpace
    labeling: Tensor  # τ, (C, b, k)
    mask: Tensor | None  # rows that take part, (b, k); None stands for all
    count: int


class UnrolledDescent:
    """Trains heads on labelings by gradient descent and differentiates through every step.

    The softmaxes of all steps are kept for the way back, 4 T C k bytes a problem in float32.
    Problems are solved together as long as they fit in `STORED_BYTES`. Buffers last as long as
    this object.

    Args:
        steps: number of steps T, at least 1.
        lr: learning rate η.
    """

    def __init__(self, steps: int, lr: float):
        self.steps, self.lr = steps, lr
        self._memory: dict[str, Tensor] = {}

    def generalization_loss(
        self, labeling: Tensor, space: HeadSpace, start: Tensor, train: Split, test: Split
    ) -> tuple[Tensor, Tensor]:
        """Loss of heads on rows that they were not trained on, of B problems on the same k rows.

        Args:
            labeling: τ, (C, B, k); over C it sums to one.
            space: Z_2 of the k rows.
            start: where the heads start, (C, B, d').
            train, test: the rows that train and test each problem's head.

        Returns:
            The training loss that the last step started from, and the test loss
            `CE(Z_test Wᵀ, τ_test)`, each (B,). The second is differentiable in τ.
        """
        return _GeneralizationLoss.apply(labeling, self, space, start, train, test)

    @torch.no_grad()
    def solve(self, labeling, space, start, train, test) -> tuple[Tensor, Tensor, Tensor]:
        """Both losses, (B,), and the gradient of each problem's test loss by τ, (C, B, k)."""
        classes, problems, k = labeling[..., train.columns].shape
        stored = STORED_BYTES["cpu" if labeling.device.type == "cpu" else "accelerator"]
        size = max(1, int(stored / (self.steps * classes * k * space.rows.element_size())))
        losses, by_labeling = [], torch.zeros_like(labeling, memory_format=torch.contiguous_format)
        for i in range(0, problems, size):
            block = slice(i, i + size)
            parts = [
                Problems(
                    space.take(split.columns),
                    labeling[:, block, split.columns],
                    None if isinstance(split.rows, slice) else split.rows[block],
                    split.count,
                )
                for split in (train, test)
            ]
            *pair, by_train, by_test = self._solve_block(*parts, start[:, block])
            by_labeling[:, block, train.columns] += by_train
            by_labeling[:, block, test.columns] += by_test
            losses.append(torch.stack(pair))
        return *torch.cat(losses, dim=1), by_labeling

    def _solve_block(self, train: Problems, test: Problems, start: Tensor):
        """Losses (b,), and gradients by both parts of τ, (C, b, k_train) and (C, b, k_test)."""
        sweep = _Sweep(train, start, self.steps, self.lr / train.count, self._buffer)
        heads = _relative_start(train.space, start)
        sweep.descend(heads)
        train_loss = sweep.loss()
        test_loss, by_test, adjoint = _test(test, start, heads)
        return train_loss, test_loss, sweep.by_labeling(sweep.ascend(adjoint)), by_test

    def _buffer(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Memory for one purpose: touching fresh pages costs more than filling them again."""
        size = prod(shape)
        kept = self._memory.get(name)
        if kept is None or kept.numel() < size or kept.dtype != like.dtype:
            kept = self._memory[name] = like.new_empty(size)
        return kept[:size].view(shape)


class _Sweep:
    """The steps of one block of b problems, forward and in reverse.

    Heads and adjoints are (C − 1, b, d), relative to the last class. What a step needs is laid out
    beforehand: at a few microseconds each, the calls of a step must be few.
    """

    def __init__(self, train: Problems, start: Tensor, steps: int, step_size: float, buffer):
        self.train, self.step_size = train, step_size
        classes, b, k = train.labeling.shape
        rows = train.space.rows
        self.logits = buffer("logits", (classes, b, k), rows)
        self.others = self.logits[:-1]  # of all classes but the last
        self.residual = buffer("residual", (classes - 1, b, k), rows)
        self.mean = buffer("mean", (b, k), rows)
        self.gradient = buffer("gradient", (classes - 1, b, rows.shape[1]), rows)
        softmaxes = buffer("softmaxes", (steps, classes, b, k), rows)
        self.softmaxes = list(zip(softmaxes.unbind(), softmaxes[:, :-1].unbind()))
        self.forward = _product(rows, self.others)  # heads V to V Zᵀ
        self.backward = _product(rows.T, self.gradient)  # residuals R to R Z
        self.offset = _offset(train.space, start)
        self.logits[-1] = 0 if train.mask is None else torch.where(train.mask, 0, OUTSIDE)
        self.backward(_masked(train.labeling[:-1], train.mask))
        self.by_labels = self.gradient.clone()  # τ Z

    def descend(self, heads: Tensor) -> None:
        """All steps from `heads`, which move in place; keeps their softmaxes."""
        for softmax, others in self.softmaxes:
            self.forward(heads)
            if self.offset is not None:
                self.others.add_(self.offset)
            torch.softmax(self.logits, 0, out=softmax)
            self.backward(others)
            self._step(heads, self.gradient.sub_(self.by_labels))

    def loss(self) -> Tensor:
        """Training loss (b,) before the last step of `descend`."""
        logits, labeling = self.logits.to(self.train.labeling.dtype), self.train.labeling
        loss = logits.logsumexp(0) - (labeling[:-1] * logits[:-1]).sum(0)
        if self.train.mask is not None:
            loss = loss.masked_fill(~self.train.mask, 0)
        return loss.sum(-1) / self.train.count

    def ascend(self, adjoint: Tensor) -> Tensor:
        """Back through all steps from the last `adjoint` μ_T, changed in place; `Σ_t μ_t`."""
        total = torch.zeros_like(adjoint)
        for _, softmax in reversed(self.softmaxes):
            total.add_(adjoint)
            self.forward(adjoint)
            torch.mul(softmax, self.others, out=self.residual)
            torch.sum(self.residual, 0, out=self.mean)
            self.backward(self.residual.addcmul_(softmax, self.mean, value=-1))
            self._step(adjoint, self.gradient)
        return total

    def by_labeling(self, total: Tensor) -> Tensor:
        """Gradient by τ of the training rows, (C, b, k)."""
        self.forward(total)
        gradient = self.logits.to(total.dtype) * self.step_size
        gradient[-1] = 0
        return _masked(gradient, self.train.mask)

    def _step(self, state: Tensor, gradient: Tensor) -> None:
        """state −= α spread(gradient)"""
        gradient = gradient.to(state.dtype)
        state.sub_(gradient, alpha=self.step_size).sub_(gradient.sum(0), alpha=self.step_size)


def _product(right: Tensor, out: Tensor) -> Callable[[Tensor], Tensor]:
    """Multiplies (a, b, p) with the transpose of `right` (q, p) into `out` (a, b, q)."""
    flat, columns = out.view(-1, len(right)), right.T
    return lambda left: torch.mm(left.reshape(-1, len(columns)).to(right.dtype), columns, out=flat)


def _relative_start(space: HeadSpace, start: Tensor) -> Tensor:
    """Where descent starts, (C − 1, b, d): at zero if the start enters as an offset."""
    if space.starts is None:
        return start[:-1] - start[-1]
    return start.new_zeros(len(start) - 1, start.shape[1], space.rows.shape[1])


def _offset(space: HeadSpace, start: Tensor) -> Tensor | None:
    """Logits of the starts, (C − 1, b, k), where descent does not see them itself."""
    if space.starts is None:
        return None
    return _logits(start[:-1] - start[-1], space.starts)


def _logits(heads: Tensor, rows: Tensor) -> Tensor:
    """(C − 1, b, d), (k, d) to (C − 1, b, k)."""
    out = rows.new_empty(*heads.shape[:2], len(rows))
    _product(rows, out)(heads)
    return out


def _test(test: Problems, start: Tensor, heads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The test loss (b,), and its gradients by τ (C, b, k) and by the heads (C − 1, b, d)."""
    logits = _logits(heads, test.space.rows).to(heads.dtype)
    if test.space.starts is not None:
        logits += _offset(test.space, start)
    logits = torch.cat([logits, torch.zeros_like(logits[:1])])  # (C, b, k)
    by_labeling = _masked(logits.log_softmax(0).div_(-test.count), test.mask)
    loss = (test.labeling * by_labeling).sum((0, 2))
    residual = _masked((logits.softmax(0) - test.labeling)[:-1] / test.count, test.mask)
    by_heads = test.space.rows.new_empty(heads.shape)
    _product(test.space.rows.T, by_heads)(residual)
    by_heads = by_heads.to(heads.dtype)
    return loss, by_labeling, by_heads + by_heads.sum(0)


def _masked(values: Tensor, mask: Tensor | None) -> Tensor:
    return values if mask is None else values * mask


class _GeneralizationLoss(torch.autograd.Function):
    """`UnrolledDescent.solve` finds loss and gradient in one go; here autograd meets it."""

    @staticmethod
    def forward(ctx, labeling, descent, space, start, train, test):
        train_loss, test_loss, by_labeling = descent.solve(labeling, space, start, train, test)
        ctx.save_for_backward(by_labeling)
        ctx.mark_non_differentiable(train_loss)
        return train_loss, test_loss

    @staticmethod
    def backward(ctx, _, by_loss: Tensor):
        (by_labeling,) = ctx.saved_tensors  # (C, B, k)
        return by_labeling * by_loss[:, None], None, None, None, None, None
