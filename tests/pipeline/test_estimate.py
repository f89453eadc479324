"""The work of fits and baselines as counted by hand, and the seconds that a machine takes."""

from __future__ import annotations

import pytest

from hume_turtle.estimators.hume import Hume
from hume_turtle.estimators.turtle import Turtle
from hume_turtle.pipeline import estimate
from hume_turtle.pipeline.estimate import EFFICIENCY, IMAGES, NETWORKS, Machine, Work, measure
from hume_turtle.pretraining.settings import STL10, MocoRecipe

MACHINE = Machine("cuda", 4, {"fp32": 1e12, "fp16": 4e12}, 1e10)


def test_turtle_as_counted_by_hand():
    model = Turtle(3, outer_steps=7, inner_steps=2, batch_size=50)
    product = 2 * 50 * 6 * 3  # 50 of 80 rows, 6 columns, 3 classes
    # A step of the inner heads: logits, gradient. Task encoder: logits, gradient; last logits.
    assert estimate.turtle(model, 80, 6).flops == 7 * (2 * 2 + 3) * product
    assert estimate.turtle(model, 80, 6).bytes == 7 * (2 * 2 + 3) * 4 * 50 * 6


def test_hume_as_counted_by_hand():
    settings = {"outer_steps": 3, "inner_steps": 5, "n_subsets": 2, "subset_size": 40}
    model = Hume(4, **settings, train_fraction=0.5)
    product = 2 * 20 * 6 * 4  # half of 40 rows
    assert estimate.hume(model, 100, 6).flops == 3 * 2 * 5 * 4 * product  # two each way
    scored = 10 * 4 * 100 * 6 * 4 * estimate.EVALUATIONS  # each of several runs, in ten folds
    runs = estimate.hume(model.set_params(n_runs=7), 100, 6)
    assert runs.flops == 7 * (3 * 2 * 5 * 4 * product + scored)


def test_a_grid_is_as_many_fits_each_with_its_score():
    model, grid = Turtle(3), {"warm_start": [True, False], "inner_lr": [1e-3, 1e-2, 1e-1]}
    fit = estimate.turtle(model, 100, 6).flops
    score = estimate.logistic(100, 6, 3).flops
    assert estimate.selected(model, grid, 100, 6).flops == 6 * (fit + 10 * score)


def test_k_means_stops_at_its_last_iteration():
    assert estimate.k_means(100, 6, 3, starts=10, iterations=5).flops == 10 * 5 * 2 * 100 * 6 * 3
    long = estimate.k_means(100, 6, 3, starts=1, iterations=10**6)
    assert long.flops == estimate.ITERATIONS * 2 * 100 * 6 * 3


def test_moco_shows_each_image_as_two_views():
    symmetric = estimate.moco(10, 100, MocoRecipe(epochs=3))
    assert symmetric.flops == 2 * (3 + 1) * 10 * 100 * 3
    assert estimate.moco(10, 100, MocoRecipe(**STL10, epochs=3)).flops == symmetric.flops / 2


def test_seconds_are_those_of_the_products_or_of_reading_memory():
    assert MACHINE.seconds(Work(1e12, 0)) == pytest.approx(1 / EFFICIENCY)
    assert MACHINE.seconds(Work(1e12, 0), "fp16") == pytest.approx(1 / EFFICIENCY / 4)
    assert MACHINE.seconds(Work(1e6, 3e10)) == pytest.approx(3)


def test_a_gpu_waits_for_slow_reading_and_a_cpu_does_both():
    reading = 1200 / (IMAGES * 4)
    assert MACHINE.embedding_seconds(1200, 10, "fp32") == pytest.approx(reading)
    large = 1200 * 1e12 / (EFFICIENCY * 1e12)
    assert MACHINE.embedding_seconds(1200, 10**12, "fp32") == pytest.approx(large)
    cpu = MACHINE._replace(device="cpu")
    both = 1200 * 1e12 / (NETWORKS["cpu"] * 1e12) + reading
    assert cpu.embedding_seconds(1200, 10**12, "fp32") == pytest.approx(both)


def test_this_machine_is_measured():
    machine = measure("cpu", {"bf16"}, seconds=0.01)
    assert machine.device == "cpu"
    assert set(machine.flops) == {"fp32", "bf16"}
    assert min(*machine.flops.values(), machine.bandwidth, machine.threads) > 0
    with pytest.raises(ValueError, match="not a device"):
        measure("gpu of a friend", set())
