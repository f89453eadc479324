"""What TURTLE and HUME minimise, as pure functions of tensors: one equation a line.

Logits and labelings are class-major, (..., C, n): a column for each of n rows of data. Leading axes
are whatever the caller solves side by side, such as runs. `reference.py` shows both methods whole;
the solvers minimise the same objectives by explicit gradients, and tests hold them to these.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cross_entropy(logits: Tensor, labeling: Tensor) -> Tensor:
    """`CE(l, τ) = −mean_i Σ_c τ_ic log_softmax(l_i)_c`: two tensors (..., C, n) to (...)."""
    return -(labeling * logits.log_softmax(dim=-2)).sum(-2).mean(-1)


def entropy(shares: Tensor) -> Tensor:
    """`H(p) = −Σ_c p_c log p_c` of class shares, (..., C) to (...), in nats.

    The gradient of H is infinite at an empty class; the clamp keeps it finite.
    """
    return torch.special.entr(shares.clamp_min(torch.finfo(shares.dtype).tiny)).sum(-1)


def turtle_objective(
    labelings: list[Tensor],
    inner_logits: list[Tensor],
    gamma: Tensor | float,
    log_prior: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """TURTLE's outer loss, ICML 2024: `Σ_k CE(inner logits, τ) − γ Σ_k H(mean_i τ^k_i)`.

    Where the classes' sizes are known, `−KL(mean_i τ^k_i || π)` takes the place of the entropy,
    which it equals, up to the constant log C, where π is uniform (ours, not the paper's).

    Args:
        labelings: the labeling τ^k of each of K spaces, (..., C, n); `τ = mean_k τ^k`.
        inner_logits: the logits of the K inner heads, held fixed (first-order hypergradient).
        gamma: weight γ of the entropy, a number or (...).
        log_prior: log π, known shares of the classes, (C,) or (..., C).

    Returns:
        The loss, `Σ_k CE` and `Σ_k H`, each (...).
    """
    labeling = torch.stack(labelings).mean(0)  # τ, (..., C, n)
    error = sum(cross_entropy(logits, labeling) for logits in inner_logits)  # Σ_k CE
    balance = sum(entropy(tau.mean(-1)) for tau in labelings)  # Σ_k H(mean_i τ^k_i)
    loss = error - gamma * balance
    if log_prior is not None:  # −KL(p || π) = H(p) + Σ_c p_c log π_c
        loss = loss - gamma * sum((tau.mean(-1) * log_prior).sum(-1) for tau in labelings)
    return loss, error, balance


def hume_objective(
    test_logits: Tensor, test_labeling: Tensor, shares: Tensor, gamma: Tensor | float
) -> tuple[Tensor, Tensor, Tensor]:
    """HUME's outer loss, NeurIPS 2023: `CE(head_T(Z_2,te), τ_te) − γ H(mean τ)`.

    Args:
        test_logits: of the head after all inner steps on the rows that test it, (..., C, n_te).
            They depend on τ of the training rows through every step (second-order hypergradient).
        test_labeling: τ of the rows that test the head, (..., C, n_te).
        shares: mean τ over training and test rows, (..., C).
        gamma: weight of the entropy, called η in the paper; a number or (...).

    Returns:
        The loss, the test cross-entropy and the entropy, each (...).
    """
    test_loss = cross_entropy(test_logits, test_labeling)
    balance = entropy(shares)  # H(mean τ)
    return test_loss - gamma * balance, test_loss, balance
