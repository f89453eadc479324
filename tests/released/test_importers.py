"""One entrance for every kind of released archive; then the imported tasks are scored."""

import numpy as np
import pytest
import torch
from torch.nn.utils import parametrizations

from hume_turtle.released.importers import import_released
from hume_turtle.released.tasks import evaluate_tasks
from tests.released.test_archives import checkpoint, npy, write_zip


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
    scores, left_out = evaluate_tasks(*folders)
    assert dict(zip(scores["metric"], scores["value"]))["cluster_accuracy"] == 1
    assert left_out.empty


def test_an_unknown_kind(tmp_path):
    with pytest.raises(ValueError, match=r"unknown kind 'tasks'.*turtle-tasks"):
        import_released("tasks", tmp_path / "x.zip", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no archive"):
        import_released("turtle-tasks", tmp_path / "x.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()
