"""γ chosen without labels, known shares, and the unexplained share they are chosen by."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy as torch_cross_entropy

from hume_turtle import Turtle
from hume_turtle.estimators import class_sizes, unexplained
from hume_turtle.estimators.class_sizes import GAMMAS, choose, fit_gamma
from hume_turtle.estimators.projection import Projection
from hume_turtle.estimators.turtle_fast import Run, solve_fast
from hume_turtle.estimators.unexplained import LR, STEPS, held_out_share, unexplained_share
from hume_turtle.evaluation.metrics import cluster_accuracy


def test_the_share_of_a_fit_is_the_mean_over_its_end():
    error = torch.cat([torch.full((50,), 9.0), torch.full((20,), 0.2)])
    history = {"cross_entropy": error, "entropy": torch.full((70,), 2.0)}
    assert float(unexplained_share(history)) == pytest.approx(0.1)


def test_the_share_on_other_rows_is_that_of_plain_torch():
    stream = torch.Generator().manual_seed(0)
    space = torch.randn(40, 3, generator=stream)
    labels = (space[:, 0] > 0).long()
    (found,) = held_out_share([space], labels[None], [2]).tolist()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    losses = []
    for learnt, judged in ((order[:20], order[20:]), (order[20:], order[:20])):
        layer = torch.nn.Linear(3, 2)
        torch.nn.init.zeros_(layer.weight), torch.nn.init.zeros_(layer.bias)
        adam = torch.optim.Adam(layer.parameters(), LR)
        for _ in range(STEPS):
            adam.zero_grad()
            torch_cross_entropy(layer(space[learnt]), labels[learnt]).backward()
            adam.step()
        losses.append(torch_cross_entropy(layer(space[judged]), labels[judged]).item())
    share = labels.float().mean().item()
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert found == pytest.approx(np.mean(losses) / entropy, rel=1e-3)


def test_the_share_on_other_rows_tells_true_from_random_labels_and_no_absent_class(blobs):
    (space,), planted = blobs(80, 3, (5,))
    rows = torch.from_numpy(space)
    rows = Projection(rows, 5)(rows)
    planted = torch.from_numpy(planted)
    drawn = planted[torch.randperm(80, generator=torch.Generator().manual_seed(0))]
    true, random = held_out_share([rows], torch.stack([planted, drawn]), [3, 3]).tolist()
    assert true < 0.1 < 0.9 < random
    padded, _ = held_out_share([rows], torch.stack([planted, planted]), [3, 7]).tolist()
    assert padded == pytest.approx(true, rel=1e-4)


def test_labelings_that_do_not_fit_at_once_are_judged_in_parts(blobs, monkeypatch):
    (space,), planted = blobs(40, 3, (5,))
    rows, labels = torch.from_numpy(space) / 3, torch.from_numpy(planted)
    labels = torch.stack([labels, labels.roll(1), labels.roll(2)])
    whole = held_out_share([rows], labels, [3, 3, 3])
    monkeypatch.setattr(unexplained, "NUMBERS", 2 * 3 * 40)
    torch.testing.assert_close(held_out_share([rows], labels, [3, 3, 3]), whole)


def test_each_gamma_alone_gives_what_all_together_give(unbalanced, monkeypatch):
    rows, _ = unbalanced
    run = Run(3, 10.0)
    together = fit_gamma([rows], run, torch.device("cpu"))
    monkeypatch.setattr(class_sizes, "TOGETHER", 2)
    alone = fit_gamma([rows], run, torch.device("cpu"))
    assert alone[0] == together[0]
    torch.testing.assert_close(alone[1], together[1], rtol=1e-3, atol=1e-3)


def test_gammas_between_are_tried_only_where_the_smallest_gains(unbalanced, blobs, monkeypatch):
    asked = []

    def recorded(spaces, runs, *rest):
        asked.extend(run.gamma for run in runs)
        return solve_fast(spaces, runs, *rest)

    monkeypatch.setattr(class_sizes, "solve_fast", recorded)
    fit_gamma(blobs(60, 3, (6,))[0], Run(3, 10.0), torch.device("cpu"))
    assert asked == [10.0, 0.3]
    fit_gamma([unbalanced[0]], Run(3, 10.0), torch.device("cpu"))
    assert sorted(asked[2:]) == sorted(GAMMAS)


def test_gamma_10_stays_unless_all_that_was_asked_for_holds():
    good = {
        "own": np.array([0.06, 0.05, 0.002]),
        "held_out": np.array([0.04, 0.04, 0.015]),
        "classes": np.array([5, 5, 5]),
        "agreement": np.array([0.7, 0.7, 0.9]),
    }
    assert choose(**good) == 2
    for name, last in {"own": 0.04, "held_out": 0.035, "classes": 4, "agreement": 0.79}.items():
        values = good[name].copy()
        values[-1] = last
        assert choose(**{**good, name: values}) == 0, name


def test_finalists_of_a_gamma_agree_where_there_are_classes_and_not_in_noise(blobs):
    (space,), _ = blobs(90, 3, (5,))
    noise = np.random.default_rng(0).normal(size=(90, 5)).astype(np.float32)
    run, device = Run(3, 10.0), torch.device("cpu")
    (planted,) = class_sizes.solved([space], run, [0.3], device)
    (found,) = class_sizes.solved([noise], run, [0.3], device)
    assert planted.agreement == pytest.approx(np.ones(class_sizes.FINALISTS))
    assert (found.agreement < class_sizes.AGREEING).all()


@pytest.fixture
def unbalanced():
    """Rows (330, 8) of three classes of 240, 60 and 30, and their classes."""
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [240, 60, 30])
    centres = 4 * np.linalg.qr(rng.normal(size=(8, 8)))[0][:3]
    return (centres[truth] + rng.normal(size=(330, 8))).astype(np.float32), truth


def test_gamma_auto_finds_unbalanced_classes_that_10_cuts(unbalanced):
    rows, truth = unbalanced
    published = Turtle(3, recipe="fast").fit(rows)
    model = Turtle(3, gamma="auto", recipe="fast").fit(rows)
    assert cluster_accuracy(truth, published.labels_) < 0.85
    assert cluster_accuracy(truth, model.labels_) > 0.95
    assert model.gamma_ in GAMMAS
    assert model.gamma_ < 10
    assert model.gamma == "auto"


def test_gamma_auto_keeps_10_for_balanced_classes_and_serves_the_published_recipe(blobs):
    spaces, _ = blobs(60, 3, (6,))
    settings = {"outer_steps": 30, "warm_start": True, "inner_lr": 0.01, "outer_lr": 0.01}
    auto, plain = (Turtle(3, gamma=gamma, **settings).fit(spaces) for gamma in ("auto", 10.0))
    assert auto.gamma_ == 10.0
    assert (auto.labels_ == plain.labels_).all()
    assert Turtle(3, gamma="auto", recipe="fast").fit(spaces).gamma_ == 10.0


@pytest.mark.parametrize("recipe", ["published", "fast"])
def test_known_shares_are_met_by_the_class_that_they_name(unbalanced, recipe):
    rows, truth = unbalanced
    rows = rows / np.sqrt(np.square(rows).mean())
    steps = {"outer_steps": 300, "outer_lr": 0.01, "inner_lr": 0.01, "warm_start": True}
    model = Turtle(
        3,
        class_prior=[30, 240, 60],
        recipe=recipe,
        **(steps if recipe == "published" else {}),
    ).fit(rows)
    shares = np.bincount(model.labels_, minlength=3) / len(rows)
    np.testing.assert_allclose(shares, np.array([30, 240, 60]) / 330, atol=0.03)
    if recipe == "fast":
        assert cluster_accuracy(truth, model.labels_) > 0.95


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"class_prior": [0.5, 0.5]}, "class_prior has 2 shares, but n_classes is 3"),
        ({"class_prior": [0.5, 0.5, 0]}, "class_prior=0 must be a number > 0"),
        ({"class_prior": "0.5"}, "must be a list of one number for each class"),
        ({"class_prior": [1, 1, 2], "gamma": "auto"}, "class_prior states: give one"),
        ({"gamma": "x"}, "gamma='x' must be a number >= 0, or 'auto'"),
        ({"n_classes": "many"}, "n_classes='many' must be an integer"),
        ({"n_classes": "auto", "class_prior": [1, 2]}, "n_classes is 'auto'"),
    ],
)
def test_bad_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Turtle(**{"n_classes": 3, **settings}).fit(np.ones((30, 2), np.float32))


def test_a_list_of_shares_survives_saving_and_batching(unbalanced, tmp_path):
    rows, _ = unbalanced
    model = Turtle(3, class_prior=np.array([1, 2, 8])[::-1], recipe="fast")
    both = model.fit_many(rows, [{"gamma": 10.0}, {"gamma": 3.0}])
    both[0].save(tmp_path / "model.npz")
    assert Turtle.load(tmp_path / "model.npz").class_prior == [8, 2, 1]
