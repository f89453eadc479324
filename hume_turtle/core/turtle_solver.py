"""TURTLE's minimisation: explicit gradients, all runs in one batched product.

`objectives.turtle_objective` says what is minimised; a test holds the gradient here to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from hume_turtle.core.batching import Batches
from hume_turtle.core.cuda_graphs import Graphed
from hume_turtle.core.inner_heads import Adam, train_heads
from hume_turtle.core.objectives import entropy
from hume_turtle.core.products import head_gradient, linear_logits
from hume_turtle.core.task_encoders import SoftmaxEncoder

TERMS = "loss", "cross_entropy", "entropy"  # of the objective, as the history keeps them


def turtle_gradient(
    labelings: list[Tensor],
    inner_logits: Iterable[Tensor],
    gamma: Tensor,
    log_prior: Tensor | None = None,
) -> tuple[list[Tensor], tuple[Tensor, Tensor, Tensor]]:
    """Gradient of `turtle_objective` by the task encoder's logits, and the objective's terms.

    By the labeling of space k it is
    `G^k_ic = −1/(K n) Σ_j log_softmax(inner logits j)_ic + γ/n (log mean_i τ^k_ic + 1)`, less
    `γ/n log π_c` where the classes' shares π are known, and by the logits behind it
    `τ^k ∘ (G^k − Σ_c τ^k ∘ G^k)`. Twice as fast as autograd; a test holds the two together.

    Args:
        labelings: τ^k, K tensors (R, C, n).
        inner_logits: K tensors likewise, of which one at a time is held.
        gamma: (R,).
        log_prior: log π, (C,), or None.

    Returns:
        K tensors likewise; and loss, cross-entropy and entropy, each (R,).
    """
    spaces, n = len(labelings), labelings[0].shape[-1]
    neg_log_probs = 0  # −Σ_j log_softmax(inner logits j)
    for logits in inner_logits:
        neg_log_probs = neg_log_probs - logits.log_softmax(dim=-2)
    error, balance, expected, gradients = 0, 0, 0, []
    for tau in labelings:
        shares = tau.mean(-1).clamp_min(torch.finfo(tau.dtype).tiny)  # (R, C)
        balance = balance + entropy(shares)
        error = error + torch.linalg.vecdot(tau, neg_log_probs, dim=-2).mean(-1) / spaces
        by_shares = shares.log() + 1  # (R, C)
        if log_prior is not None:
            expected = expected + (shares * log_prior).sum(-1)
            by_shares = by_shares - log_prior
        by_shares = gamma.view(-1, 1, 1) * by_shares.unsqueeze(-1)  # (R, C, 1)
        by_tau = torch.add(by_shares, neg_log_probs, alpha=1 / spaces).div_(n)
        centre = torch.linalg.vecdot(tau, by_tau, dim=-2).unsqueeze(-2)
        gradients.append(by_tau.sub_(centre).mul_(tau))
    return gradients, (error - gamma * (balance + expected), error, balance)


@torch.no_grad()
def minimise_turtle(
    batches: Batches,
    rows: Iterable[Tensor | None],
    encoder: SoftmaxEncoder,
    heads: Iterator[list[Tensor]],
    *,
    gamma: Tensor,
    inner_steps: int,
    inner_lr: Tensor,
    outer_lr: Tensor,
    warm_start: Tensor | bool,
    decay: Sequence[float] | None = None,
    log_prior: Tensor | None = None,
    watch: Callable[[Tensor, list[Tensor], list[Tensor]], None] | None = None,
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Minimise TURTLE's objective for R runs at once; the encoder is updated in place.

    Args:
        batches: the rows of K spaces.
        rows: for each of T outer iterations the rows (B,) to use, or None for all of them.
        encoder: the task encoders of R runs at their start.
        heads: yields starts of the inner heads, K tensors (R, C, d_k + 1): first for all runs, then
            for each outer iteration those of the runs with a cold start.
        gamma, inner_lr, outer_lr: (R,).
        warm_start: of all runs, or (R,): keep the inner heads, or start them anew in each outer
            iteration.
        decay: factors (T,) of the outer learning rate.
        log_prior: log of the classes' known shares, (C,), or None.
        watch: called in each outer iteration with the terms (3, R), the task encoders' heads before
            the step, and the inner heads trained on their labeling, both K tensors (R, C, d_k + 1).

    Returns:
        The final inner heads, and the history: `loss`, `cross_entropy` and `entropy`, each
        (T, R), before each outer step.
    """
    warm = torch.as_tensor(warm_start).expand(len(gamma)).tolist()
    cold = [run for run, is_warm in enumerate(warm) if not is_warm]
    outer = Adam(encoder.parameters(), outer_lr)
    inner = [Adam([head.clone()], inner_lr) for head in next(heads)]
    step = Graphed(
        lambda: _outer_step(batches, encoder, outer, inner, gamma, inner_steps, log_prior),
        gamma.device,
    )
    record = []
    for t, index in enumerate(rows):
        batches.load(index)
        if t > 0 and cold:
            for adam, head in zip(inner, next(heads)):
                adam.reset([head], cold if len(cold) < len(warm) else None)
        if t > 0 and decay is not None:
            outer.scale_lr(decay[t] / decay[t - 1])
        before = None if watch is None else encoder.heads()
        record.append(step())
        if watch is not None:
            watch(record[-1], before, [adam.parameters[0] for adam in inner])
    history = torch.stack(record, dim=1)  # (3, T, R)
    return [adam.parameters[0] for adam in inner], dict(zip(TERMS, history))


def _outer_step(batches, encoder, outer, inner, gamma, inner_steps, log_prior) -> Tensor:
    """Label a batch, train the inner heads on it, move the encoder; the terms before, (3, R)."""
    batch = batches.buffers
    labelings = encoder.labelings(batch)
    labeling = labelings[0] if len(labelings) == 1 else torch.stack(labelings).mean(0)
    train_heads(inner, batch, labeling, inner_steps)
    del labeling
    inner_logits = (linear_logits(adam.parameters[0], z) for adam, z in zip(inner, batch))
    gradients, terms = turtle_gradient(labelings, inner_logits, gamma, log_prior)
    by_heads = [head_gradient(g, z) for g, z in zip(gradients, batch)]
    outer.step(encoder.gradients(by_heads))
    return torch.stack(terms)
