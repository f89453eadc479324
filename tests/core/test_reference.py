"""The plain references against the published programs' recorded trajectories."""

from collections import deque
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from hume_turtle.core import reference
from hume_turtle.core.reference import (
    reference_hume,
    reference_turtle,
    reference_turtle_labels,
)
from hume_turtle.evaluation.metrics import cluster_accuracy
from tests.helpers.parity import read

RECORDINGS = Path(__file__).parents[1] / "data" / "parity"


@pytest.fixture
def replay(monkeypatch):
    """`replay(layers, rows)`: linear layers start from these (weight, bias or None), and what is
    drawn without replacement are these rows, each in turn."""

    def make(layers, rows):
        layers, rows = iter(layers), iter(rows)

        def start(layer: nn.Linear) -> None:
            for parameter, value in zip((layer.weight, layer.bias), next(layers)):
                if value is not None:
                    parameter.data = torch.tensor(value)

        draw = SimpleNamespace(choice=lambda n, size, replace: next(rows))
        monkeypatch.setattr(nn.Linear, "reset_parameters", start)
        monkeypatch.setattr(reference.np.random, "default_rng", lambda seed: draw)

    return make


@pytest.mark.parametrize("name", ["turtle_cold_2spaces", "turtle_warm_1space"])
def test_turtle_follows_the_recording(name, replay):
    config, recorded = read(RECORDINGS / f"{name}.npz")
    K = range(config["spaces"])
    encoder = []
    for k in K:
        v, g = recorded[f"encoder{k}_weight_v"], recorded[f"encoder{k}_weight_g"]
        weight = g * v / np.linalg.norm(v, axis=1, keepdims=True)
        encoder.append((weight, recorded[f"encoder{k}_bias"]))
    heads = [recorded[f"inner{k}_{part}_init"] for k in K for part in ("weight", "bias")]
    heads = [(parts[2 * k], parts[2 * k + 1]) for parts in zip(*heads) for k in K]
    replay([*encoder, *heads], recorded["batch_indices"])

    spaces = [recorded[f"z{k}_train"] for k in K]
    names = ("gamma", "outer_steps", "inner_steps", "inner_lr", "outer_lr", "warm_start")
    settings = {name: config[name] for name in names}
    settings["batch_size"] = recorded["batch_indices"].shape[1]
    (layers,) = deque(reference_turtle(spaces, len(encoder[0][1]), **settings), maxlen=1)
    for k in K:
        for part in ("weight", "bias"):
            found = getattr(layers[k], part).detach().numpy()
            wanted = recorded[f"encoder{k}_{part}_final"]
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    labels = reference_turtle_labels(layers, [recorded[f"z{k}_test"] for k in K])
    np.testing.assert_array_equal(labels, recorded["labels_test"])


@pytest.mark.parametrize("name", ["hume_random_init", "hume_anneal_fixed_init"])
def test_hume_follows_the_recording(name, replay, monkeypatch):
    config, recorded = read(RECORDINGS / f"{name}.npz")
    heads = [recorded[f"inner_{part}_init"] for part in ("weight", "bias")]
    heads = list(zip(*(part.reshape(-1, *part.shape[2:]) for part in heads)))
    fixed = len(heads) == 1
    C, d = recorded["encoder_weight_init"].shape
    layers = chain([(np.zeros((C, d), np.float32), None)], repeat(heads[0]) if fixed else heads)
    rows = recorded["subset_indices"]
    replay(layers, rows.reshape(-1, rows.shape[-1]))
    names = {key for key in recorded if key.startswith("encoder_state/")}
    state = {key.removeprefix("encoder_state/"): torch.tensor(recorded[key]) for key in names}

    orthogonal = reference.parametrizations.orthogonal

    def recorded_start(layer: nn.Linear) -> nn.Linear:
        layer = orthogonal(layer)
        layer.load_state_dict(state)
        return layer

    monkeypatch.setattr(reference.parametrizations, "orthogonal", recorded_start)
    names = ("temperature", "outer_steps", "inner_steps", "n_subsets")
    names += ("train_fraction", "inner_lr", "outer_lr")
    run = reference_hume(
        recorded["z1"],
        recorded["z2"],
        C,
        subset_size=rows.shape[-1],
        gamma=config["entropy_weight"],
        **{name: config[name] for name in names},
    )
    weights = np.stack([weight.numpy() for weight in run])
    trajectory = recorded["encoder_weight_trajectory"]
    np.testing.assert_allclose(weights[:10], trajectory[:10], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(weights, trajectory, rtol=1e-3, atol=1e-3)
    labels = (recorded["z1"] @ weights[-1].T).argmax(1)
    np.testing.assert_array_equal(labels, recorded["labels_final"])


def test_turtle_finds_planted_classes_from_its_own_draws(blobs):
    spaces, planted = blobs(120, 3, (6, 5))
    settings = {"outer_steps": 100, "inner_steps": 5, "outer_lr": 0.02, "warm_start": True}
    (encoder,) = deque(reference_turtle(spaces, 3, **settings, batch_size=100), maxlen=1)
    assert cluster_accuracy(planted, reference_turtle_labels(encoder, spaces)) == 1
