"""The projection on principal components: by hand, back again, and the rows it is learnt from."""

import pytest
import torch

from hume_turtle.core.task_encoders import linear_logits, with_constant
from hume_turtle.estimators.projection import Projection, draw_rows


def random_rows(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dim", [3, 8, 20])
def test_lifted_heads_give_the_same_logits_on_rows_as_they_are(dim):
    rows, heads = random_rows(40, 8) * torch.arange(1.0, 9), torch.randn(2, 3, min(dim, 8) + 1)
    project = Projection(rows, dim)
    projected = project(rows, chunk=7)
    assert projected.shape == (40, min(dim, 8))
    torch.testing.assert_close(
        linear_logits(project.lift(heads), with_constant(rows)),
        linear_logits(heads, with_constant(projected)),
        rtol=1e-4,
        atol=1e-4,
    )


def test_the_projection_keeps_the_leading_components_at_unit_scale():
    scales = torch.tensor([10.0, 5.0, 0.01, 0.01])
    rows = random_rows(200, 4) * scales + 3
    project = Projection(rows, 2)
    gram = project.basis.T @ project.basis
    torch.testing.assert_close(gram, gram[0, 0] * torch.eye(2), rtol=1e-4, atol=1e-6)
    assert project.basis[2:].norm() < 0.01 * project.basis.norm()
    torch.testing.assert_close(project(rows).mean(0), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(project(rows).square().mean().sqrt(), torch.tensor(1.0))


def test_a_projection_does_not_depend_on_the_scale():
    rows = random_rows(60, 9)
    torch.testing.assert_close(
        Projection(rows, 4)(rows), Projection(1e-3 * rows, 4)(1e-3 * rows), rtol=1e-3, atol=1e-3
    )


def test_restored_rows_are_the_nearest_of_those_with_the_same_projection():
    rows = random_rows(50, 6) + 2
    project = Projection(rows, 3)
    points = project(rows)
    restored = project.restore(points)
    torch.testing.assert_close(project(restored), points, rtol=1e-4, atol=1e-4)
    inside = torch.linalg.qr(project.basis).Q
    expected = (rows - project.mean) @ inside @ inside.T + project.mean
    torch.testing.assert_close(restored, expected, rtol=1e-4, atol=1e-4)


def test_the_projection_does_not_touch_the_callers_random_numbers():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first = Projection(random_rows(50, 9), 4).basis
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first, Projection(random_rows(50, 9), 4).basis)


def test_sampled_rows_are_distinct():
    assert draw_rows(7, 10).tolist() == list(range(7))
    rows = draw_rows(1000, 50)
    assert len(set(rows.tolist())) == 50
    assert rows.max() < 1000
