"""Saved tasks label rows as the model they were taken from, and are scored or named."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score

from hume_turtle import Hume, Turtle
from hume_turtle.evaluation.metrics import cluster_accuracy
from hume_turtle.released.tasks import Task, _reference, evaluate_tasks, saved_tasks, task_path
from hume_turtle.storage.embeddings import embedding_path, save_labels

RNG = np.random.default_rng(0)
HEADS = tuple(RNG.normal(size=(3, d + 1)).astype(np.float32) for d in (4, 6))
SPACES = [RNG.normal(size=(50, d)).astype(np.float32) for d in (4, 6)]
ROWS = np.linalg.qr(RNG.normal(size=(4, 3)))[0].T.astype(np.float32)  # (3, 4) orthonormal
NAMES = ("clip-rn50", "dinov2-vit-g-14")
TURTLE = Task("turtle", "stl10", NAMES, HEADS, "2space/stl10.pt")


def hume_task(rows=ROWS, method="hume"):
    return Task(method, "stl10", ("moco", "dino"), (rows,), "linear_task_1.pt")


def softmax(logits):
    return torch.from_numpy(logits).softmax(1).numpy()


def test_turtle_is_the_mean_of_softmaxes():
    mean = sum(softmax(z @ h[:, :-1].T + h[:, -1]) for z, h in zip(SPACES, HEADS)) / 2
    logits = sum(z @ h[:, :-1].T + h[:, -1] for z, h in zip(SPACES, HEADS))
    assert (mean.argmax(1) != logits.argmax(1)).any()  # the mean of logits is another labeling
    np.testing.assert_array_equal(TURTLE.predict(SPACES, "cpu"), mean.argmax(1))


@pytest.mark.parametrize("method", ["hume", "hume-transductive"])
def test_hume_is_the_largest_projection_in_its_first_space(method):
    task = hume_task(method=method)
    assert task.inputs == ("moco",)
    np.testing.assert_array_equal(task.predict([SPACES[0]], "cpu"), (SPACES[0] @ ROWS.T).argmax(1))


def test_a_task_comes_back_and_repeats_byte_for_byte(tmp_path):
    for name in "ab":
        TURTLE.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    loaded = Task.load(tmp_path / "a")
    assert (loaded.method, loaded.dataset, loaded.spaces) == ("turtle", "stl10", NAMES)
    assert loaded.source == TURTLE.source
    assert loaded.score is None
    replace(TURTLE, score=0.9).save(tmp_path / "c")
    assert Task.load(tmp_path / "c").score == 0.9
    for head, saved in zip(loaded.heads, HEADS):
        np.testing.assert_array_equal(head, saved)


def test_what_is_no_task_is_refused(tmp_path):
    for heads in (HEADS[:1], (HEADS[0], HEADS[1][:2]), (HEADS[0], HEADS[1] * np.nan), ()):
        with pytest.raises(ValueError, match=r"heads of shapes"):
            Task("turtle", "stl10", NAMES, heads, "")
    for score in ("0.9", np.nan, -1):
        with pytest.raises(ValueError, match=r"score=.* must be a number >= 0"):
            replace(TURTLE, score=score)
    with pytest.raises(ValueError, match=r"method='k-means'"):
        Task("k-means", "stl10", NAMES, HEADS, "")
    with pytest.raises(ValueError, match=r"6 dimensions|4 dimensions"):
        TURTLE.predict(SPACES[::-1])
    path = tmp_path / "x.npz"
    np.save(tmp_path / "rows.npy", np.ones(3))
    for content in (b"", b"no zip", (tmp_path / "rows.npy").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"not a saved task"):
            Task.load(path)
    np.savez(path, header=np.array(json.dumps({"format": 2})))
    with pytest.raises(ValueError, match=r"another format"):
        Task.load(path)
    with pytest.raises(ValueError, match=r"part of a path"):
        task_path("..", "turtle", NAMES, "imported")


def test_saved_fits_are_not_tasks(tmp_path, blobs):
    spaces, _ = blobs(30, 3, (4,))
    fitted = Turtle(3, outer_steps=2, inner_steps=1, device="cpu").fit(spaces)
    fitted.save(tmp_path / "x.npz")
    with pytest.raises(ValueError, match=r"not a saved task"):
        Task.load(tmp_path / "x.npz")


def test_a_fitted_model_and_its_task_agree(blobs):
    spaces, _ = blobs(60, 3, (5, 4))
    turtle = Turtle(3, outer_steps=20, inner_steps=2, device="cpu").fit(spaces)
    task = Task("turtle", "stl10", NAMES, tuple(turtle.heads_), "")
    np.testing.assert_array_equal(task.predict(spaces), turtle.labels_)
    hume = Hume(3, outer_steps=5, inner_steps=2, n_subsets=1, device="cpu").fit(spaces)
    task = hume_task(hume.heads_[0][0])
    np.testing.assert_array_equal(task.predict(spaces[:1]), hume.labels_)


def cache(root, dataset, space, split, rows):
    path = embedding_path(root / "embeddings", dataset, space, split)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, rows)
    sidecar = {"rows": len(rows), "dimensions": rows.shape[1], "sha256": ""}
    sidecar |= {"mean_square": float(np.square(rows).mean()), "skipped": []}
    path.with_suffix(".json").write_text(json.dumps(sidecar))


def save(root, task, seed="imported"):
    task.save(root / "tasks" / task_path(task.dataset, task.method, task.spaces, seed))


def run(root, split="test"):
    return evaluate_tasks(root / "tasks", root / "embeddings", root / "labels", split, "cpu")


def value(scores, metric, **keys):
    for key, wanted in {"metric": metric, **keys}.items():
        scores = scores[scores[key] == wanted]
    (found,) = scores["value"]
    return found


@pytest.fixture
def root(tmp_path):
    """A cache of both TURTLE spaces, with labels of which most agree."""
    truth = TURTLE.predict(SPACES, "cpu")
    truth[:10] = (truth[:10] + 1) % 3
    for name, rows in zip(NAMES, SPACES):
        cache(tmp_path, "stl10", name, "test", rows)
    save_labels(tmp_path / "labels", "stl10", "test", truth)
    save(tmp_path, TURTLE)
    return tmp_path


def test_scores_are_those_of_the_labeling(root):
    scores, skipped, _ = run(root)
    truth, labels = np.load(root / "labels" / "stl10" / "test.npy"), TURTLE.predict(SPACES)
    assert list(scores) == ["dataset", "method", "spaces", "seed", "split", "metric", "value"]
    assert set(scores["spaces"]) == {"+".join(NAMES)}
    assert set(scores["metric"]) == {"cluster_accuracy", "mean_per_class_accuracy", "ari", "nmi"}
    assert value(scores, "cluster_accuracy") == cluster_accuracy(truth, labels) == 0.8
    assert value(scores, "ari") == adjusted_rand_score(truth, labels)
    assert skipped.empty


def test_what_cannot_be_scored_is_listed_with_its_reason(root):
    save(root, Task("turtle", "stl10", ("bit",), HEADS[:1], ""))
    save(root, Task("turtle", "stl10", NAMES[:1], HEADS[1:], ""))  # of another width
    for name, rows in zip(NAMES, SPACES):
        cache(root, "pets", name, "test", rows)
        cache(root, "dtd", name, "test", rows)
    save(root, replace(TURTLE, dataset="pets"))  # without labels
    save_labels(root / "labels", "dtd", "test", np.arange(7))
    save(root, replace(TURTLE, dataset="dtd"))  # with fewer labels
    broken = root / "tasks" / "stl10" / "hume" / "moco+dino" / "3.npz"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"broken")
    scores, skipped, _ = run(root)
    reasons = {(d, s): r for d, _, s, _, r in skipped.itertuples(index=False)}
    assert set(scores["dataset"]) == {"stl10"}
    assert set(scores["spaces"]) == {"+".join(NAMES)}
    assert "no sidecar" in reasons["stl10", "bit"]
    assert "dimensions" in reasons["stl10", NAMES[0]]
    assert "no labels" in reasons["pets", "+".join(NAMES)]
    assert "50" in reasons["dtd", "+".join(NAMES)]
    assert "not a saved task" in reasons["stl10", "moco+dino"]
    assert len(skipped) == 5


def test_hume_needs_its_first_space_only_and_votes(root):
    cache(root, "stl10", "moco", "test", SPACES[0])
    permuted = [ROWS, ROWS[[1, 2, 0]], ROWS[[2, 0, 1]], -ROWS]
    for seed, rows in zip((2, 10, 7, 1), permuted):
        save(root, hume_task(rows), str(seed))
    save_labels(root / "labels", "stl10", "test", (SPACES[0] @ ROWS.T).argmax(1))
    scores, skipped, _ = run(root)
    hume = scores[scores["method"] == "hume"]
    assert list(dict.fromkeys(hume["seed"])) == ["1", "2", "7", "10", "vote"]
    for seed in ("2", "7", "10", "vote"):  # three of four agree, under other names
        assert value(hume, "cluster_accuracy", seed=seed) == 1
    assert value(hume, "cluster_accuracy", seed="1") < 1
    assert skipped.empty


def published_vote(labelings, best, n_classes):
    """Every row's votes counted one by one, in the classes of run `best`; ties to the lowest."""
    votes = np.zeros((labelings.shape[1], n_classes), int)
    for labels in labelings:
        pairs = [[np.sum((labels == a) & (labelings[best] == b)) for b in range(n_classes)]
                 for a in range(n_classes)]  # fmt: skip
        _, names = linear_sum_assignment(pairs, maximize=True)
        votes[np.arange(len(labels)), names[labels]] += 1
    return votes.argmax(1)


