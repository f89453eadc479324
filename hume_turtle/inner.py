"""Inner linear heads: what a labeling teaches a linear classifier.

TURTLE trains its heads with Adam on a labeling held fixed (first-order hypergradient). HUME trains
them with plain gradient descent and differentiates through every step (unrolled, second order).
Heads are tensors (R, C, d + 1) whose last column is the bias; logits and labelings are
class-major, (R, C, n).
"""

from __future__ import annotations

import torch
from torch import Tensor

from hume_turtle.task_encoder import linear_logits


class Adam:
    """Adam (Kingma & Ba, 2015) on tensors whose leading axis is R runs with their own step sizes.

    `torch.optim.Adam` takes one learning rate for a tensor; joint runs need one for each row.
    Updates happen in place. betas 0.9 and 0.999, eps 1e-8.

    Args:
        parameters: tensors (R, ...).
        lr: (R,) learning rates.
    """

    def __init__(self, parameters: list[Tensor], lr: Tensor):
        self.parameters = parameters
        self.lr = [lr.view(-1, *[1] * (p.dim() - 1)) for p in parameters]
        self.first = [torch.zeros_like(p) for p in parameters]
        self.second = [torch.zeros_like(p) for p in parameters]
        self.steps = 0

    @torch.no_grad()
    def step(self, gradients: list[Tensor]) -> None:
        self.steps += 1
        first_bias = 1 - 0.9**self.steps
        second_bias = (1 - 0.999**self.steps) ** 0.5
        for p, g, m, v, lr in zip(self.parameters, gradients, self.first, self.second, self.lr):
            m.lerp_(g, 0.1)
            v.mul_(0.999).addcmul_(g, g, value=0.001)
            scale = v.sqrt().add_(1e-8 * second_bias)
            p.addcmul_(m / scale, lr * (-second_bias / first_bias))

    def scale_lr(self, factor: float) -> None:
        self.lr = [lr * factor for lr in self.lr]

    def reset(self, values: list[Tensor]) -> None:
        """Start again from `values` with an empty state, as a cold start does."""
        self.steps = 0
        for p, m, v, value in zip(self.parameters, self.first, self.second, values, strict=True):
            p.copy_(value)
            m.zero_()
            v.zero_()


def head_gradient(residual: Tensor, space: Tensor) -> Tensor:
    """Gradient of linear heads from that of their logits: (R, C, n), (n, d) to (R, C, d)."""
    runs, classes, rows = residual.shape
    return (residual.reshape(runs * classes, rows) @ space).view(runs, classes, -1)


@torch.no_grad()
def train_heads(adam: Adam, spaces: list[Tensor], labeling: Tensor, steps: int) -> None:
    """TURTLE's inner loop: `steps` Adam steps on `Σ_k CE(Z_k W_kᵀ + b_k, τ)`, τ held fixed.

    Args:
        adam: the optimiser holding the heads, K tensors (R, C, d_k + 1), updated in place.
        spaces: K tensors (n, d_k + 1), with the constant column.
        labeling: τ, (R, C, n).
        steps: number of inner steps M.
    """
    rows = labeling.shape[-1]
    for _ in range(steps):
        gradients = []
        for head, space in zip(adam.parameters, spaces):
            residual = linear_logits(head, space).softmax(dim=1).sub_(labeling)  # (R, C, n)
            gradients.append(head_gradient(residual.div_(rows), space))
        adam.step(gradients)


class UnrolledDescent(torch.autograd.Function):
    """HUME's inner loop: gradient descent on `CE(Z W_tᵀ, τ)`, differentiable through every step.

    `W_{t+1} = W_t − η ∇_W CE(Z W_tᵀ, τ)`. With `P_t` the softmax of step t and λ_T the gradient
    of the outer loss by W_T, the reverse sweep is
    `λ_t = λ_{t+1} − (η/n) Zᵀ[P_t ∘ (Zλ_{t+1} − rowsum(P_t ∘ Zλ_{t+1}))]`, and the gradient by the
    labeling is `(η/n) Z Σ_t λ_{t+1}`: the exact second-order gradient, for two matrix products a
    step each way. B problems are solved at once.

    Shapes: head (B, C, d + 1), space (B, n, d + 1) with the constant column, labeling (B, C, n).
    """

    @staticmethod
    def forward(ctx, head: Tensor, labeling: Tensor, space: Tensor, steps: int, lr: float):
        rows = space.shape[1]
        softmaxes = []
        error = None
        for step in range(steps):
            logits = torch.bmm(head, space.mT)  # (B, C, n)
            if step == steps - 1:
                error = -(labeling * logits.log_softmax(1)).sum(1).mean(-1)
            probabilities = logits.softmax(1)
            head = torch.baddbmm(head, probabilities - labeling, space, alpha=-lr / rows)
            softmaxes.append(probabilities)
        ctx.save_for_backward(space, *softmaxes)
        ctx.step_size = lr / rows
        ctx.mark_non_differentiable(error)
        return head, error

    @staticmethod
    def backward(ctx, adjoint: Tensor, _):
        space, *softmaxes = ctx.saved_tensors
        total = torch.zeros_like(adjoint)
        for probabilities in reversed(softmaxes):
            total += adjoint
            change = torch.bmm(adjoint, space.mT)  # Zλ, (B, C, n)
            change = probabilities * (change - (probabilities * change).sum(1, keepdim=True))
            adjoint = torch.baddbmm(adjoint, change, space, alpha=-ctx.step_size)
        return adjoint, torch.bmm(total, space.mT) * ctx.step_size, None, None, None


def descend(
    head: Tensor, labeling: Tensor, space: Tensor, steps: int, lr: float
) -> tuple[Tensor, Tensor]:
    """Train heads on a labeling by unrolled gradient descent (see `UnrolledDescent`).

    Returns:
        The trained heads (B, C, d + 1), differentiable in `labeling`, and the training loss (B,)
        that the last step started from.
    """
    return UnrolledDescent.apply(head, labeling, space, steps, lr)
