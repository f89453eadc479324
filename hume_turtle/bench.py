"""Seconds that each method takes; apart from the pipeline, which must repeat to the bit."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

from hume_turtle.suite import TIMING_COLUMNS, Suite, estimator_class

REPEATS = 3


def measure(suite: Suite, dataset: str) -> Path:
    """Time one fit of every method in every choice of spaces of a dataset, with suite settings.

    The methods alternate, `REPEATS` times; the medians go to `data/measured/<suite>.csv` with the
    date, the hardware and the number of threads.
    """
    import pandas as pd
    import torch

    from hume_turtle.files import atomic_write

    jobs = methods(suite, dataset)
    keys = {
        "date": date.today().isoformat(),
        "hardware": f"{torch.get_num_threads()} threads of {processor()}",
        "threads": torch.get_num_threads(),
        "dataset": dataset,
        "metric": "seconds",
    }
    rows = []
    for _ in range(REPEATS):
        for (method, spaces), job in jobs.items():
            start = time.perf_counter()
            job()
            seconds = time.perf_counter() - start
            rows.append({**keys, "method": method, "spaces": spaces, "value": seconds})
    names = [name for name in TIMING_COLUMNS if name != "value"]
    table = pd.DataFrame(rows).groupby(names, as_index=False, sort=False)["value"].median()
    path = suite.root / "data" / "measured" / f"{suite.name}.csv"
    with atomic_write(path, "w", encoding="utf-8") as file:
        table.to_csv(file, index=False, float_format="%.3f", lineterminator="\n")
    print(table[["method", "spaces", "value"]].to_string(index=False), f"\nwritten to {path}")
    return path


def methods(suite: Suite, dataset: str) -> dict[tuple[str, str], Callable]:
    """One fit of each method in each choice of spaces, as functions of nothing."""
    from hume_turtle.probes import KMeansBaseline

    settings, classes = suite.params["fit"], suite.params["classes"][dataset]

    def job(model, names: tuple[str, ...]) -> Callable:
        spaces = suite.spaces(dataset, names, suite.fit_split)
        return lambda: model.fit(spaces)

    jobs = {}
    for names in suite.choices():
        key = "+".join(names)
        jobs["k-means", key] = job(KMeansBaseline(classes), names)
        turtle = estimator_class("turtle")(classes, **settings["turtle"]["settings"])
        jobs["turtle", key] = job(turtle, names)
    for phi2 in settings["hume"]["phi2"]:
        names = (settings["hume"]["phi1"], phi2)
        hume = estimator_class("hume")(classes, **settings["hume"]["settings"])
        jobs["hume", "+".join(names)] = job(hume, names)
    return jobs


def processor() -> str:
    """The processor's name, where the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
