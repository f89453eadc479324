"""HUME's objective (Gadetsky & Brbić, NeurIPS 2023), its gradient and its minimisation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import product

import torch
from torch import Tensor

from hume_turtle.core.inner_heads import Adam
from hume_turtle.core.objectives import entropy
from hume_turtle.core.products import linear_logits
from hume_turtle.core.task_encoders import OrthonormalEncoder, sparsemax
from hume_turtle.core.unrolled import HeadSpace, Split, UnrolledDescent, split_at

TERMS = "loss", "train_loss", "test_loss", "entropy"  # as the history keeps them
ANNEAL_AT = (100, 200)  # after these outer iterations outer_lr × 0.1 and temperature ÷ 10


def hume_loss(
    rows: Tensor,
    space1: Tensor,
    space2: HeadSpace,
    heads: Tensor,
    train: Split,
    test: Split,
    *,
    temperature: float,
    gamma: Tensor,
    descent: UnrolledDescent,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """HUME's loss of R runs on S subsets each, all of the same k rows of data.

    The labeling is `τ = sparsemax(Z_1 Wᵀ / temperature)`. A linear head is trained by gradient
    descent on `CE(head(Z_2), τ)` over a subset's training rows; the loss is `CE(head(Z_2), τ)` on
    its test rows minus `gamma · H(mean τ over both)`. Its gradient by W flows through τ
    on both parts, and so through every inner step.

    Args:
        rows: the task encoders' rows W, (R, C, d_1).
        space1: Z_1, (k, d_1), rows of unit length.
        space2: Z_2 of the same rows, with the constant column.
        heads: the inner heads' starts, (R, S, C, d_2 + 1).
        train, test: the rows that train and test the head of each of the R · S problems.
        gamma: (R,).

    Returns:
        The loss, the last inner training loss, the test loss and the entropy, each (R, S).
    """
    runs, subsets = heads.shape[:2]
    labeling = sparsemax(linear_logits(rows, space1) / temperature, dim=1)  # (R, C, k)
    train_loss, test_loss = descent.generalization_loss(
        labeling.movedim(1, 0).repeat_interleave(subsets, dim=1),  # (C, R S, k)
        space2,
        heads.flatten(0, 1).movedim(1, 0),
        train,
        test,
    )
    balance = entropy(subset_means(labeling, train, test))  # H(mean τ), (R, S) or (R, 1)
    test_loss = test_loss.view(runs, subsets)
    loss = test_loss - gamma[:, None] * balance
    return loss, train_loss.view(runs, subsets), test_loss, balance.expand(runs, subsets)


def subset_means(labeling: Tensor, train: Split, test: Split) -> Tensor:
    """Mean of τ (R, C, k) over the rows of each subset, (R, S, C), or (R, 1, C) of all k rows."""
    if isinstance(train.rows, slice):
        return labeling.mean(-1).unsqueeze(1)
    member = (train.rows | test.rows).to(labeling.dtype).unflatten(0, (len(labeling), -1))
    return torch.bmm(member, labeling.mT) / (train.count + test.count)


def minimise_hume(
    space1: Tensor,
    space2: HeadSpace,
    encoder: OrthonormalEncoder,
    subsets: Iterable[Tensor],
    heads: Iterator[Tensor],
    descent: UnrolledDescent,
    *,
    train_fraction: float,
    temperature: float,
    gamma: Tensor,
    outer_lr: Tensor,
    anneal_at: tuple[int, ...] = (),
    watch: Callable[[Tensor, Tensor, Tensor, float], None] | None = None,
) -> dict[str, Tensor]:
    """Minimise HUME's objective for R runs at once; the encoder is updated in place.

    Args:
        space1: Z_1, (n, d_1), rows of unit length.
        space2: Z_2 with the constant column.
        encoder: the task encoders of R runs at their start.
        subsets: for each outer iteration the rows of every run's subsets, (R, S, m).
        heads: for each outer iteration the starts of the inner heads, (R, S, C, d_2 + 1).
        descent: trains the inner heads.
        gamma, outer_lr: (R,).
        anneal_at: after these outer iterations outer_lr × 0.1 and temperature ÷ 10.
        watch: called after each outer step with the gradient (R, C, d_1) of the encoder's
            unconstrained parameter before clipping, averaged over subsets; the terms (4, R, S);
            the encoder's rows (R, C, d_1) before the step; and the temperature.

    Returns:
        History: `loss`, `train_loss`, `test_loss` and `entropy`, each (T, R, S).
    """
    adam = Adam([encoder.unconstrained], outer_lr)
    record = []
    for t, (subset, head) in enumerate(zip(subsets, heads)):
        if t in anneal_at:
            temperature /= 10
            adam.scale_lr(0.1)
        gradient, terms = hume_gradient(
            encoder,
            space1,
            space2,
            subset,
            head,
            n_train=int(subset.shape[-1] * train_fraction),
            temperature=temperature,
            gamma=gamma,
            descent=descent,
        )
        norm = gradient.flatten(1).norm(dim=1).view(-1, 1, 1)  # of each run
        before = None if watch is None else encoder.weight.detach()
        adam.step([gradient * (1 / (norm + 1e-6)).clamp_max(1)])
        record.append(terms)
        if watch is not None:
            watch(gradient, terms, before, temperature)
    history = torch.stack(record, dim=1)  # (4, T, R, S)
    return dict(zip(TERMS, history))


def hume_gradient(
    encoder: OrthonormalEncoder,
    space1: Tensor,
    space2: HeadSpace,
    subset: Tensor,
    heads: Tensor,
    *,
    n_train: int,
    gamma: Tensor,
    **settings,
) -> tuple[Tensor, Tensor]:
    """Gradient of the unconstrained parameter (R, C, d_1), averaged over the S subsets.

    Subsets that are much of the data are solved together on all rows, with masks; others one by
    one on their own rows. Also returns the terms of the objective, (4, R, S).
    """
    rows = encoder.weight  # (R, C, d_1)
    leaf = rows.detach().requires_grad_()
    runs, subsets, size = subset.shape
    if worth_sharing(len(space1), subset):
        train, test = masks(subset, n_train, len(space1))
        terms = hume_loss(leaf, space1, space2, heads, train, test, gamma=gamma, **settings)
        terms[0].mean(1).sum().backward()
        terms = torch.stack(terms).detach()
    else:
        train, test = split_at(n_train, size)
        terms = leaf.new_empty(4, runs, subsets)
        for r, s in product(range(runs), range(subsets)):
            index, run = subset[r, s], slice(r, r + 1)
            one = hume_loss(
                leaf[run],
                space1[index],
                space2.take(index),
                heads[run, s : s + 1],
                train,
                test,
                gamma=gamma[run],
                **settings,
            )
            one[0].sum().div(subsets).backward()
            terms[:, r, s] = torch.stack(one).detach().flatten()
    (gradient,) = torch.autograd.grad(rows, encoder.unconstrained, leaf.grad)
    return gradient, terms


def worth_sharing(n: int, subset: Tensor) -> bool:
    """Whether products with all n rows cost less than products with each subset's own.

    On the CPU a product of few heads reaches half the speed of one of many, and all heads of many
    subsets make one of many; an accelerator is bound by how often it reads the rows.
    """
    runs, subsets, size = subset.shape
    most = 2 if subset.device.type == "cpu" else runs * subsets
    return runs * subsets > 1 and n <= size * most


def masks(subset: Tensor, n_train: int, n: int) -> tuple[Split, Split]:
    """The subsets' rows (R, S, m), of which n_train train, as masks of all n rows."""
    subset = subset.flatten(0, 1)
    mask = torch.zeros(len(subset), n, dtype=torch.bool, device=subset.device)
    train = mask.scatter(1, subset[:, :n_train], True)
    test = mask.scatter(1, subset[:, n_train:], True)
    return Split(train, n_train), Split(test, subset.shape[1] - n_train)
