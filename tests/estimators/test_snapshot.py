"""What a callback sees of a fit."""

import numpy as np
import pytest

from hume_turtle import Hume, Turtle
from hume_turtle.core.task_encoders import sparsemax
from tests.helpers.quick import quick


def watched(model, spaces):
    seen = []
    model.fit(spaces, callback=lambda now: seen.append((now, now.labeling, now.labels)))
    return seen


@pytest.mark.parametrize("kind", [Turtle, Hume])
def test_snapshots_are_the_history_and_change_nothing(kind, spaces):
    model = quick(kind, 3)
    seen = watched(model, spaces)
    alone = quick(kind, 3).fit(spaces)
    np.testing.assert_array_equal(model.heads_[0], alone.heads_[0])
    assert [now.iteration for now, *_ in seen] == list(range(model.outer_steps))
    for name, values in model.history_.items():
        np.testing.assert_allclose(np.ravel(values), [now.terms[name] for now, *_ in seen])
    for _, labeling, labels in seen:
        assert labeling.shape == (len(spaces[0]), 3)
        np.testing.assert_allclose(labeling.sum(1), 1, rtol=1e-5)
        np.testing.assert_array_equal(labels, labeling.argmax(1))


def test_a_snapshot_of_turtle_is_the_fit_that_ends_there(spaces):
    seen = watched(quick(Turtle, 3, outer_steps=5), spaces)
    now, labeling, _ = seen[3]
    shorter = quick(Turtle, 3, outer_steps=3).fit(spaces)
    for head, expected in zip(now.heads, shorter.heads_):
        np.testing.assert_allclose(head, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(labeling, shorter.predict_proba(spaces), rtol=1e-4, atol=1e-6)
    assert [head.shape for head in now.inner_heads] == [head.shape for head in now.heads]


def test_the_loss_of_a_snapshot_is_that_of_its_labeling_and_inner_heads(spaces):
    now, labeling, _ = watched(quick(Turtle, 3), spaces)[-1]
    error = 0
    for space, head in zip(spaces, now.inner_heads):
        logits = space @ head[:, :-1].T + head[:, -1]
        log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        error -= (labeling * log_probs).sum(1).mean()
    assert now.terms["cross_entropy"] == pytest.approx(error, rel=1e-4)


def test_a_snapshot_of_hume_labels_by_its_rows_and_temperature(spaces):
    model = quick(Hume, 3)
    now, labeling, _ = watched(model, spaces)[0]
    unit = spaces[0] / np.linalg.norm(spaces[0], axis=1, keepdims=True)
    import torch

    logits = torch.from_numpy(unit @ now.heads[0].T).float() / model.temperature
    np.testing.assert_allclose(labeling, sparsemax(logits).numpy(), atol=1e-5)
    assert now.inner_heads is None


@pytest.mark.parametrize(
    ("model", "callback"),
    [
        (Turtle(2, recipe="fast"), print),
        (Hume(2, n_runs=2), print),
        (Turtle(2), "print"),
    ],
)
def test_a_callback_that_cannot_be_called_is_refused(model, callback, spaces):
    with pytest.raises(ValueError, match="callback"):
        model.fit(spaces, callback=callback)
