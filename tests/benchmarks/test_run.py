"""The benchmark's harness on tiny cases and made-up clocks; no test looks at a real time."""

import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hume_turtle.benchmarks import cases, run
from hume_turtle.benchmarks.cases import (
    Case,
    growth_cases,
    mixture,
    speed_cases,
    suite_cases,
)
from hume_turtle.benchmarks.methods import (
    Method,
    converged_turtle,
    k_means,
    plain_turtle,
    with_steps,
)
from hume_turtle.benchmarks.run import measure, measure_case, peak_memory, repetition
from hume_turtle.evaluation.metrics import cluster_accuracy
from hume_turtle.pipeline.suite import GROWTH_COLUMNS, SPEED_COLUMNS, TIMING_COLUMNS, Suite


@pytest.fixture
def clock(monkeypatch):
    """A clock that fits advance by themselves: `clock.takes(setup, step)` makes such a fit, which
    also notes its (name, outer iterations, seed) in `clock.calls`."""
    state = SimpleNamespace(now=0.0, calls=[])

    def takes(name: str, step: float, setup: float = 0.0, labels=None):
        def fit(spaces, steps, seed):
            state.calls.append((name, steps, seed))
            state.now += setup + step * (10 if steps is None else steps) * (1 + seed)
            return labels

        return fit

    state.takes = takes
    monkeypatch.setattr(time, "perf_counter", lambda: state.now)
    return state


def case(methods: dict[str, Method], truth=None, name: str = "tiny") -> Case:
    return Case(name, lambda: ([np.zeros((4, 2), np.float32)], truth), methods)


@pytest.fixture
def suite(tmp_path) -> Suite:
    shutil.copy(Path(__file__).parents[2] / "params.yaml", tmp_path)
    return Suite.open(tmp_path)


def test_methods_alternate_with_the_repetition_as_seed(clock):
    slow, quick = clock.takes("slow", 2), clock.takes("quick", 1)
    rows = measure_case(
        case({"reference": Method(slow, repeats=2), "ours": Method(quick, repeats=3)}), "cpu"
    )
    assert [(name, seed) for name, _, seed in clock.calls] == [
        ("slow", 0),
        ("quick", 0),
        ("slow", 1),
        ("quick", 1),
        ("quick", 2),
    ]
    reference, ours = rows
    assert (reference["method"], reference["seconds"], reference["repeats"]) == ("reference", 30, 2)
    assert (ours["method"], ours["seconds"], ours["repeats"]) == ("ours", 20, 3)  # the median
    assert (reference["ratio"], ours["ratio"]) == (1, 1.5)


@pytest.mark.parametrize(
    ("method", "seconds", "calls"),
    [
        ({}, 27.0, [None]),  # a whole fit: its setup counts
        ({"steps": 5}, 2.0, [6, 1]),  # an outer iteration: it does not
        ({"steps": 5, "overhead": False}, 3.4, [5]),  # nothing to leave out
        ({"steps": 4, "scale": 1 / 16}, 2.0 / 16, [5, 1]),  # one of 16 batched runs
        ({"steps": 1, "overhead": False, "scale": 1000}, 9000.0, [1]),  # extrapolated
    ],
)
def test_seconds_of_a_repetition(clock, method, seconds, calls):
    fit = clock.takes("fit", step=2, setup=7)
    took, _ = repetition(Method(fit, **method), [], 0, "cpu")
    assert took == pytest.approx(seconds)
    assert [steps for _, steps, _ in clock.calls] == calls


def test_accuracy_is_of_whole_fits_with_labels(clock):
    truth, found = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    methods = {
        "reference": Method(clock.takes("part", 1, labels=truth), steps=2),
        "ours": Method(clock.takes("whole", 1, labels=truth[::-1]), repeats=2),
        "worse": Method(clock.takes("whole", 1, labels=found)),
    }
    reference, ours, worse = measure_case(case(methods, truth), "cpu")
    assert np.isnan([reference["accuracy"], reference["worst"]]).all()
    assert [ours["accuracy"], ours["worst"]] == [1, 1]
    assert [worse["accuracy"], worse["worst"]] == [0.75, 0.75]


def test_mean_and_worst_over_seeds():
    truth, found = np.array([0, 0, 1, 1]), np.array([[1, 1, 0, 0], [0, 1, 1, 1]])
    (row,) = measure_case(case({"ours": Method(lambda *a: found[a[2]], repeats=2)}, truth), "cpu")
    assert (row["accuracy"], row["worst"]) == (0.875, 0.75)


def test_timed_says_what_was_measured():
    words = [
        Method(None).timed,
        Method(None, 1).timed,
        Method(None, 5, scale=1 / 16).timed,
        Method(None, 1, scale=1000, note="why").timed,
    ]
    assert words == [
        "a whole fit",
        "1 outer iteration",
        "5 outer iterations",
        "1 outer iteration of 1000; why",
    ]


