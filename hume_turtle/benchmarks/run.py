"""Seconds, memory and accuracy of every method beside a plain reference implementation.

Apart from the pipeline, which must repeat to the bit. In each case (cases.py) the methods
alternate in one process, and the medians of their repetitions are reported. Where a case is an
outer iteration, a repetition takes several and reports their mean; where it is a whole run of a
method that would take hours, the seconds of an iteration times the number of iterations, and the
name of the case says so. The column `timed` says which. Peak memory is what a fit needs above its
embeddings.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from hume_turtle.benchmarks.cases import (
    Case,
    growth_cases,
    mixture,
    precisions,
    speed_cases,
    suite_cases,
)
from hume_turtle.benchmarks.methods import Method, Spaces, hume, k_means, now, plain_turtle, turtle
from hume_turtle.core.precision import pick_device
from hume_turtle.evaluation.metrics import cluster_accuracy
from hume_turtle.pipeline.machine import processor
from hume_turtle.pipeline.suite import GROWTH_COLUMNS, SPEED_COLUMNS, TIMING_COLUMNS, Suite
from hume_turtle.runtime import AVX2
from hume_turtle.storage.files import atomic_write

LIMITS = (*AVX2, "MKL_ENABLE_INSTRUCTIONS")  # variables that hold libraries to less than they can


def measure(suite: Suite, dataset: str, full: bool = False) -> None:
    """Measure this machine: its GPU where there is one, else its CPU.

    Writes to data/measured/, all or nothing: `<suite>.csv`, the seconds of one fit of every method
    in every space combination of `dataset` with the suite's settings; `speed.csv`, the cases of
    `speed_cases`; and `growth.csv`, those of `growth_cases`. The last two keep what other hardware
    has measured. `full` takes more repetitions and longer runs.
    """
    device = pick_device("auto").type
    tables = {
        suite.name: timing_table(suite, dataset, device),
        "speed": speed_table(suite, device, full),
        "growth": growth_table(device, full),
    }
    if "bf16" not in precisions(device):
        print("no rows in bf16: this machine has no such instructions")
    for name, table in tables.items():
        path = suite.root / "data" / "measured" / f"{name}.csv"
        if name in ("speed", "growth"):
            table = beside_other_hardware(getattr(suite, name)(), table)
        with atomic_write(path, "w", encoding="utf-8") as file:
            table.to_csv(file, index=False, float_format="%.4g", lineterminator="\n")
        print("written to", path)


def timing_table(suite: Suite, dataset: str, device: str) -> pd.DataFrame:
    """Seconds of one fit, with `TIMING_COLUMNS`."""
    keys = {"dataset": dataset, "metric": "seconds"}
    rows = [
        {**keys, "spaces": case.name, "value": row["seconds"], **row}
        for case in suite_cases(suite, dataset)
        for row in measure_case(case, device)
    ]
    return pd.DataFrame(rows)[TIMING_COLUMNS]


def speed_table(suite: Suite, device: str, full: bool) -> pd.DataFrame:
    """Every method of every speed case, with `SPEED_COLUMNS`."""
    rows = []
    for case in speed_cases(suite, device, full):
        print(case.name, flush=True)
        for row in measure_case(case, device):
            prepared = (_fit_of, suite.folder, device, full, case.name, row["method"])
            row["peak_memory_mb"] = peak_memory(device, *prepared) / 1e6
            rows.append({"case": case.name, **row})
            print("  {method}: {seconds:.4g} s, {ratio:.3g} x".format(**row), flush=True)
    return pd.DataFrame(rows)[SPEED_COLUMNS]


def growth_table(device: str, full: bool) -> pd.DataFrame:
    """Seconds of an outer iteration along each axis, with `GROWTH_COLUMNS`."""
    rows = [
        {"axis": axis, "value": value, **row}
        for axis, value, case in growth_cases(device, full)
        for row in measure_case(case, device)
    ]
    return pd.DataFrame(rows)[GROWTH_COLUMNS]


def beside_other_hardware(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """The new rows, after those rows of the old ones that other hardware or threads gave."""
    keys = ["hardware", "threads"]
    kept = old[~old.set_index(keys).index.isin(new.set_index(keys).index)]
    return pd.concat([kept, new], ignore_index=True) if len(kept) else new


def measure_case(case: Case, device: str) -> list[dict]:
    """Alternate the methods of a case; a dict of medians for each.

    `ratio` is the first method's seconds by its own; `accuracy` the mean cluster accuracy over the
    repetitions, `worst` the lowest, both NaN where the case has no labels.
    """
    spaces, truth = case.data()
    seconds, scores = ({name: [] for name in case.methods} for _ in range(2))
    for seed in range(max(method.repeats for method in case.methods.values())):
        for name, method in case.methods.items():
            if seed < method.repeats:
                took, labels = repetition(method, spaces, seed, device)
                seconds[name].append(took)
                if truth is not None and labels is not None:
                    scores[name].append(cluster_accuracy(truth, labels))
    reference = np.median(next(iter(seconds.values())))
    return [
        {
            "method": name,
            "precision": method.precision,
            "seconds": np.median(seconds[name]),
            "ratio": reference / np.median(seconds[name]),
            "accuracy": np.mean(scores[name]) if scores[name] else np.nan,
            "worst": min(scores[name], default=np.nan),
            "repeats": method.repeats,
            "timed": method.timed,
            **machine(device),
        }
        for name, method in case.methods.items()
    ]


def repetition(method: Method, spaces: Spaces, seed: int, device: str):
    """Seconds as the method's attributes define them, and the labels of a whole fit, else None."""

    def timed(steps: int | None):
        start = now(device)
        labels = method.fit(spaces, steps, seed)
        return now(device) - start, labels

    if method.steps is None:
        seconds, labels = timed(None)
        return seconds * method.scale, labels
    if method.overhead:
        seconds = timed(1 + method.steps)[0] - timed(1)[0]
    else:
        seconds = timed(method.steps)[0]
    return seconds / method.steps * method.scale, None


