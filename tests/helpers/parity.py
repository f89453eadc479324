"""Replay recorded trajectories of the published programs through this project's own code.

`replay_turtle` and `replay_hume` read a recording (layout: tests/data/parity/README.md), run the
functions that the estimators call with the recorded weights and batches, and return the
recording's result arrays under the same names.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hume_turtle.core.batching import Batches
from hume_turtle.core.hume_solver import ANNEAL_AT, minimise_hume
from hume_turtle.core.task_encoders import OrthonormalEncoder, SoftmaxEncoder, with_constant
from hume_turtle.core.turtle_solver import minimise_turtle
from hume_turtle.core.unrolled import HeadSpace, UnrolledDescent
from hume_turtle.estimators.labeling import hard_labels
from hume_turtle.estimators.scores import cross_validation_score

DIGITS = Path(__file__).parents[3] / "shared" / "parity" / "digits_embeddings.npz"
# A recording's name to ours.
TURTLE_HISTORY = {"prediction_error": "cross_entropy", "entropy": "entropy"}
HUME_HISTORY = {"train_error": "train_loss", "test_error": "test_loss", "entropy": "entropy"}


def digits(names: list[str]) -> tuple[list[np.ndarray], np.ndarray]:
    """The published program's digits in the named spaces, and their labels; or skip the test."""
    if not DIGITS.exists():
        pytest.skip("the published embeddings are not here")
    with np.load(DIGITS) as file:
        return [file[name] for name in names], file["labels"]


def read(path) -> tuple[dict, dict[str, np.ndarray]]:
    """The settings and the arrays of a recording."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return json.loads(str(arrays.pop("config"))), arrays


def join_bias(weight: np.ndarray, bias: np.ndarray) -> Tensor:
    """Weights (..., C, d) and biases (..., C) as heads (..., C, d + 1)."""
    return torch.from_numpy(np.concatenate([weight, bias[..., None]], axis=-1))


def replay_turtle(path) -> dict[str, np.ndarray]:
    """TURTLE's result arrays, computed here from a recording's start and batches."""
    config, recorded = read(path)
    K = range(config["spaces"])
    encoder = SoftmaxEncoder(
        *[
            [torch.from_numpy(recorded[f"encoder{k}_{part}"])[None] for k in K]
            for part in ("weight_v", "weight_g", "bias")
        ]
    )
    starts = [
        join_bias(recorded[f"inner{k}_weight_init"], recorded[f"inner{k}_bias_init"]) for k in K
    ]  # K tensors (T or 1, C, d_k + 1)
    rows = torch.from_numpy(recorded["batch_indices"]).long()  # (T, B)
    spaces = [recorded[f"z{k}_train"] for k in K]
    inner, history = minimise_turtle(
        Batches(spaces, rows.shape[1], torch.device("cpu"), torch.float32),
        rows,
        encoder,
        ([start[t][None] for start in starts] for t in range(len(starts[0]))),
        gamma=torch.tensor([config["gamma"]]),
        inner_steps=config["inner_steps"],
        inner_lr=torch.tensor([config["inner_lr"]]),
        outer_lr=torch.tensor([config["outer_lr"]]),
        warm_start=config["warm_start"],
    )
    heads = [head.detach() for head in encoder.heads()]
    result = {name: history[ours][:, 0].numpy() for name, ours in TURTLE_HISTORY.items()}
    for name, final in (("encoder", heads), ("inner", inner)):
        for k in K:
            result[f"{name}{k}_weight_final"] = final[k][0, :, :-1].numpy()
            result[f"{name}{k}_bias_final"] = final[k][0, :, -1].numpy()
    return {**result, "labels_test": hard_labels(heads, [recorded[f"z{k}_test"] for k in K])[0]}


def replay_hume(path) -> dict[str, np.ndarray]:
    """HUME's result arrays, computed here from a recording's start, subsets and inner heads."""
    config, recorded = read(path)
    state = "encoder_state/parametrizations.weight."
    encoder = OrthonormalEncoder(
        torch.from_numpy(recorded[f"{state}original"])[None],
        torch.from_numpy(recorded[f"{state}0.base"])[None],
    )
    heads = join_bias(recorded["inner_weight_init"], recorded["inner_bias_init"])
    heads = heads.expand(config["outer_steps"], config["n_subsets"], -1, -1)  # (T, S, C, d_2 + 1)
    space1 = torch.from_numpy(recorded["z1"])
    gradients, trajectory = [], []

    def watch(gradient: Tensor, *_) -> None:
        gradients.append(gradient[0])
        trajectory.append(encoder.weight[0].detach())

    history = minimise_hume(
        space1,
        HeadSpace(with_constant(torch.from_numpy(recorded["z2"]))),
        encoder,
        torch.from_numpy(recorded["subset_indices"]).long()[:, None],
        heads[:, None],
        UnrolledDescent(config["inner_steps"], config["inner_lr"]),
        gamma=torch.tensor([config["entropy_weight"]]),
        outer_lr=torch.tensor([config["outer_lr"]]),
        **{name: config[name] for name in ("train_fraction", "temperature")},
        anneal_at=ANNEAL_AT if config["anneal"] else (),
        watch=watch,
    )
    labels = (space1 @ trajectory[-1].T).argmax(1).numpy()
    return {
        **{name: history[ours][:, 0].numpy() for name, ours in HUME_HISTORY.items()},
        "parameter_gradient": torch.stack(gradients).numpy(),
        "encoder_weight_trajectory": torch.stack(trajectory).numpy(),
        "labels_final": labels,
        "cross_validation_score": np.array(cross_validation_score(recorded["z2"], labels)),
    }
