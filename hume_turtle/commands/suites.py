"""The commands of a suite: `plan`, `stage`, `verify` and `bench`.

Nothing heavy is imported before the process has the variables that its libraries read.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from importlib import import_module
from pathlib import Path

from hume_turtle.pipeline.settings import STAGES, Settings
from hume_turtle.runtime import environment, is_x86, restart, threads_of_libraries


def suite_environment(suite: Settings) -> dict[str, str]:
    return environment(suite.params["threads"], suite.params.get("same_bits", True))


def plan(options: argparse.Namespace) -> int:
    suite = Settings.open(options.suite)
    suite.check()
    if options.own_process:
        restart(suite_environment(suite))  # measure what the stages will have

    from hume_turtle.pipeline.plan import plan

    return plan(suite, options.device)


def stage(options: argparse.Namespace) -> None:
    suite, listed = Settings.open(), STAGES[options.stage]
    suite.check()
    if listed is None and options.item is not None:
        raise ValueError(f"{options.stage} takes no further argument")
    if listed is not None and options.item not in suite.params[listed]:
        problem = f"{options.stage} needs" if options.item is None else f"{options.item} is not"
        known = ", ".join(suite.params[listed]) or "none"
        raise ValueError(f"{problem} one of the {listed} in params.yaml: {known}")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads starve busy machines
    if options.own_process:
        restart(suite_environment(suite))
    if suite.params.get("same_bits", True) and not is_x86():
        own = "its own instructions, and last bits other than in git"
        print(f"{platform.machine()}, not x86-64: {own}", file=sys.stderr)
    module = import_module(f"hume_turtle.pipeline.{options.stage}")
    module.run(suite, *([options.item] if listed else []))


def verify(options: argparse.Namespace) -> int | None:
    if options.own_process:
        restart(suite_environment(Settings.open()))

    from hume_turtle.pipeline.verify import record, verify

    if options.record:
        return record(Path())
    return verify(Path(), options.brief, options.identical)


def bench(options: argparse.Namespace) -> None:
    settings = Settings.open()
    settings.check()
    os.environ.update(threads_of_libraries(settings.params["threads"]))
    os.environ["TQDM_DISABLE"] = "1"  # nothing but the methods is to be measured
    os.environ.pop("OMP_WAIT_POLICY", None)  # threads wait as they do for the library's users

    from hume_turtle.benchmarks.choices import measure_choices
    from hume_turtle.benchmarks.run import measure
    from hume_turtle.pipeline.suite import Suite

    suite = Suite(settings.folder, settings.params)
    if options.choices:
        return measure_choices(suite)
    return measure(suite, options.dataset, options.full)