RUNS = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4, 3)))[0].mT.astype(np.float32)


@pytest.fixture
def votes_of(tmp_path):
    """Four runs that disagree, on the test split: function of their scores."""
    cache(tmp_path, "stl10", "moco", "test", SPACES[0])
    labelings = np.stack([hume_task(rows).predict([SPACES[0]], "cpu") for rows in RUNS])
    expected = [published_vote(labelings, best, 3) for best in range(4)]
    save_labels(tmp_path / "labels", "stl10", "test", expected[2])
    accuracies = [cluster_accuracy(expected[2], vote) for vote in expected]
    assert len(set(accuracies)) == 4  # so it shows which run was the reference

    def evaluated(scores):
        for seed, rows, score in zip("1234", RUNS, scores, strict=True):
            save(tmp_path, replace(hume_task(rows), score=score), seed)
        found, _, votes = run(tmp_path)
        ((*_, reference, reason),) = votes.itertuples(index=False)
        return value(found, "cluster_accuracy", seed="vote"), reference, reason

    return evaluated, accuracies, tmp_path


def test_the_vote_takes_the_run_with_the_best_released_score(votes_of):
    evaluated, accuracies, _ = votes_of
    for scores, best in (((0.1, 0.2, 0.9, 0.3), 2), ((0.5, 0.9, 0.9, 0.5), 1)):
        accuracy, reference, reason = evaluated(scores)
        assert accuracy == accuracies[best]
        assert reference == "1234"[best]
        assert reason == "highest released score, 0.9000"


