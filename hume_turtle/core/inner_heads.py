"""TURTLE's inner linear heads: what a labeling teaches a linear classifier.

They are trained with Adam on a labeling held fixed (first-order hypergradient); HUME's, which are
differentiated through, are in `unrolled.py`. Heads are tensors (R, C, d + 1) whose last column is
the bias; logits and labelings are class-major, (R, C, n).
"""

from __future__ import annotations

import torch
from torch import Tensor

from hume_turtle.core.products import head_gradient, linear_logits

ADAM = {  # published: PyTorch's defaults
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-8,
    "weight_decay": 0.0,
    "amsgrad": False,
    "maximize": False,
}


class Adam:
    """Adam (Kingma & Ba, 2015) on tensors whose leading axis is R runs with their own step sizes.

    PyTorch's fused kernel, one call for all runs of a learning rate; its optimiser class would
    need a parameter for each run. Updates happen in place. betas 0.9 and 0.999, eps 1e-8.

    Args:
        parameters: contiguous tensors (R, ...).
        lr: (R,) learning rates.
    """

    def __init__(self, parameters: list[Tensor], lr: Tensor):
        self.parameters = parameters
        values = [p.detach() for p in parameters]
        self.state = [torch.zeros_like(p) for p in values], [torch.zeros_like(p) for p in values]
        self.steps = lr.new_zeros(len(lr), dtype=torch.float32)  # of each run
        rates = lr.tolist()
        self.groups = [
            ([r for r, other in enumerate(rates) if other == rate], rate)
            for rate in dict.fromkeys(rates)
        ]
        self.lr = [lr.new_full((), rate, dtype=torch.float64) for _, rate in self.groups]
        self._views = [
            [self._of(runs, x) for x in (values, *self.state, [self.steps] * len(values))]
            for runs, _ in self.groups
        ]

    @torch.no_grad()
    def step(self, gradients: list[Tensor]) -> None:
        self.steps.add_(1)
        gradients = [g.contiguous() for g in gradients]  # the kernel reads memory in order
        for (runs, _), lr, (p, m, v, steps) in zip(self.groups, self.lr, self._views):
            g = self._of(runs, gradients)
            torch._fused_adam_(p, g, m, v, [], steps, lr=lr, **ADAM)

    def scale_lr(self, factor: float) -> None:
        for lr in self.lr:
            lr.mul_(factor)

    @torch.no_grad()
    def reset(self, values: list[Tensor], runs: list[int] | None = None) -> None:
        """Start again from `values` with an empty state, as a cold start does.

        `values` are tensors (R, ...), or of the given runs only.
        """
        runs = slice(None) if runs is None else runs
        self.steps[runs] = 0
        for p, m, v, value in zip(self.parameters, *self.state, values, strict=True):
            p[runs] = value
            m[runs] = 0
            v[runs] = 0

    @staticmethod
    def _of(runs: list[int], tensors: list[Tensor]) -> list[Tensor]:
        """The parts of some runs, as views."""
        parts = [tensor.unbind(0) for tensor in tensors]
        return [part[r] for part in parts for r in runs]


@torch.no_grad()
def train_heads(adams: list[Adam], spaces: list[Tensor], labeling: Tensor, steps: int) -> None:
    """TURTLE's inner loop: `steps` Adam steps on `Σ_k CE(Z_k W_kᵀ + b_k, τ)`, τ held fixed.

    The spaces do not meet before τ changes, so each takes all its steps while it is in the cache.

    Args:
        adams: for each of the K spaces the optimiser of its heads (R, C, d_k + 1), which are
            updated in place.
        spaces: K tensors with the constant column, (n, d_k + 1).
        labeling: τ, (R, C, n).
        steps: number of inner steps M.
    """
    for adam, space in zip(adams, spaces, strict=True):
        (head,) = adam.parameters
        for _ in range(steps):
            residual = linear_logits(head, space).softmax(dim=-2).sub_(labeling)
            adam.step([head_gradient(residual, space, 1 / len(space))])
