"""Progress of long loops: a bar for a person who watches, a line every half minute for a file."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterable, Iterator

LINES = {  # tqdm's settings for a file, and for worker processes that share one terminal
    "mininterval": 30,
    "maxinterval": 30,
    "delay": 30,
    "bar_format": "{desc}: {n_fmt}/{total_fmt} done, {rate_fmt}, {remaining} left\n",
}


class Silent:
    """A bar that shows nothing."""

    def __init__(self, steps: Iterable | None) -> None:
        self.steps = steps

    def __iter__(self) -> Iterator:
        return iter(self.steps)

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *error) -> None:
        pass

    def update(self, n: int) -> None:
        pass


def progress(steps=None, total: int | None = None, label: str = "", **options):
    """tqdm's progress of a loop on standard error; `TQDM_DISABLE=1` switches it off.

    Without tqdm, which fitting does not need, nothing is shown.

    Args:
        steps: what is looped over; None for a bar whose `update(n)` the caller calls.
        total: number of steps.
        label: what is done, such as "TURTLE".
        options: further options of tqdm, such as `initial` and `unit`.
    """
    try:
        from tqdm import tqdm
    except ImportError:
        return Silent(steps)
    if sys.stderr is None:
        options = {"disable": True, **options}
    elif not sys.stderr.isatty() or multiprocessing.parent_process() is not None:
        options = {**LINES, **options}
    return tqdm(steps, label, total, leave=False, **options)
