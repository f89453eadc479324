"""TURTLE's fast recipe: the same objective, reached in a hundredth of the published time.

- Every space is projected on its leading principal components, in a random rotation: Adam treats
  the axes one by one, and those of a PCA differ in scale by orders of magnitude.
- A few restarts begin at k-means clusterings of the projected rows, each with its own seed,
  instead of at random labelings, and take large outer steps that a cosine brings down to zero. All
  are solved together; after a while only those of the lowest objective continue, and in the end
  the lowest of these is kept. No true label takes part.
- The heads found are mapped back, so that a fit predicts from the spaces as they are.

There is no rule that stops a run whose labels no longer change: with steps on a fixed cosine they
come to rest at its end, whatever they rest on.
"""

from __future__ import annotations

from itertools import islice
from math import cos, pi

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from hume_turtle.core.batching import Batches, as_tensor
from hume_turtle.core.precision import pick_precision
from hume_turtle.core.sampling import derived_seed, draw_batches, generator
from hume_turtle.core.task_encoders import ABSENT, SoftmaxEncoder
from hume_turtle.core.turtle_solver import minimise_turtle
from hume_turtle.estimators.base import per_run
from hume_turtle.estimators.kmeans import KMeansBaseline
from hume_turtle.progress import progress

RESTARTS = 8
FINALISTS = 2  # restarts that continue after SCREENING outer steps
SCREENING = 40
OUTER_STEPS = 300
INNER_STEPS = 3
OUTER_LR = 0.015
INNER_LR = 0.002
DIM = 64  # dimensions kept of a space
SHARPNESS = 3.0  # of the first labeling: with 1 it starts too soft, with 10 it cannot move
SAMPLE = 10_000  # rows that the projections and k-means are computed on
BATCH = 2000, 20  # rows in a batch: so many, or so many for each class
PROJECTION_SEED = 0  # one projection for all runs, so that they share their products
TAIL = 20  # last iterations whose mean objective compares restarts


class Projection:
    """A space's leading principal components, rotated at random: `x = (z − mean) basis`.

    TURTLE's step sizes act on single coordinates, and a step moves the logits by the sum over
    them. Scaling by √(d / d') keeps that sum what it was with all d of them.

    Attributes:
        mean: (d,).
        basis: (d, d'), orthogonal columns of length √(d / d').
    """

    def __init__(self, rows: Tensor, dim: int):
        """Learn from a sample of rows (n, d)."""
        n, d = rows.shape
        dim = min(dim, d, n)
        self.mean = rows.mean(0)
        stream = generator(PROJECTION_SEED, rows.device)
        basis = torch.eye(d, device=rows.device, dtype=rows.dtype)
        if dim < d:
            with torch.random.fork_rng(devices=[rows.device] if rows.is_cuda else []):
                torch.manual_seed(PROJECTION_SEED)
                _, _, basis = torch.pca_lowrank(rows - self.mean, q=dim, center=False)
        shape = basis.shape[1], basis.shape[1]
        normal = torch.randn(shape, generator=stream, device=rows.device, dtype=rows.dtype)
        self.basis = basis @ torch.linalg.qr(normal).Q * (d / dim) ** 0.5

    def __call__(self, space: Tensor, chunk: int = 1 << 12) -> Tensor:
        """All rows (n, d) in the projection, (n, d'), on its device."""
        offset = self.mean @ self.basis
        parts = [part.to(self.basis) @ self.basis - offset for part in space.split(chunk)]
        return torch.cat(parts)

    def lift(self, heads: Tensor) -> Tensor:
        """Heads on projected rows (..., C, d' + 1) as heads on rows (..., C, d + 1)."""
        weight = heads[..., :-1] @ self.basis.T
        bias = heads[..., -1] - weight @ self.mean
        return torch.cat([weight, bias.unsqueeze(-1)], dim=-1)


def batch_rows(models: list) -> int:
    """Rows in a batch of runs that are solved together."""
    width = max(model.n_classes for model in models)
    return min(models[0].batch_size, max(BATCH[0], BATCH[1] * width))


