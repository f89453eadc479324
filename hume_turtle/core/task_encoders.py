"""Task encoders: from frozen representations to a labeling.

TURTLE averages the softmax of one weight-normalised linear layer per space; HUME applies
sparsemax to one linear map with orthonormal rows. Both carry a leading axis of R runs, so that
many seeds and settings are solved as one batch, and keep logits class-major, (R, C, n): softmax
over a short strided axis vectorises over rows, which is many times faster at ten classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils import parametrizations

from hume_turtle.core.products import linear_logits

ABSENT = -1e4  # logit of a class that a run does not have: its softmax underflows to 0


def with_constant(space: Tensor) -> Tensor:
    """Append a column of ones, (n, d) to (n, d + 1), so that a head's bias is its last weight."""
    return torch.cat([space, space.new_ones(len(space), 1)], dim=1)


def draw_heads(
    dims: list[int],
    n_classes: int | list[int],
    generators: list[torch.Generator],
    width: int | None = None,
) -> list[Tensor]:
    """Linear heads with weights and biases uniform in ±1/√d, as PyTorch initialises a layer.

    Args:
        dims: width d_k of each of the K spaces.
        n_classes: number of classes, of all R runs or of each.
        generators: one for each run; a run's draw does not depend on its neighbours.
        width: number C of rows to give to every head, by default the largest number of classes.

    Returns:
        K tensors (R, C, d_k + 1); the last column is the bias (see `with_constant`). A run with
        fewer classes has the others absent: their weights are 0 and their bias is `ABSENT`, so
        that their probability is exactly 0 and nothing ever moves them.
    """
    classes = [n_classes] * len(generators) if isinstance(n_classes, int) else n_classes
    width = max(classes) if width is None else width
    heads = []
    for dim in dims:
        shape = len(classes), width, dim + 1
        head = torch.zeros(shape, device=generators[0].device, dtype=torch.float32)
        for r, (count, g) in enumerate(zip(classes, generators)):
            draw = torch.rand(count, dim + 1, generator=g, device=g.device, dtype=torch.float32)
            head[r, :count] = draw.mul_(2).sub_(1).div_(dim**0.5)
            head[r, count:, -1] = ABSENT
        heads.append(head)
    return heads


class SoftmaxEncoder:
    """TURTLE's task encoder: `τ = mean_k softmax(Z_k W_kᵀ + b_k)` with weight-normalised rows.

    The weight row of class c in space k is `g_c v_c / ||v_c||`; the bias is not normalised.

    Attributes:
        directions: K tensors (R, C, d_k), the `v`.
        gains: K tensors (R, C, 1), the `g`.
        biases: K tensors (R, C).
    """

    def __init__(self, directions: list[Tensor], gains: list[Tensor], biases: list[Tensor]):
        self.directions = [v.detach().clone().requires_grad_() for v in directions]
        self.gains = [g.detach().clone().requires_grad_() for g in gains]
        self.biases = [b.detach().clone().requires_grad_() for b in biases]

    @classmethod
    def from_heads(cls, heads: list[Tensor]) -> SoftmaxEncoder:
        """Start from linear heads, K tensors (R, C, d_k + 1): `v` the weights, `g` their norms."""
        directions = [head[..., :-1] for head in heads]
        gains = [v.norm(dim=-1, keepdim=True) for v in directions]
        directions = [torch.where(g > 0, v, 1.0) for v, g in zip(directions, gains)]  # of any norm
        return cls(directions, gains, [head[..., -1] for head in heads])

    def parameters(self) -> list[Tensor]:
        return [*self.directions, *self.gains, *self.biases]

    def heads(self) -> list[Tensor]:
        """The effective linear heads, K tensors (R, C, d_k + 1)."""
        return [
            torch.cat([g * v / v.norm(dim=-1, keepdim=True), b.unsqueeze(-1)], dim=-1)
            for v, g, b in zip(self.directions, self.gains, self.biases)
        ]

    def gradients(self, by_heads: list[Tensor]) -> list[Tensor]:
        """Gradients of `parameters()` from those of `heads()`, K tensors (R, C, d_k + 1)."""
        by_directions, by_gains = [], []
        for v, g, head in zip(self.directions, self.gains, by_heads):
            norm = v.norm(dim=-1, keepdim=True)
            unit, weight = v / norm, head[..., :-1]
            along = (weight * unit).sum(-1, keepdim=True)  # (R, C, 1)
            by_directions.append((weight - along * unit).mul_(g / norm))
            by_gains.append(along)
        return [*by_directions, *by_gains, *(head[..., -1] for head in by_heads)]

    def labelings(self, spaces: list[Tensor]) -> list[Tensor]:
        """The labeling τ^k of each space, K tensors (R, C, n); their mean is the labeling τ."""
        return softmax_labelings(self.heads(), spaces)


