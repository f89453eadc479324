"""TURTLE's fast recipe: its parts by hand, and that it finds what the published settings find."""

import numpy as np
import pytest
import torch

from hume_turtle import Turtle
from hume_turtle.core.products import linear_logits
from hume_turtle.core.task_encoders import ABSENT, with_constant
from hume_turtle.estimators import turtle_fast
from hume_turtle.estimators.turtle_fast import Projection, draw_rows, lowest, start_heads
from hume_turtle.evaluation.metrics import cluster_accuracy


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


def test_the_projection_keeps_the_leading_components_scaled():
    scales = torch.tensor([10.0, 5.0, 0.01, 0.01])
    rows = random_rows(200, 4) * scales + 3
    project = Projection(rows, 2)
    gram = project.basis.T @ project.basis
    torch.testing.assert_close(gram, 2 * torch.eye(2), rtol=1e-4, atol=1e-4)  # √(d / d')² = 2
    assert project.basis[2:].norm() < 0.01 * project.basis.norm()
    torch.testing.assert_close(project(rows).mean(0), torch.zeros(2), rtol=0, atol=1e-4)


def test_the_projection_does_not_touch_the_callers_random_numbers():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first = Projection(random_rows(50, 9), 4).basis
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first, Projection(random_rows(50, 9), 4).basis)


def test_the_lowest_restarts_of_each_run():
    loss = torch.tensor([[3.0, 1.0, 2.0], [float("nan"), 5.0, 4.0]])
    assert lowest(loss, 2).tolist() == [1, 2, 5, 4]
    assert lowest(loss, 1).tolist() == [1, 5]


def test_sampled_rows_are_distinct():
    assert draw_rows(7, 10).tolist() == list(range(7))
    rows = draw_rows(1000, 50)
    assert len(set(rows.tolist())) == 50
    assert rows.max() < 1000


def test_the_start_labels_rows_by_the_nearest_centre():
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    truth = torch.arange(60) % 3
    rows = centres[truth] + 0.1 * random_rows(60, 2)
    (head,) = start_heads([rows], 3, 4, seed=0)
    assert head.shape == (4, 3)
    assert (head[3] == torch.tensor([0, 0, ABSENT])).all()
    probabilities = linear_logits(head[None], with_constant(rows))[0].softmax(0)  # (4, n)
    assert (probabilities[3] == 0).all()
    assert cluster_accuracy(truth.numpy(), probabilities.argmax(0).numpy()) == 1


@pytest.mark.parametrize("dims", [(8,), (8, 90)])
def test_finds_planted_classes(blobs, dims):
    spaces, truth = blobs(60, 4, dims)
    model = Turtle(4, recipe="fast").fit(spaces)
    assert cluster_accuracy(truth, model.labels_) > 0.99
    assert (model.predict(spaces) == model.labels_).mean() > 0.99
    assert [head.shape for head in model.heads_] == [(4, d + 1) for d in dims]
    assert {len(values) for values in model.history_.values()} == {turtle_fast.OUTER_STEPS}
    assert model.history_["loss"][-1] <= model.history_["loss"][0]


def test_batched_runs_equal_solo_fits(blobs, monkeypatch):
    monkeypatch.setattr(turtle_fast, "OUTER_STEPS", 60)
    spaces, _ = blobs(50, 4, (5, 7))
    settings = [{"seed": 0}, {"seed": 3, "gamma": 2.0}, {"n_classes": 3}]
    template = Turtle(4, recipe="fast")
    for setting, model in zip(settings, template.fit_many(spaces, settings)):
        alone = Turtle(**{**template.get_params(), **setting}).fit(spaces)
        for a, b in zip(alone.heads_, model.heads_, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-2)
        assert (alone.labels_ == model.labels_).mean() > 0.97


def test_same_seed_same_bits(blobs):
    spaces, _ = blobs(50, 4, (5, 7))
    first, second = (Turtle(4, recipe="fast", seed=2).fit(spaces) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first.heads_, second.heads_, strict=True))


@pytest.mark.parametrize("name", ["outer_steps", "inner_steps", "inner_lr", "outer_lr"])
def test_what_the_recipe_decides_is_left_to_it(blobs, name):
    spaces, _ = blobs(20, 4, (5,))
    with pytest.raises(ValueError, match=f"{name}=7"):
        Turtle(4, recipe="fast", **{name: 7}).fit(spaces)


def test_other_recipes_are_refused(blobs):
    spaces, _ = blobs(20, 4, (5,))
    with pytest.raises(ValueError, match="recipe='slow'"):
        Turtle(4, recipe="slow").fit(spaces)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize(
    "space",
    [
        np.random.default_rng(0).standard_normal((4, 100)),
        np.ones((30, 5)),
        np.repeat(np.eye(3), 10, axis=0),
        np.random.default_rng(0).standard_normal((30, 1)),
    ],
    ids=["as many rows as classes", "constant", "three distinct rows", "one dimension"],
)
def test_awkward_spaces_get_a_labeling_without_nan(space, monkeypatch):
    monkeypatch.setattr(turtle_fast, "OUTER_STEPS", 60)
    model = Turtle(4, recipe="fast").fit(space)
    assert np.isfinite(model.predict_proba(space)).all()


def test_rows_past_the_sample_are_labelled_too(blobs, monkeypatch):
    monkeypatch.setattr(turtle_fast, "SAMPLE", 40)
    monkeypatch.setattr(turtle_fast, "BATCH", (32, 4))
    spaces, truth = blobs(60, 4, (8, 6))
    model = Turtle(4, recipe="fast").fit(spaces)
    assert cluster_accuracy(truth, model.labels_) > 0.98