def test_the_vote_computes_missing_scores_in_the_second_space(votes_of):
    evaluated, accuracies, root = votes_of
    for scores, best, chosen in (
        ((None,) * 4, 0, "lowest seed; 4 of 4"),
        ((0.1, None, 0.2, 0.9), 3, "highest released score, 0.9000; 1 of 4"),
    ):
        accuracy, reference, reason = evaluated(scores)
        assert accuracy == accuracies[best]
        assert reference == "1234"[best]
        assert reason.startswith(f"{chosen} runs have no released score, and none can be computed")
    train = RNG.normal(size=(60, 4)).astype(np.float32)
    second = 3 * np.eye(3, 2)[(train @ RUNS[2].T).argmax(1)] + RNG.normal(size=(60, 2))
    cache(root, "stl10", "moco", "train", train)
    cache(root, "stl10", "dino", "train", second.astype(np.float32))  # where run 2 is learnt best
    accuracy, reference, reason = evaluated((0.99, None, 0.1, 0.1))
    assert accuracy == accuracies[2] == 1
    assert reference == "3"
    assert reason.startswith("highest score on train rows, ")
    assert reason.endswith("; 1 of 4 runs have no released score")


def test_rows_on_which_missing_scores_are_computed():
    asked = []

    def rows(dataset, spaces, split):
        asked.append((dataset, split))
        raise FileNotFoundError

    for method, dataset in (
        ("hume", "stl10"),
        ("hume-transductive", "stl10"),
        ("hume", "imagenet"),
    ):
        runs = [replace(hume_task(method=method), dataset=dataset)] * 2
        assert _reference(runs, rows, "cpu")[0] == 0
    assert asked == [("stl10", "train"), ("stl10", "all"), ("imagenet", "test")]


def test_all_rows_are_train_then_test(root):
    cache(root, "stl10", NAMES[0], "train", SPACES[0][:9])
    cache(root, "stl10", NAMES[1], "train", SPACES[1][:9])
    save_labels(root / "labels", "stl10", "train", TURTLE.predict([z[:9] for z in SPACES]))
    scores, *_ = run(root, "all")
    assert value(scores, "cluster_accuracy", split="all") == pytest.approx(49 / 59)
    with pytest.raises(ValueError, match=r"split='val'"):
        run(root, "val")


def test_a_folder_without_tasks(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"import them"):
        saved_tasks(tmp_path)
