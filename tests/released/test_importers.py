"""Labelings label rows after the import as before it; a refused archive changes nothing."""

import pickle
import zipfile

import numpy as np
import pytest
import torch
from torch.nn.utils import parametrizations

from hume_turtle import Hume, Turtle
from hume_turtle.released.importers import import_released, orthonormal_heads, softmax_heads
from hume_turtle.released.tasks import Task, evaluate_tasks
from tests.helpers.trees import tree
from tests.released.test_archives import Payload, checkpoint, npy, write_zip

HUME = "tasks/inductive/moco_dino/cifar10020/linear_task_{}.pt"
TURTLE = "turtle_tasks/2space/clipvitL14_dinov2/cifar100.pt"


def layer(dim, n_classes, seed=0, **options):
    """A trained-looking layer: the parametrisation's parameter has moved from its start."""
    torch.manual_seed(seed)
    made = parametrizations.orthogonal(torch.nn.Linear(dim, n_classes, bias=False), **options)
    optimiser = torch.optim.Adam(made.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        (made.weight @ torch.randn(dim)).square().sum().backward()
        optimiser.step()
    return made


def linear(weight, bias):
    return {"weight": torch.as_tensor(weight), "bias": torch.as_tensor(bias)}


def phis(dims=(6, 4), n_classes=3):
    return {
        f"phi{k}": torch.nn.Linear(dim, n_classes).state_dict() for k, dim in enumerate(dims, 1)
    }


@pytest.mark.parametrize(
    ("dim", "n_classes", "options"),
    [(8, 3, {}), (4, 4, {}), (8, 3, {"use_trivialization": False})],
    ids=["householder", "matrix_exp", "without a basis"],
)
def test_the_effective_weight_is_the_layers(dim, n_classes, options):
    made = layer(dim, n_classes, **options)
    before = torch.random.get_rng_state()
    (weight,) = orthonormal_heads(made.state_dict(), "x.pt")
    assert torch.equal(torch.random.get_rng_state(), before)
    np.testing.assert_array_equal(weight, made.weight.detach().numpy())
    np.testing.assert_allclose(weight @ weight.T, np.eye(n_classes), atol=1e-5)
    assert not np.allclose(weight, made.state_dict()["parametrizations.weight.original"])


def test_hume_fits_label_the_same_rows_after_the_import(tmp_path, blobs):
    spaces, _ = blobs(60, 3, (6, 4))
    score = pickle.dumps({"CV_Score": np.float64(0.975)}, pickle.HIGHEST_PROTOCOL)
    members, labels = {"tasks/inductive/moco_dino/cifar10020/results_7.pickle": score}, {}
    for seed in (7, 12):
        fit = Hume(3, outer_steps=5, inner_steps=2, n_subsets=1, seed=seed, device="cpu")
        fit.fit(spaces)
        made = layer(6, 3)
        made.weight = torch.from_numpy(fit.heads_[0][0])
        members[HUME.format(seed)] = checkpoint(made.state_dict())
        labels[seed] = fit.labels_
    transductive = HUME.replace("inductive", "transductive").format(7)
    members[transductive] = members[HUME.format(7)]
    found = import_released(
        "hume-tasks", write_zip(tmp_path / "tasks.zip", members), tmp_path / "out"
    )
    root = tmp_path / "out" / "cifar100-20"
    assert set(found.paths) == {
        root / "hume" / "moco+dino" / "7.npz",
        root / "hume" / "moco+dino" / "12.npz",
        root / "hume-transductive" / "moco+dino" / "7.npz",
    }
    assert found.notes == ["2 of 3 tasks have no results_<seed>.pickle"]
    for path in found.paths:
        task = Task.load(path)
        assert task.score == (0.975 if path == root / "hume" / "moco+dino" / "7.npz" else None)
        np.testing.assert_array_equal(task.predict(spaces[:1]), labels[int(path.stem)])
        assert task.source in members


def test_turtle_fits_label_the_same_rows_after_the_import(tmp_path, blobs):
    spaces, _ = blobs(60, 3, (6, 4))
    members, labels = {}, {}
    for names, chosen in (
        ("1space/clipvitL14", spaces[:1]),
        ("2space/clipvitL14_dinov2", spaces),
        ("2space/new-model_bit", spaces),
    ):
        fit = Turtle(3, outer_steps=20, inner_steps=2, device="cpu").fit(chosen)
        state = {  # effective weights, as the program saves them
            f"phi{k}": linear(head[:, :-1], head[:, -1]) for k, head in enumerate(fit.heads_, 1)
        }
        members[f"turtle_tasks/{names}/cifar100.pt"] = checkpoint(state)
        labels[f"turtle_tasks/{names}/cifar100.pt"] = chosen, fit.labels_
    archive = write_zip(tmp_path / "t.zip", members)
    with pytest.raises(ValueError, match=r"unknown names: .*--rename 'new-model'=OURS"):
        import_released("turtle-tasks", archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    rename = {"new-model": "new-model"}
    found = import_released("turtle-tasks", archive, tmp_path / "out", rename=rename)
    places = {str(path.relative_to(tmp_path / "out")) for path in found.paths}
    assert places == {
        "cifar100/turtle/clip-vit-l-14/imported.npz",
        "cifar100/turtle/clip-vit-l-14+dinov2-vit-g-14/imported.npz",
        "cifar100/turtle/new-model+bit/imported.npz",
    }
    for path in found.paths:
        task = Task.load(path)
        rows, expected = labels[task.source]
        np.testing.assert_array_equal(task.predict(rows), expected)


@pytest.mark.parametrize(
    ("kind", "name", "folder", "rename", "spaces"),
    [
        ("turtle-tasks", TURTLE, "my_clip_dinov2", {"my_clip": "clip"}, "clip+dinov2-vit-g-14"),
        ("turtle-tasks", TURTLE, "dinov2_a_b_c", {"a_b_c": "x"}, "dinov2-vit-g-14+x"),
        ("turtle-tasks", TURTLE, "a_b_c", {"a_b": "x", "c": "y"}, "x+y"),
        ("hume-tasks", HUME.format(1), "moco_v2_dino", {"moco_v2": "moco"}, "moco+dino"),
        ("hume-tasks", HUME.format(1), "mocov2_dino_s_16", {"dino_s_16": "dino"}, "moco+dino"),
    ],
)
def test_names_that_hold_what_joins_them(tmp_path, kind, name, folder, rename, spaces):
    joined = name.replace("clipvitL14_dinov2", folder).replace("moco_dino", folder)
    content = checkpoint(phis() if kind == "turtle-tasks" else state())
    archive = write_zip(tmp_path / "a.zip", {joined: content})
    with pytest.raises(ValueError, match=rf"unknown names: found spaces .*'{folder}'.*--rename"):
        import_released(kind, archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (path,) = import_released(kind, archive, tmp_path / "out", rename=rename).paths
    assert path.parent.name == spaces


def test_joined_names_that_can_be_split_in_two_ways(tmp_path):
    members = {TURTLE.replace("clipvitL14_dinov2", "a_b_c"): checkpoint(phis())}
    archive = write_zip(tmp_path / "a.zip", members | {TURTLE: checkpoint(phis())})
    rename = {name: name for name in ("a", "b_c", "a_b", "c")}
    with pytest.raises(ValueError, match=r"'a_b_c', 'clipvitL14_dinov2'; no single way .*'a_b_c'"):
        import_released("turtle-tasks", archive, tmp_path / "out", rename=rename)
    del rename["a_b"]
    with pytest.raises(ValueError, match=r"has no 'c' to rename"):
        import_released("turtle-tasks", archive, tmp_path / "out", rename=rename)
    assert not (tmp_path / "out").exists()


def state(dim=6, n_classes=3, **changes):
    return {**layer(dim, n_classes).state_dict(), **changes}


ORIGINAL, BASE = "parametrizations.weight.original", "parametrizations.weight.0.base"


@pytest.mark.parametrize(
    ("states", "match"),
    [
        ({"weight": torch.ones(3, 6)}, "holds"),
        (state(bias=torch.ones(3)), "holds"),
        ({BASE: torch.eye(6)}, "holds"),
        (state(**{BASE: torch.ones(6, 6)}), "not orthonormal"),
        (state(**{BASE: 1.1 * torch.eye(6)}), "not orthonormal"),
        (state(**{BASE: torch.eye(5)}), "basis"),
        (state(**{ORIGINAL: torch.ones(7, 6)}), "not orthonormal"),
        (state(**{ORIGINAL: torch.full((3, 6), torch.nan)}), "NaN"),
        (state(**{ORIGINAL: "text"}), "not a tensor"),
    ],
)
def test_states_of_other_layers(states, match):
    with pytest.raises(ValueError, match=match):
        orthonormal_heads(states, "x.pt")


@pytest.mark.parametrize(
    ("states", "match"),
    [
        ({}, "holds"),
        (phis((6,)), "holds"),
        (phis((6, 4, 2)), "holds"),
        (dict(reversed(phis().items())), "holds"),
        ({"phi1": torch.ones(3), "phi2": torch.ones(3)}, "not a dict"),
        ({**phis(), "phi2": {"weight": torch.ones(3, 4)}}, "not a dict"),
        ({**phis(), "phi2": linear(torch.ones(3, 4), torch.ones(2))}, "2 biases"),
        ({**phis(), "phi2": linear(torch.ones(3), torch.ones(3))}, "not a tensor"),
    ],
)
def test_checkpoints_of_other_models(states, match):
    with pytest.raises(ValueError, match=match):
        softmax_heads(states, "x.pt", 2)


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


def hostile(tmp_path, name, good):
    """Members that spoil an archive; `name` is one of its layout."""
    yield {"../x.pt": good}
    yield {"/x.pt": good}
    yield {link(name): b"/etc/passwd"}
    yield {name: checkpoint({"phi1": Payload(tmp_path / "ran")})}
    yield {name: good[: len(good) // 2]}
    yield {name: bytes(20 << 20)}
    yield {name: checkpoint(state(n_classes=1))}
    if "linear_task" in name:
        beside = name.replace("linear_task", "results").replace(".pt", ".pickle")
        yield {name: good, beside: pickle.dumps({"CV_Score": Payload(tmp_path / "ran")})}
        yield {name: good, beside: b"no pickle"}
        yield {name: good, beside: pickle.dumps({"CV_Score": 0.5, "x": bytes(1 << 20)})}
        yield {name: good, link(beside): b"/etc/passwd"}
    yield {name.replace("moco_dino", "moco_..").replace("cifar100.pt", "...pt"): good}


@pytest.mark.parametrize(
    ("kind", "good", "name", "other"),
    [
        ("hume-tasks", checkpoint(state()), HUME.format(1), HUME.format(2)),
        ("turtle-tasks", checkpoint(phis()), TURTLE, TURTLE.replace("100", "10")),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_hostile_archives_leave_everything_as_it_was(tmp_path, kind, good, name, other, overwrite):
    output = tmp_path / "out"
    fine = write_zip(tmp_path / "fine.zip", {other: good})
    import_released(kind, fine, output)
    before = tree(output)
    for members in hostile(tmp_path, name, good):
        archive = write_zip(tmp_path / "bad.zip", {other: good, **members})
        with pytest.raises(ValueError):  # noqa: PT011  the messages are test_archives.py's
            import_released(kind, archive, output, overwrite=overwrite)
        assert tree(output) == before
        assert not (tmp_path / "ran").exists()
    with pytest.raises(ValueError, match=r"already exists; pass --overwrite"):
        import_released(kind, fine, output)
    import_released(kind, fine, output, overwrite=True)
    assert tree(output) == before


@pytest.mark.parametrize("kind", ["hume-tasks", "turtle-tasks"])
def test_archives_of_another_layout(tmp_path, kind):
    archive = write_zip(tmp_path / "x.zip", {"linear_task_1.pt": checkpoint(state())})
    with pytest.raises(ValueError, match=r"layout"):
        import_released(kind, archive, tmp_path / "out")
    odd = TURTLE.replace("clipvitL14_dinov2", "a_b_c")
    with pytest.raises(
        ValueError, match=r"found .* 'a_b_c'; no single way to split 'a_b_c' into 2"
    ):
        import_released("turtle-tasks", write_zip(tmp_path / "x.zip", {odd: b""}), tmp_path / "out")
    twins = {"a/" + TURTLE: checkpoint(phis()), "b/" + TURTLE: checkpoint(phis())}
    with pytest.raises(ValueError, match=r"more than one file"):
        import_released("turtle-tasks", write_zip(tmp_path / "x.zip", twins), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_imported_tasks_are_scored_on_imported_embeddings(tmp_path):
    rows = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    layer = parametrizations.orthogonal(torch.nn.Linear(5, 4, bias=False))
    labels = (rows @ layer.weight.detach().numpy().T).argmax(1)
    data = {
        "data/representations/mocov2/stl10test_l2.npy": npy(rows),
        "data/labels/stl10test_targets.npy": npy((labels + 1) % 4),  # clusters have other names
    }
    tasks = {"tasks/inductive/moco_dino/stl10/linear_task_42.pt": checkpoint(layer.state_dict())}
    import_released("hume-embeddings", write_zip(tmp_path / "data.zip", data), tmp_path)
    import_released("hume-tasks", write_zip(tmp_path / "tasks.zip", tasks), tmp_path / "tasks")
    folders = (tmp_path / name for name in ("tasks", "embeddings", "labels"))
    scores, skipped, votes = evaluate_tasks(*folders)
    assert dict(zip(scores["metric"], scores["value"]))["cluster_accuracy"] == 1
    assert skipped.empty
    assert votes.empty  # one run


def test_scores_of_other_things_are_refused_with_what_to_do(tmp_path):
    name = HUME.format(3).replace("linear_task", "results").replace(".pt", ".pickle")
    for content, match in (
        (pickle.dumps({"CV_Score": Payload(tmp_path / "ran")}), r"holds '(posix|nt)\.mkdir'"),
        (pickle.dumps({"ACC": 0.5}), r"finite number 'CV_Score'"),
        (b"x" * 70000, r"70000 bytes, above"),
    ):
        members = {HUME.format(3): checkpoint(state()), name: content}
        archive = write_zip(tmp_path / "x.zip", members)
        with pytest.raises(ValueError, match=match) as found:
            import_released("hume-tasks", archive, tmp_path / "out")
        assert name in str(found.value)
        assert "without it in the archive, `evaluate-tasks` computes the score" in str(found.value)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out").exists()


def test_an_unknown_kind(tmp_path):
    with pytest.raises(ValueError, match=r"kind='tasks' must be .*turtle-tasks"):
        import_released("tasks", tmp_path / "x.zip", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no archive"):
        import_released("turtle-tasks", tmp_path / "x.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()