def small_tables(monkeypatch, clock) -> None:
    """Let `measure` meet one tiny case of each sort."""
    labels = np.array([0, 1, 0, 1])
    methods = {
        "reference": Method(clock.takes("reference", 4, labels=labels), repeats=1),
        "bf16": Method(clock.takes("bf16", 1, labels=labels), precision="bf16", repeats=1),
    }
    monkeypatch.setattr(run, "speed_cases", lambda *_: [case(methods, labels, "a, b")])
    monkeypatch.setattr(run, "growth_cases", lambda *_: [("n", 4, case(methods))])
    monkeypatch.setattr(run, "suite_cases", lambda *_: [case(methods)])
    monkeypatch.setattr(run, "peak_memory", lambda *_: 3e6)
    monkeypatch.setattr(run, "processor", lambda: "ours")
    monkeypatch.setattr(run, "instructions", lambda: "AVX9")


def test_measure_writes_three_tables_beside_other_hardware(suite, clock, monkeypatch):
    small_tables(monkeypatch, clock)
    assert suite.speed().columns.tolist() == SPEED_COLUMNS
    measure(suite, "digits")
    measure(suite, "digits")  # replaces its own rows
    speed, growth, timings = suite.speed(), suite.growth(), suite.timings()
    assert speed.columns[:7].tolist() == [
        *("case", "method", "precision", "seconds", "ratio", "accuracy", "peak_memory_mb")
    ]
    assert speed.columns.tolist() == SPEED_COLUMNS
    assert growth.columns.tolist() == GROWTH_COLUMNS
    assert timings.columns.tolist() == TIMING_COLUMNS
    assert speed.iloc[:, :7].values.tolist() == [
        ["a, b", "reference", "fp32", 40, 1, 1, 3],
        ["a, b", "bf16", "bf16", 10, 4, 1, 3],
    ]
    assert speed["hardware"].str.contains("threads of ours, AVX9").all()
    assert growth[["axis", "value", "method", "seconds"]].values.tolist() == [
        ["n", 4, "reference", 40],
        ["n", 4, "bf16", 10],
    ]
    assert timings["value"].tolist() == [40, 10]

    monkeypatch.setattr(run, "processor", lambda: "another")
    measure(suite, "digits")
    assert suite.speed()["hardware"].str.contains("another").tolist() == [False, False, True, True]
    assert len(suite.growth()) == 4
    assert len(suite.timings()) == 2


def test_hardware_names_the_instructions_in_effect(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX9")
    for name in run.LIMITS:
        monkeypatch.delenv(name, raising=False)
    assert run.machine("cpu")["hardware"].endswith(f"{run.processor()}, AVX9")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert run.instructions() == "AVX9 (ONEDNN_MAX_CPU_ISA=AVX2)"


def test_nothing_is_written_when_a_case_fails(suite, clock, monkeypatch):
    small_tables(monkeypatch, clock)

    def fail(*_):
        raise RuntimeError("no")

    failing = case({"reference": Method(fail)})
    monkeypatch.setattr(run, "growth_cases", lambda *_: [("n", 4, failing)])
    with pytest.raises(RuntimeError, match="no"):
        measure(suite, "digits")
    assert not (suite.root / "data" / "measured").exists()


def test_unknown_dataset(suite):
    with pytest.raises(ValueError, match="no dataset letters in this suite: it has digits"):
        suite_cases(suite, "letters")


def test_tables_that_were_never_measured_are_empty(suite):
    assert len(suite.speed()) == len(suite.growth()) == len(suite.timings()) == 0
    assert suite.growth().columns.tolist() == GROWTH_COLUMNS


def allocation(held: int, needed: int):
    """A function that needs so many bytes for a moment, beside those that it holds, and has
    needed more before."""
    np.ones(4 * needed, np.uint8)
    data = np.ones(held, np.uint8)
    return lambda: np.ones(needed, np.uint8).sum() + data[0]


def test_peak_memory_is_what_the_work_needs_above_its_data():
    needed = 100_000_000
    assert peak_memory("cpu", allocation, 200_000_000, needed) == pytest.approx(needed, rel=0.1)


def test_on_a_gpu_memory_is_pytorchs_and_clocks_wait(clock, monkeypatch):
    used, waited = [5.0, 5.0], []
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: used[0])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: used.__setitem__(1, used[0]))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: used[1])
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: waited.append(clock.now))
    used[1] = 100.0  # of an earlier fit
    assert peak_memory("cuda", lambda: lambda: used.__setitem__(1, 12.0)) == 7
    assert np.isnan(peak_memory("cuda", lambda: lambda: None))  # nothing there: not on the GPU
    repetition(Method(clock.takes("fit", 2)), [], 0, "cuda")
    assert waited == [0, 20]