def peak_memory(device: str, prepare: Callable[..., Callable[[], object]], *arguments) -> float:
    """Bytes that `prepare(*arguments)()` needs at most, above what `prepare` itself holds.

    On the CPU the resident memory of a process of its own, so that nothing is counted which
    another fit has left behind; `prepare` is then a function of a module. On a GPU what PyTorch
    allocates there, or NaN if that is nothing.
    """
    if device == "cuda":
        work = prepare(*arguments)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() - before or np.nan
    # A new process by exec would inherit the peak of this one; by fork, its sleeping threads. The
    # second module is what PyTorch's optimisers load when first used: once is enough.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hume_turtle.benchmarks.run", "torch._dynamo"])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_resident_peak, prepare, *arguments).result()


def _resident_peak(prepare: Callable, *arguments) -> int:
    import resource  # not on Windows

    work = prepare(*arguments)
    unit = 1 if platform.system() == "Darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if Path("/proc/self/clear_refs").exists():  # Linux: forget the peak so far, know the present
        Path("/proc/self/clear_refs").write_text("5")
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        before = pages * os.sysconf("SC_PAGE_SIZE")
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before


def _fit_of(folder: Path, device: str, full: bool, case: str, method: str) -> Callable[[], object]:
    """A short fit of a method of a case; its data and the libraries are loaded."""
    (found,) = (c for c in speed_cases(Suite.open(folder), device, full) if c.name == case)
    spaces, _ = found.data()
    chosen = found.methods[method]
    load_libraries(device)
    return lambda: chosen.fit(spaces, chosen.steps or 2, 0)


def load_libraries(device: str) -> None:
    """Fit next to nothing, since some 150 MB of code are loaded when they are first used."""
    spaces, _ = mixture(40, (12, 12))
    fits = plain_turtle(10, device), turtle(10, device), k_means(10)
    fits += (hume(10, device, inner_steps=1, n_subsets=1),)
    for fit in fits:
        fit(spaces, 1, 0)


def machine(device: str) -> dict:
    """When and on what: the columns `date`, `hardware` and `threads`."""
    threads = torch.get_num_threads()
    if device == "cuda":
        hardware = torch.cuda.get_device_name()
    else:
        hardware = f"{threads} threads of {processor()}, {instructions()}"
    return {"date": date.today().isoformat(), "hardware": hardware, "threads": threads}


def instructions() -> str:
    """The instruction set that PyTorch uses, and the variables that hold the libraries to one."""
    limits = [f"{name}={os.environ[name]}" for name in LIMITS if name in os.environ]
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{capability} ({', '.join(limits)})" if limits else capability
