"""TURTLE's fast recipe: the same objective, reached in about a fiftieth of the published time.

- Every space is projected on its leading principal components, in a random rotation and at one
  scale: Adam treats the axes one by one, and those of a PCA differ by orders of magnitude.
- Restarts begin half at random labelings, as published, and half at k-means clusterings of all
  spaces joined and of each: in some spaces the ones end lower, in some the others. They take large
  outer steps that a cosine brings down to zero. All are solved together; after a while the best
  two continue, and in the end the better one is kept.
- The best are those of the lowest objective of the hard labels, with heads trained on them anew,
  from zero and alike for all (`hard_objective`). The loss along a run also depends on how sharp
  its labels are and how far its heads have come. In nine spaces and pairs of the balanced digits
  the hard objective of restarts correlates with their cluster accuracy at −0.7 to −0.99, the loss
  at +0.5 to −0.9. No true label takes part.
- The heads found are mapped back, so that a fit predicts from the spaces as they are.

There is no rule that stops a run whose labels no longer change: with steps on a fixed cosine they
come to rest at its end, whatever they rest on.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from math import cos, pi
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from hume_turtle.core.batching import Batches, as_tensor
from hume_turtle.core.objectives import turtle_objective
from hume_turtle.core.precision import pick_precision
from hume_turtle.core.products import linear_logits
from hume_turtle.core.sampling import derived_seed, draw_batches, generator
from hume_turtle.core.task_encoders import ABSENT, SoftmaxEncoder, draw_heads, softmax_labelings
from hume_turtle.core.turtle_solver import minimise_turtle
from hume_turtle.estimators.base import per_run
from hume_turtle.estimators.kmeans import KMeansBaseline
from hume_turtle.estimators.projection import SAMPLE, Projection, draw_rows
from hume_turtle.estimators.unexplained import learn
from hume_turtle.progress import progress

RESTARTS = 16
FINALISTS = 2  # restarts that continue after SCREENING outer steps
SCREENING = 120  # the hard objective then tells which will end well; after 60 steps it does not yet
OUTER_STEPS = 300
INNER_STEPS = 3
OUTER_LR = 0.03
INNER_LR = 0.005
DIM = 64, 1  # dimensions kept of a space: so many, or so many for each class
SHARPNESS = 3.0  # of a labeling by k-means: with 1 it starts too soft, with 10 it cannot move
BATCH = 2000, 20  # rows in a batch: so many, or so many for each class


class Run(NamedTuple):
    """What a fit by the fast recipe is told; the names are those of `Turtle`."""

    n_classes: int
    gamma: float
    seed: int = 0
    batch_size: int = 10_000
    class_prior: Sequence[float] | None = None
    precision: str = "fp32"


def fast_size(model) -> tuple[int, int]:
    """Dimensions kept of a space and rows in a batch, for a `Turtle` or `Run` of so many classes.

    Only runs that agree in both can be solved together.
    """
    dim, rows = (max(least, each * model.n_classes) for least, each in (DIM, BATCH))
    return dim, min(model.batch_size, rows)


def solve_fast(
    spaces: list,
    models: list,
    device: torch.device,
    restarts: int = RESTARTS,
    finalists: int = FINALISTS,
    kept: int = 1,
    quiet: bool = False,
):
    """Fit estimators that differ in γ, number of classes and, where a batch is all rows, in seed.

    Args:
        spaces: K checked arrays (n, d_k).
        models: R of `Turtle` or `Run`; all with the same `class_prior`.
        restarts, finalists: of each estimator, and how many continue after `SCREENING`.
        kept: finalists that each estimator keeps in the end, the best first.
        quiet: show no progress.

    Returns:
        K tensors (R kept, C, d_k + 1), and the kept runs' history, a dict of (T, R kept).
    """
    spaces = [as_tensor(space) for space in spaces]
    dim, batch = fast_size(models[0])
    sample = draw_rows(len(spaces[0]), max(SAMPLE, batch))
    samples = [space[sample].to(device, torch.float32) for space in spaces]
    projections = [Projection(rows, dim) for rows in samples]
    projected = [project(space) for project, space in zip(projections, spaces)]
    samples = [project(rows) for project, rows in zip(projections, samples)]
    prior = models[0].class_prior
    log_prior = None if prior is None else log_shares(prior, device)
    heads = restart_heads(samples, models, restarts)
    batches = Batches(projected, batch, device, pick_precision(models[0].precision, device))
    stream = generator(derived_seed(models[0].seed, 1), device)
    rows = draw_batches(batches.n, batch, 1 + OUTER_STEPS, stream)
    jury = next(rows)  # the rows that restarts are compared on
    rows = rows if quiet else iter(progress(rows, OUTER_STEPS, "TURTLE"))
    decay = [(1 + cos(pi * t / OUTER_STEPS)) / 2 for t in range(OUTER_STEPS)]
    inner, histories = heads, []
    rounds = (range(SCREENING), finalists), (range(SCREENING, OUTER_STEPS), kept)
    for steps, survivors in rounds:
        encoder = SoftmaxEncoder.from_heads(heads)
        each = len(heads[0]) // len(models)  # restarts of a run
        ones = torch.ones(len(heads[0]), device=device, dtype=torch.float32)
        gamma = per_run(models, "gamma", device).repeat_interleave(each)
        inner, history = minimise_turtle(
            batches,
            islice(rows, len(steps)),
            encoder,
            iter([inner]),
            gamma=gamma,
            inner_steps=INNER_STEPS,
            inner_lr=INNER_LR * ones,
            outer_lr=OUTER_LR * decay[steps[0]] * ones,
            warm_start=True,
            decay=[decay[t] for t in steps],
            log_prior=log_prior,
        )
        heads = [head.detach() for head in encoder.heads()]
        histories.append(history)
        if each > 1:  # else there is nothing to choose
            loss = hard_objective(heads, batches.load(jury), gamma, log_prior)
            best = lowest(loss.view(-1, each), survivors)
            heads, inner = ([head[best] for head in part] for part in (heads, inner))
            histories = [{k: v[:, best] for k, v in part.items()} for part in histories]
    history = {name: torch.cat([part[name] for part in histories]) for name in histories[0]}
    return [p.lift(head) for p, head in zip(projections, heads)], history


@torch.no_grad()
def hard_objective(
    heads: list[Tensor], spaces: list[Tensor], gamma: Tensor, log_prior: Tensor | None = None
) -> Tensor:
    """TURTLE's objective (R,) of the hard labels that R runs' task encoders give the same rows.

    The inner heads are trained on the labels from zero, so that runs compare by nothing else.

    Args:
        heads: of the task encoders, K tensors (R, C, d_k + 1).
        spaces: K tensors with the constant column, (n, d_k + 1).
        gamma: (R,).
        log_prior: (C,), log of known shares of the classes.
    """
    tau = torch.stack(softmax_labelings(heads, spaces)).mean(0)  # (R, C, n)
    hard = torch.zeros_like(tau).scatter_(1, tau.argmax(1, keepdim=True), 1.0)
    judges = learn(hard, spaces, heads[0][..., -1] != ABSENT)
    logits = [linear_logits(head, space) for head, space in zip(judges, spaces)]
    return turtle_objective([hard] * len(spaces), logits, gamma, log_prior)[0]


def lowest(loss: Tensor, kept: int) -> Tensor:
    """Of R runs' restarts (R, restarts) the `kept` with the lowest loss, as indices (R · kept,)."""
    order = loss.nan_to_num(torch.inf).argsort(dim=1, stable=True)[:, :kept]
    return (order + loss.shape[1] * torch.arange(len(loss), device=loss.device)[:, None]).flatten()


