"""A space in its leading principal components: the fast recipe and k-means search there."""

from __future__ import annotations

import torch
from torch import Tensor

from hume_turtle.core.sampling import generator

SAMPLE = 10_000  # rows that a projection is learnt from
SEED = 0  # one projection for all runs, so that they share their products


class Projection:
    """A space's leading principal components, rotated at random: `x = (z − mean) basis`.

    One factor brings the coordinates to a root mean square of 1: TURTLE's step sizes act on single
    coordinates, and so mean the same whatever a space's scale and width.

    Attributes:
        mean: (d,).
        basis: (d, d'), orthogonal columns of one length.
    """

    def __init__(self, rows: Tensor, dim: int):
        """Learn from a sample of rows (n, d)."""
        n, d = rows.shape
        dim = min(dim, d, n)
        self.mean = rows.mean(0)
        stream = generator(SEED, rows.device)
        basis = torch.eye(d, device=rows.device, dtype=rows.dtype)
        if dim < d:
            with torch.random.fork_rng(devices=[rows.device] if rows.is_cuda else []):
                torch.manual_seed(SEED)
                _, _, basis = torch.pca_lowrank(rows - self.mean, q=dim, center=False)
        shape = basis.shape[1], basis.shape[1]
        normal = torch.randn(shape, generator=stream, device=rows.device, dtype=rows.dtype)
        basis = basis @ torch.linalg.qr(normal).Q
        turned = (rows - self.mean) @ basis
        scale = torch.linalg.vector_norm(turned) / turned.numel() ** 0.5
        self.basis = basis / scale.clamp_min(1e-12)

    def __call__(self, space: Tensor, chunk: int = 1 << 12) -> Tensor:
        """All rows (n, d) in the projection, (n, d'), on its device."""
        offset = self.mean @ self.basis
        parts = [part.to(self.basis) @ self.basis - offset for part in space.split(chunk)]
        return torch.cat(parts)

    def restore(self, points: Tensor) -> Tensor:
        """The rows (..., d) among all that are projected on points (..., d') nearest the mean."""
        return points @ self.basis.T / self.basis[:, 0].square().sum() + self.mean

    def lift(self, heads: Tensor) -> Tensor:
        """Heads on projected rows (..., C, d' + 1) as heads on rows (..., C, d + 1)."""
        weight = heads[..., :-1] @ self.basis.T
        bias = heads[..., -1] - weight @ self.mean
        return torch.cat([weight, bias.unsqueeze(-1)], dim=-1)


def draw_rows(n: int, size: int) -> Tensor:
    """At most `size` distinct rows, in order."""
    order = torch.randperm(n, generator=generator(SEED, torch.device("cpu")))
    return order[:size].sort().values
