"""TURTLE's fast recipe: its parts by hand, and that it finds what the published settings find."""

import numpy as np
import pytest
import torch

from hume_turtle import Turtle
from hume_turtle.core.objectives import turtle_objective
from hume_turtle.core.products import linear_logits
from hume_turtle.core.task_encoders import ABSENT, draw_heads, with_constant
from hume_turtle.estimators import turtle_fast, unexplained
from hume_turtle.estimators.turtle import batched_runs
from hume_turtle.estimators.turtle_fast import (
    fast_size,
    hard_objective,
    lowest,
    nearest_centre,
    start_heads,
)
from hume_turtle.evaluation.metrics import cluster_accuracy


def random_rows(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_the_lowest_restarts_of_each_run():
    loss = torch.tensor([[3.0, 1.0, 2.0], [float("nan"), 5.0, 4.0]])
    assert lowest(loss, 2).tolist() == [1, 2, 5, 4]
    assert lowest(loss, 1).tolist() == [1, 5]


@pytest.fixture
def three_groups():
    """Rows (60, 2) around three centres, and their groups (60,)."""
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    truth = torch.arange(60) % 3
    return centres[truth] + 0.1 * random_rows(60, 2), truth


def test_heads_of_clusters_label_rows_by_the_nearest_centre(three_groups):
    rows, truth = three_groups
    (head,) = nearest_centre([rows], truth.numpy(), 3, 4)
    assert head.shape == (4, 3)
    assert (head[3] == torch.tensor([0, 0, ABSENT])).all()
    probabilities = linear_logits(head[None], with_constant(rows))[0].softmax(0)  # (4, n)
    assert (probabilities[3] == 0).all()
    assert (probabilities.argmax(0) == truth).all()


def test_restarts_begin_at_random_heads_and_at_k_means_in_all_spaces_and_in_each(monkeypatch):
    clustered = []

    class Recorded(turtle_fast.KMeansBaseline):
        def fit(self, spaces):
            clustered.append([space.shape[1] for space in spaces])
            return super().fit(spaces)

    monkeypatch.setattr(turtle_fast, "KMeansBaseline", Recorded)
    spaces = [random_rows(30, 2), random_rows(30, 5, seed=1)]
    starts = [start_heads(spaces, 3, 4, seed) for seed in range(8)]
    assert clustered == [[2, 5], [2], [5], [2, 5]]  # restarts 0, 2, 4, 6
    for heads in starts:
        assert [head.shape for head in heads] == [(4, 3), (4, 6)]
        assert all(head[3, -1] == ABSENT for head in heads)
    drawn = draw_heads([2, 5], 3, [torch.Generator().manual_seed(5)], 4)
    assert all(torch.equal(a, b[0]) for a, b in zip(starts[5], drawn, strict=True))


def test_the_hard_objective_is_turtles_and_knows_neither_sharpness_nor_absent_classes(three_groups):
    rows, truth = three_groups
    spaces, gamma = [with_constant(rows / 10)] * 2, torch.tensor([10.0])
    heads = [head[None] for head in nearest_centre([rows / 10] * 2, truth.numpy(), 3, 3)]
    loss = hard_objective(heads, spaces, gamma)
    torch.testing.assert_close(hard_objective([9 * h for h in heads], spaces, gamma), loss)
    padded = [head[None] for head in nearest_centre([rows / 10] * 2, truth.numpy(), 3, 5)]
    torch.testing.assert_close(hard_objective(padded, spaces, gamma), loss)

    steps, lr = unexplained.STEPS, unexplained.LR
    layer = torch.nn.Linear(2, 3)
    torch.nn.init.zeros_(layer.weight), torch.nn.init.zeros_(layer.bias)
    adam = torch.optim.Adam(layer.parameters(), lr)
    for _ in range(steps):
        adam.zero_grad()
        torch.nn.functional.cross_entropy(layer(rows / 10), truth).backward()
        adam.step()
    tau, logits = torch.eye(3)[truth].T, layer(rows / 10).T.detach()
    expected, _, _ = turtle_objective([tau, tau], [logits, logits], 10.0)
    torch.testing.assert_close(loss[0], expected, rtol=1e-4, atol=1e-4)


def test_the_hard_objective_prefers_the_labeling_with_the_margin():
    corners = torch.tensor([[-5.0, -5.0], [-5.0, 5.0], [5.0, -5.0], [5.0, 5.0]])
    rows = with_constant(corners.repeat(25, 1) + random_rows(100, 2))
    between, diagonal = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1.0, 1.0, 0.0])
    heads = torch.stack([torch.stack([cut, -cut]) for cut in (between, diagonal)])  # (2, 2, 3)
    loss = hard_objective([heads], [rows], torch.tensor([10.0, 10.0]))
    assert loss[0] < loss[1] - 0.01


def test_the_restart_of_the_lowest_hard_objective_is_kept(monkeypatch):
    asked = []

    def last_is_lowest(heads, spaces, gamma, log_prior):
        asked.append((heads[0], spaces[0].clone()))
        return -torch.arange(len(gamma), dtype=torch.float32)

    monkeypatch.setattr(turtle_fast, "hard_objective", last_is_lowest)
    model = Turtle(4, recipe="fast").fit(random_rows(80, 5).numpy())
    (every, _), (finalists, rows) = asked
    assert (len(every), len(finalists)) == (turtle_fast.RESTARTS, turtle_fast.FINALISTS)
    labels = linear_logits(finalists, rows).argmax(1).numpy()
    assert (labels[-1] == model.labels_).all()
    assert (labels[0] != model.labels_).any()


def test_more_classes_get_more_components_and_rows():
    few, many = Turtle(10, recipe="fast"), Turtle(200, recipe="fast")
    assert fast_size(few) == (turtle_fast.DIM[0], turtle_fast.BATCH[0])
    assert fast_size(many) == (200 * turtle_fast.DIM[1], 200 * turtle_fast.BATCH[1])
    assert fast_size(Turtle(200, recipe="fast", batch_size=50))[1] == 50
    twelve = Turtle(12, recipe="fast")
    assert list(batched_runs([few, many, twelve], n=100)) == [[few, twelve], [many]]


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
    monkeypatch.setattr(turtle_fast, "SCREENING", 20)
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
    monkeypatch.setattr(turtle_fast, "SCREENING", 20)
    model = Turtle(4, recipe="fast").fit(space)
    assert np.isfinite(model.predict_proba(space)).all()


def test_rows_past_the_sample_are_labelled_too(blobs, monkeypatch):
    monkeypatch.setattr(turtle_fast, "SAMPLE", 40)
    monkeypatch.setattr(turtle_fast, "BATCH", (32, 4))
    spaces, truth = blobs(60, 4, (8, 6))
    model = Turtle(4, recipe="fast").fit(spaces)
    assert cluster_accuracy(truth, model.labels_) > 0.98
