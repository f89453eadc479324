"""Each approximation against the exact gradient where its bound permits it, refused elsewhere."""

import numpy as np
import pytest
import torch

from hume_turtle import Hume
from hume_turtle.core.task_encoders import with_constant
from hume_turtle.core.unrolled import HeadSpace, UnrolledDescent, split_at
from hume_turtle.estimators.hume_fast import (
    COARSENESS,
    DROPPED,
    Directions,
    coarse_steps,
    low_rank,
)

C, N, DIM, STEPS, LR = 4, 200, 12, 100, 0.02


@pytest.fixture(scope="module")
def space():
    """Classes in a space whose directions fade: standard deviations 1, 1/2, 1/4, ..."""
    rng = np.random.default_rng(0)
    scales = 0.5 ** np.arange(DIM)
    centres = 2 * rng.normal(size=(C, DIM))
    rows = (centres[np.arange(N) % C] + rng.normal(size=(N, DIM))) * scales
    rotation = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    return with_constant(torch.from_numpy(rows @ rotation))


def gradient(space: HeadSpace, steps: int, lr: float):
    """Of the test error by soft labels that the space half explains, rows summing to zero."""
    generator = torch.Generator().manual_seed(1)
    randn = {"generator": generator, "dtype": torch.float64}
    labeling = torch.randn(C, 1, N, **randn) + 2 * torch.eye(C)[:, None, torch.arange(N) % C]
    labeling = labeling.softmax(0).requires_grad_()
    start = 0.3 * torch.randn(C, 1, space.start_dim, **randn)
    parts = split_at(150, N)
    error = UnrolledDescent(steps, lr).generalization_loss(labeling, space, start, *parts)[1]
    (by_labeling,) = torch.autograd.grad(error.sum(), labeling)
    return by_labeling - by_labeling.mean(0)


def cosine(a, b, rows=slice(None)):
    return torch.nn.functional.cosine_similarity(
        a[..., rows].flatten(), b[..., rows].flatten(), dim=0
    )


TRAINING = slice(150)  # whose gradient flows through the inner loop only


def test_coarse_steps_give_the_exact_gradients_direction(space):
    exact = gradient(HeadSpace(space), STEPS, LR)
    steps, lr = coarse_steps(Directions(space), STEPS, LR)
    assert (steps, lr) == (STEPS // 10, 10 * LR)
    coarse = gradient(HeadSpace(space), steps, lr)
    assert cosine(exact, coarse) > 0.999
    assert cosine(exact, coarse, TRAINING) > 0.99
    untrained = gradient(HeadSpace(space), 1, lr)
    assert cosine(exact, untrained, TRAINING) < 0.99, "the steps matter"


def test_low_rank_gives_the_exact_gradients_direction(space):
    exact = gradient(HeadSpace(space), STEPS, LR)
    directions = Directions(space)
    rank = directions.smallest_rank(STEPS, LR)
    assert 1 < rank < 8
    low = low_rank(directions, space, rank, STEPS, LR)
    assert low.rows.shape == (N, rank + 1)
    assert cosine(exact, gradient(low, STEPS, LR), TRAINING) > 0.999
    cut = directions.project(space, 1)
    assert cosine(exact, gradient(cut, STEPS, LR), TRAINING) < 0.99, "the rank matters"
    whole = low_rank(directions, space, DIM, STEPS, LR)
    torch.testing.assert_close(gradient(whole, STEPS, LR), exact)


def test_curvatures_bound_the_hessian(space):
    """Along every principal direction, for heads that are unsure, where curvature is largest."""
    directions = Directions(space)
    rows = space[:, :-1]

    def error(head):
        return -(rows @ head.T).log_softmax(1)[:, 0].mean()

    for scale in (0.0, 0.5):
        head = scale * torch.randn(C, DIM, generator=torch.Generator().manual_seed(2)).double()
        hessian = torch.autograd.functional.hessian(error, head)  # (C, DIM, C, DIM)
        for bound, direction in zip(directions.curvatures, directions.vectors.T):
            along = torch.einsum("i,aibj,j->ab", direction, hessian, direction)
            largest = torch.linalg.eigvalsh(along)[-1]
            assert largest <= bound * (1 + 1e-9)
            assert scale > 0 or largest > 0.4 * bound, "1/4 of the 1/2 with 4 classes"


@pytest.mark.parametrize("steps", [100, 300, 1000])
def test_bound_of_the_coarse_error(steps):
    h = np.linspace(0, 1 / COARSENESS, 100_001)  # ηh
    gap = abs((1 - COARSENESS * h) ** (steps // COARSENESS) - (1 - h) ** steps).max()
    assert 0.5 < gap / (0.27 * (COARSENESS - 1) / steps) < 1.15


def test_what_is_refused_names_the_numbers(space):
    directions = Directions(space)
    for steps in (101, 90):
        with pytest.raises(ValueError, match=rf"inner_steps={steps}: .*multiple of 10.*least 97"):
            coarse_steps(directions, steps, LR)
    with pytest.raises(ValueError, match=r"inner_lr=1.0: a coarse step .*curvatures of up to \d"):
        coarse_steps(directions, STEPS, 1.0)
    with pytest.raises(ValueError, match="rank=13: space 1 has 12 dimensions"):
        low_rank(directions, space, 13, STEPS, LR)
    rank = directions.smallest_rank(STEPS, LR)
    message = rf"rank={rank - 1} drops .*100 inner steps of 0.02 .*rank={rank} keeps.*{DROPPED}"
    with pytest.raises(ValueError, match=message):
        low_rank(directions, space, rank - 1, STEPS, LR)


def test_estimators_refuse_before_any_work(blobs):
    spaces, _ = blobs(24, 3, (5, 4))
    for changes, message in (
        ({"inner": "coarse", "inner_lr": 1.0}, "inner_lr=1.0"),
        ({"inner": "coarse", "inner_steps": 15}, "inner_steps=15"),
        ({"rank": 5}, "rank=5: space 1 has 4 dimensions"),
        ({"rank": 1}, "rank=1 drops"),
        ({"rank": 0}, "rank=0"),
        ({"inner": "rough"}, "inner='rough' must be one of exact, coarse"),
    ):
        with pytest.raises(ValueError, match=message):
            Hume(3, outer_steps=10**9).fit_many(spaces, [{"outer_steps": 1}, changes])