def log_shares(prior: Sequence[float], device: torch.device) -> Tensor:
    """log π of known shares (C,), which need not sum to one."""
    shares = torch.tensor([float(share) for share in prior], device=device)
    return (shares / shares.sum()).log()


def restart_heads(rows: list[Tensor], models: list, restarts: int) -> list[Tensor]:
    """Where all restarts of all estimators begin: heads (R · restarts, C, d' + 1) of each space."""
    width, prior = max(model.n_classes for model in models), models[0].class_prior
    seeds = [
        (model.n_classes, model.seed * restarts + restart)
        for model in models
        for restart in range(restarts)
    ]
    starts = {  # runs that differ in γ alone begin alike
        (number, seed): start_heads(rows, number, width, seed, prior)
        for number, seed in dict.fromkeys(seeds)
    }
    return [torch.stack(parts) for parts in zip(*(starts[seed] for seed in seeds))]


def start_heads(
    rows: list[Tensor],
    n_classes: int,
    width: int,
    seed: int,
    prior: Sequence[float] | None = None,
) -> list[Tensor]:
    """Where restart `seed` begins: heads (width, d' + 1) of each space.

    An odd restart begins at the published random heads, the even ones take turns at k-means in
    all spaces joined and in each. Classes past `n_classes` are absent. Where the shares of the
    classes are known, the largest cluster is the largest class, and so on.
    """
    if seed % 2:
        stream = [generator(seed, rows[0].device)]
        return [h[0] for h in draw_heads([x.shape[1] for x in rows], [n_classes], stream, width)]
    views = [rows, *([x] for x in rows)] if len(rows) > 1 else [rows]
    view = [x.cpu().numpy() for x in views[seed // 2 % len(views)]]
    labels = KMeansBaseline(n_classes, seed=seed, n_init=1).fit(view).labels_
    if prior is not None:
        by_size = np.argsort(np.bincount(labels, minlength=n_classes), kind="stable")
        labels = np.argsort(prior, kind="stable")[np.argsort(by_size)[labels]]
    return nearest_centre(rows, labels, n_classes, width)


def nearest_centre(rows: list[Tensor], labels, n_classes: int, width: int) -> list[Tensor]:
    """Heads (width, d' + 1) of each space that label rows (n, d') by the nearest cluster's centre.

    The logits are `−SHARPNESS ||x − centre||² / (2 v)`, up to what all classes share, where v is
    the mean squared distance to the own centre.
    """
    member = one_hot(torch.from_numpy(labels), width).to(rows[0])  # (n, width)
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