def test_a_child_process_prepares_a_short_fit(suite, clock, monkeypatch):
    methods = {"whole": Method(clock.takes("a", 1)), "part": Method(clock.takes("b", 1), 5)}
    cases = [case({}, name="other"), case(methods)]
    monkeypatch.setattr(run, "speed_cases", lambda *_: cases)
    for name in methods:
        run._fit_of(suite.folder, "cpu", False, "tiny", name)()
    assert clock.calls == [("a", 2, 0), ("b", 5, 0)]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("bf16", [False, True])
def test_the_cases_that_targets_are_read_from(suite, monkeypatch, full, bf16):
    monkeypatch.setattr(cases, "has_bf16", lambda device: bf16)
    found = {case.name: case for case in speed_cases(suite, "cpu", full)}
    part = "" if full else " of 30 inner steps"
    assert set(found) == {
        "TURTLE, 50,000 x (768 + 1536), C = 10, an outer iteration",
        "TURTLE, 50,000 x (768 + 1536), C = 100, an outer iteration",
        "TURTLE, 1797 x 128, C = 10, an outer iteration",
        "TURTLE, 1797 x 128, C = 10, 16 batched runs, per run",
        "TURTLE, digits, a whole run",
        "TURTLE, 50,000 x 2304 overlapping mixture, a whole run",
        "HUME, digits, an outer iteration",
        f"HUME, one subset of 10,000 x 1536, an outer iteration{part}",
        "HUME, digits, a whole run (the reference extrapolated from one of 1000 outer iterations)",
    }
    for case in found.values():
        assert next(iter(case.methods)).startswith("reference")
        some = any(method.scale > 1 for method in case.methods.values())
        assert ("extrapolated" in case.name) == some  # in the first column that a reader sees
        for name, method in case.methods.items():
            assert method.precision == ("bf16" if "bf16" in name else "fp32")
    joint = found["TURTLE, 1797 x 128, C = 10, 16 batched runs, per run"].methods
    assert list(joint) == ["reference (solo)", "fp32", "bf16"][: 2 + bf16]
    assert (joint["reference (solo)"].scale, joint["fp32"].scale) == (1, 1 / 16)
    hume = found["HUME, digits, an outer iteration"].methods
    assert ("exact bf16" in hume) == bf16


def test_batched_runs_of_the_reference_follow_one_another():
    found = {(axis, value): case for axis, value, case in growth_cases("cpu")}
    assert {axis for axis, _ in found} == {"n", "d", "C", "runs"}
    for (axis, value), case in found.items():
        assert case.methods["reference"].scale == (value if axis == "runs" else 1)
        assert case.methods["turtle"].scale == 1


def test_mixture_shows_overlapping_classes_in_every_space():
    spaces, labels = mixture(2000, (40, 80))
    assert [(z.shape, z.dtype) for z in spaces] == [((2000, 40), "f4"), ((2000, 80), "f4")]
    for z in spaces:
        assert 1 < np.square(z).mean() ** 0.5 < 2  # of order one
        found = k_means(10)([z], None, 0)
        assert 0.3 < cluster_accuracy(labels, found) < 0.99
    again, _ = mixture(2000, (40, 80))
    np.testing.assert_array_equal(spaces[1], again[1])


def test_the_reference_stops_when_labels_rest(blobs, monkeypatch):
    spaces, _ = blobs(60, 3, (6,))
    wild, steps = [torch.nn.Linear(6, 3) for _ in range(4)], []

    def run(*_, outer_steps, **settings):
        for t in range(1, outer_steps + 1):
            steps.append(t)
            yield [wild[min(t // 50, 3)]]  # labels rest from iteration 150 on

    monkeypatch.setattr("hume_turtle.benchmarks.methods.reference_turtle", run)
    labels = converged_turtle(3, "cpu", 1000)(spaces, None, 0)
    assert len(labels) == 60
    assert steps[-1] == 300  # 200, 250 and 300 are as the one before
    steps.clear()
    converged_turtle(3, "cpu", 220)(spaces, None, 0)
    assert steps[-1] == 220


def test_the_fast_recipe_decides_its_iterations_itself():
    assert with_steps({"gamma": 1.0}, 3) == {"gamma": 1.0, "outer_steps": 3}
    assert with_steps({"gamma": 1.0}, None) == {"gamma": 1.0}
    assert with_steps({"recipe": "fast"}, 3) == {"recipe": "fast"}


def test_the_plain_reference_labels_whole_runs_only(blobs):
    spaces, _ = blobs(20, 2, (3, 3))
    assert plain_turtle(2, "cpu")(spaces, 2, 0) is None
