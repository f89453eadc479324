"""Fits in the authors' format label rows as before, by plain PyTorch and after an import."""

import pickle
import shutil

import numpy as np
import pytest
import torch
from torch.nn.utils import parametrizations

from hume_turtle import Hume, Turtle
from hume_turtle.released.export import export
from hume_turtle.released.importers import import_released
from hume_turtle.released.tasks import Task
from tests.helpers.trees import tree

NAMES = ["clipvitL14", "dinov2"]


def imported(kind, folder, tmp_path):
    """The tasks of an exported folder, by their file, after it was zipped and imported."""
    archive = shutil.make_archive(str(tmp_path / "made"), "zip", folder)
    paths = import_released(kind, archive, tmp_path / "imported").paths
    return {path.stem: Task.load(path) for path in paths}


def test_turtle_comes_back(tmp_path, blobs):
    spaces, _ = blobs(60, 3, (6, 4))
    for count in (1, 2):
        model = Turtle(3, outer_steps=20, inner_steps=2, device="cpu").fit(spaces[:count])
        model.save(tmp_path / "model.npz")
        (path,) = export(tmp_path / "model.npz", "cifar10", NAMES[:count], tmp_path / "out")
        folder = f"{count}space/{'_'.join(NAMES[:count])}"
        assert path == tmp_path / "out" / folder / "cifar10.pt"
        state = torch.load(path, weights_only=True)
        assert list(state) == ["phi1", "phi2"][:count]
        for key, space, head in zip(state, spaces, model.heads_):
            layer = torch.nn.Linear(space.shape[1], 3)
            layer.load_state_dict(state[key])
            np.testing.assert_array_equal(layer.weight.detach(), head[:, :-1])
            np.testing.assert_array_equal(layer.bias.detach(), head[:, -1])
        task = imported("turtle-tasks", tmp_path / "out", tmp_path)["imported"]
        np.testing.assert_array_equal(task.predict(spaces[:count]), model.labels_)
        shutil.rmtree(tmp_path / "out")
        shutil.rmtree(tmp_path / "imported")


@pytest.mark.parametrize("dim", [6, 3], ids=["completed", "square"])
def test_humes_runs_come_back_with_their_scores(tmp_path, blobs, dim):
    spaces, _ = blobs(60, 3, (dim, 4))
    settings = {"outer_steps": 5, "inner_steps": 2, "n_subsets": 1, "device": "cpu"}
    model = Hume(3, n_runs=3, seed=4, **settings).fit(spaces)
    model.save(tmp_path / "model.npz")
    before = torch.random.get_rng_state()
    export(tmp_path / "model.npz", "cifar10", ["moco", "dino"], tmp_path / "out")
    assert torch.equal(torch.random.get_rng_state(), before)
    folder = tmp_path / "out" / "moco_dino" / "cifar10"
    assert {path.name for path in folder.iterdir()} == {
        name.format(seed)
        for seed in (4, 5, 6)
        for name in ("linear_task_{}.pt", "results_{}.pickle")
    }
    tasks = imported("hume-tasks", tmp_path / "out", tmp_path)
    for run, seed in enumerate((4, 5, 6)):
        layer = parametrizations.orthogonal(torch.nn.Linear(dim, 3, bias=False))
        state = torch.load(folder / f"linear_task_{seed}.pt", weights_only=True)
        layer.load_state_dict(state)
        np.testing.assert_array_equal(layer.weight.detach(), model.heads_[0][run])
        score = pickle.loads((folder / f"results_{seed}.pickle").read_bytes())["CV_Score"]
        assert score == tasks[str(seed)].score == model.run_scores_[run]
        np.testing.assert_array_equal(tasks[str(seed)].predict(spaces[:1]), model.run_labels_[run])
    made = tree(tmp_path / "out")
    export(tmp_path / "model.npz", "cifar10", ["moco", "dino"], tmp_path / "out", overwrite=True)
    assert tree(tmp_path / "out") == made


def test_what_cannot_be_exported_writes_nothing(tmp_path, blobs):
    spaces, _ = blobs(60, 3, (6, 4))
    model, output = tmp_path / "model.npz", tmp_path / "out"
    Hume(3, outer_steps=2, inner_steps=1, n_subsets=1, device="cpu").fit(spaces).save(model)
    for spaces, dataset, match in (
        (["moco"], "cifar10", r"fitted in 2 spaces; 1 named"),
        (["moco", "a/b"], "cifar10", r"part of a path"),
        (["moco", "dino"], "..", r"part of a path"),
    ):
        with pytest.raises(ValueError, match=match):
            export(model, dataset, spaces, output)
    with pytest.raises(FileNotFoundError):
        export(tmp_path / "none.npz", "cifar10", ["moco", "dino"], output)
    Task("turtle", "x", ("a",), (np.ones((2, 3)),), "").save(tmp_path / "task.npz")
    with pytest.raises(ValueError, match=r"holds no Turtle and no Hume"):
        export(tmp_path / "task.npz", "cifar10", ["moco"], output)
    assert not output.exists()
    (path,) = export(model, "cifar10", ["moco", "dino"], output)  # one run: no score
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match=r"already exists; pass --overwrite"):
        export(model, "cifar10", ["moco", "dino"], output)
    assert path.read_bytes() == b"old"
