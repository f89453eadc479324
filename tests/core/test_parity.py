"""The published programs' recorded trajectories, reproduced by this project's code."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.parity import read, replay_hume, replay_turtle

RECORDINGS = Path(__file__).parents[1] / "data" / "parity"


@pytest.mark.parametrize("name", ["turtle_cold_2spaces", "turtle_warm_1space"])
def test_turtle_agrees_with_the_published_program(name):
    path = RECORDINGS / f"{name}.npz"
    config, recorded = read(path)
    result = replay_turtle(path)
    parts = ("encoder{}_weight_final", "encoder{}_bias_final")
    parts += ("inner{}_weight_final", "inner{}_bias_final")
    expected = {part.format(k) for part in parts for k in range(config["spaces"])}
    assert set(result) == expected | {"prediction_error", "entropy", "labels_test"}
    for key, values in result.items():
        assert values.shape == recorded[key].shape, key
        np.testing.assert_allclose(values, recorded[key], rtol=1e-5, atol=2e-6, err_msg=key)


@pytest.mark.parametrize("name", ["hume_random_init", "hume_anneal_fixed_init"])
def test_hume_agrees_with_the_published_program(name):
    path = RECORDINGS / f"{name}.npz"
    _, recorded = read(path)
    result = replay_hume(path)
    assert set(result) == {
        "train_error",
        "test_error",
        "entropy",
        "parameter_gradient",
        "encoder_weight_trajectory",
        "labels_final",
        "cross_validation_score",
    }
    for key, values in result.items():
        assert values.shape == recorded[key].shape, key
        np.testing.assert_allclose(values, recorded[key], rtol=1e-4, atol=1e-5, err_msg=key)