def solve_fast(spaces: list, models: list, device: torch.device):
    """Fit estimators that differ in γ, number of classes and, where a batch is all rows, in seed.

    Args:
        spaces: K checked arrays (n, d_k).
        models: R estimators.

    Returns:
        K tensors (R, C, d_k + 1), and the kept runs' history, a dict of (T, R).
    """
    spaces = [as_tensor(space) for space in spaces]
    width = max(model.n_classes for model in models)
    size = batch_rows(models)
    sample = draw_rows(len(spaces[0]), max(SAMPLE, size))
    samples = [space[sample].to(device, torch.float32) for space in spaces]
    projections = [Projection(rows, DIM) for rows in samples]
    projected = [project(space) for project, space in zip(projections, spaces)]
    samples = [project(rows) for project, rows in zip(projections, samples)]
    starts = [
        start_heads(samples, model.n_classes, width, model.seed * RESTARTS + restart)
        for model in models
        for restart in range(RESTARTS)
    ]
    heads = [torch.stack(parts) for parts in zip(*starts)]  # K of (R · RESTARTS, C, d' + 1)
    batches = Batches(projected, size, device, pick_precision(models[0].precision, device))
    stream = generator(derived_seed(models[0].seed, 1), device)
    rows = draw_batches(batches.n, size, OUTER_STEPS, stream)
    rows = iter(progress(rows, OUTER_STEPS, "TURTLE"))
    decay = [(1 + cos(pi * t / OUTER_STEPS)) / 2 for t in range(OUTER_STEPS)]
    inner, histories = heads, []
    for steps, kept in ((range(SCREENING), FINALISTS), (range(SCREENING, OUTER_STEPS), 1)):
        encoder = SoftmaxEncoder.from_heads(heads)
        each = len(heads[0]) // len(models)  # restarts of a run
        ones = torch.ones(len(heads[0]), device=device, dtype=torch.float32)
        inner, history = minimise_turtle(
            batches,
            islice(rows, len(steps)),
            encoder,
            iter([inner]),
            gamma=per_run(models, "gamma", device).repeat_interleave(each),
            inner_steps=INNER_STEPS,
            inner_lr=INNER_LR * ones,
            outer_lr=OUTER_LR * decay[steps[0]] * ones,
            warm_start=True,
            decay=[decay[t] for t in steps],
        )
        best = lowest(history["loss"][-TAIL:].mean(0).view(-1, each), kept)
        heads = [head.detach()[best] for head in encoder.heads()]
        inner = [head[best] for head in inner]
        histories = [{k: v[:, best] for k, v in part.items()} for part in (*histories, history)]
    history = {name: torch.cat([part[name] for part in histories]) for name in histories[0]}
    return [p.lift(head) for p, head in zip(projections, heads)], history


def lowest(loss: Tensor, kept: int) -> Tensor:
    """Of R runs' restarts (R, restarts) the `kept` with the lowest loss, as indices (R · kept,)."""
    order = loss.nan_to_num(torch.inf).argsort(dim=1, stable=True)[:, :kept]
    return (order + loss.shape[1] * torch.arange(len(loss), device=loss.device)[:, None]).flatten()


def draw_rows(n: int, size: int) -> Tensor:
    """At most `size` distinct rows, in order."""
    order = torch.randperm(n, generator=generator(PROJECTION_SEED, torch.device("cpu")))
    return order[:size].sort().values


def start_heads(rows: list[Tensor], n_classes: int, width: int, seed: int) -> list[Tensor]:
    """Heads (width, d' + 1) of each space that label rows by the nearest of k-means' clusters.

    The logits are `−SHARPNESS ||x − centre||² / (2 v)`, up to what all classes share, where v is
    the mean squared distance to the own centre. Classes past `n_classes` are absent.
    """
    clusters = KMeansBaseline(n_classes, seed=seed, n_init=1).fit([x.cpu().numpy() for x in rows])
    member = one_hot(torch.from_numpy(clusters.labels_), width).to(rows[0])  # (n, width)
    count = member.sum(0)
    heads = []
    for x in rows:
        centres = member.T @ x / count.clamp_min(1).unsqueeze(1)  # (width, d')
        spread = (x - member @ centres).square().sum(1).mean()
        weight = SHARPNESS / spread.clamp_min(1e-12) * centres
        bias = -(weight * centres).sum(1) / 2
        bias[n_classes:] = ABSENT
        heads.append(torch.cat([weight, bias.unsqueeze(1)], dim=1))
    return heads
