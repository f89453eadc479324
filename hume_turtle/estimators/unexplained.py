"""The part of a labeling that linear classifiers do not explain: CE / H, without any true label.

H is the entropy of the classes' shares, and so the cross-entropy of guessing by them alone. The
ratio can be compared between numbers of classes and between sizes of classes, which neither the
objective nor the generalization score can: both favour few classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from hume_turtle.core.inner_heads import Adam, train_heads
from hume_turtle.core.objectives import cross_entropy, entropy
from hume_turtle.core.products import linear_logits
from hume_turtle.core.sampling import generator
from hume_turtle.core.task_encoders import ABSENT

STEPS, LR = 200, 0.01  # Adam steps of the heads that judge a labeling, and their learning rate
NUMBERS = 1 << 26  # of one-hot labels that are held at once: 256 MB
ROWS = 4000  # that judge a labeling at most, half of them to learn from
AT_END = 20  # iterations at the end of a fit whose mean is taken
SPLIT_SEED = 0  # all labelings of the same rows are judged on the same halves


def unexplained_share(history: dict) -> Tensor:
    """`Σ_k CE / Σ_k H` at the end of a fit, () or (R,), from its history of (T,) or (T, R)."""
    error, balance = history["cross_entropy"], history["entropy"]
    return error[-AT_END:].mean(0) / balance[-AT_END:].mean(0)


def learn(hard: Tensor, spaces: list[Tensor], present: Tensor) -> list[Tensor]:
    """Linear heads that are trained on hard labelings from zero, alike for all, as K tensors.

    Args:
        hard: one-hot labelings (R, C, n).
        spaces: K tensors with the constant column, (n, d_k + 1).
        present: (R, C) bool, the classes that a run has; the others get probability 0.

    Returns:
        K tensors (R, C, d_k + 1).
    """
    lr = torch.full((len(hard),), LR, device=hard.device)
    adams = []
    for space in spaces:
        start = torch.zeros(*present.shape, space.shape[1], device=hard.device)
        start[..., -1] = torch.where(present, 0.0, ABSENT)
        adams.append(Adam([start], lr))
    train_heads(adams, spaces, hard, STEPS)
    return [adam.parameters[0] for adam in adams]


@torch.no_grad()
def held_out_share(spaces: list[Tensor], labels: Tensor, classes: list[int]) -> Tensor:
    """`Σ_k CE_k / (K H)` (R,) of labelings on rows that the heads have not learnt from.

    Each half of the rows is judged by heads that learnt the labels of the other half. 0: linear
    classifiers of other rows know every label for certain; 1: they know no more than the shares
    of the classes. A labeling of one class scores infinity.

    Args:
        spaces: K tensors (n, d_k) of order one, of at most some thousands of rows.
        labels: (R, n) int64.
        classes: the number of classes of each of the R labelings.
    """
    n, width = labels.shape[1], max(classes)
    step = max(1, NUMBERS // (n * width))
    if len(classes) > step:
        parts = [slice(i, i + step) for i in range(0, len(classes), step)]
        return torch.cat([held_out_share(spaces, labels[i], classes[i]) for i in parts])
    hard = one_hot(labels, width).mT.to(spaces[0].dtype)  # (R, C, n)
    numbers = torch.tensor(classes, device=labels.device)
    present = torch.arange(width, device=labels.device) < numbers[:, None]  # (R, C)
    order = torch.randperm(n, generator=generator(SPLIT_SEED, torch.device("cpu")))
    halves = [part.to(labels.device) for part in (order[: n // 2], order[n // 2 :])]
    spaces = [torch.cat([space, space.new_ones(n, 1)], dim=1) for space in spaces]
    total = 0
    for learnt, judged in (halves, halves[::-1]):
        heads = learn(hard[..., learnt].contiguous(), [z[learnt] for z in spaces], present)
        for head, space in zip(heads, spaces):
            total = total + cross_entropy(linear_logits(head, space[judged]), hard[..., judged])
    return total / (2 * len(spaces) * entropy(hard.mean(-1)))