def softmax_labelings(heads: list[Tensor], spaces: list[Tensor]) -> list[Tensor]:
    """`τ^k = softmax(Z_k W_kᵀ + b_k)`: K heads (R, C, d_k + 1) to K labelings (R, C, n)."""
    return [linear_logits(head, space).softmax(dim=-2) for head, space in zip(heads, spaces)]


def sparsemax(logits: Tensor, dim: int = -1) -> Tensor:
    """Euclidean projection of logits onto the probability simplex along `dim`.

    `argmin_{p ∈ Δ} ||p − z||²` (Martins & Astudillo, 2016). Its solution is `max(z − t, 0)` with
    the threshold t that makes it sum to one; differentiating through t, with the support held
    fixed, gives the exact Jacobian.
    """
    logits = logits - logits.detach().amax(dim, keepdim=True)  # 1 + z must not round to z
    ordered = logits.detach().sort(dim=dim, descending=True).values
    shape = [1] * logits.dim()
    shape[dim] = -1
    rank = torch.arange(1, logits.shape[dim] + 1, device=logits.device).view(shape)
    inside = 1 + rank * ordered > ordered.cumsum(dim)
    smallest = ordered.masked_fill(~inside, torch.inf).amin(dim, keepdim=True)
    support = logits.detach() >= smallest  # classes with positive probability
    threshold = ((logits * support).sum(dim, keepdim=True) - 1) / support.sum(dim, keepdim=True)
    return (logits - threshold).clamp_min(0)


class OrthonormalEncoder(torch.nn.Module):
    """HUME's task encoder: a linear map without bias whose C rows are orthonormal.

    PyTorch's orthogonal parametrisation (Householder reflections, or a matrix exponential where
    the weight is square, times a fixed orthogonal basis) keeps the rows orthonormal while the
    optimiser moves an unconstrained parameter. All R runs share one module.

    Args:
        unconstrained: (R, C, d), the parameter behind the weight.
        basis: (R, d, d) orthogonal; the weight's rows start as its first C columns, but a square
            weight as the basis itself, not transposed, as in PyTorch.
    """

    def __init__(self, unconstrained: Tensor, basis: Tensor):
        super().__init__()
        self.weight = torch.nn.Parameter(basis[..., : unconstrained.shape[-2]].mT.contiguous())
        with torch.random.fork_rng(devices=[]):  # registering draws a basis that is not kept
            parametrizations.orthogonal(self, "weight")
        self.unconstrained.data = unconstrained.clone()
        self.parametrizations.weight[0].base = basis.clone()

    @classmethod
    def initial(cls, dim: int, n_classes: int, generators: list[torch.Generator]):
        """Rows drawn uniform in ±1/√d and orthonormalised, a draw for each of the R runs."""
        (heads,) = draw_heads([dim], n_classes, generators)
        rest = [
            torch.randn(dim, dim - n_classes, generator=g, device=g.device, dtype=torch.float32)
            for g in generators
        ]
        basis = orthogonal_basis(torch.cat([heads[..., :-1].mT, torch.stack(rest)], dim=-1))
        start = -torch.eye(n_classes, dim, device=basis.device, dtype=basis.dtype)
        return cls(start.expand(len(generators), -1, -1), basis)

    @property
    def unconstrained(self) -> torch.nn.Parameter:
        """The parameter (R, C, d) that the optimiser moves."""
        return self.parametrizations.weight.original


def orthogonal_basis(columns: Tensor) -> Tensor:
    """Orthonormalise the columns of (..., d, d) in order, with R's diagonal positive."""
    q, r = torch.linalg.qr(columns)
    return q * torch.diagonal(r, dim1=-2, dim2=-1).sign().unsqueeze(-2)
