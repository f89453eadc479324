"""What `hume-turtle bench` compares: a case is methods side by side on the same data.

The first method of a case is the plain reference, whose seconds are divided by the others'.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from hume_turtle.benchmarks.methods import (
    Method,
    Spaces,
    converged_turtle,
    hume,
    k_means,
    plain_hume,
    plain_turtle,
    turtle,
)
from hume_turtle.core.precision import has_bf16
from hume_turtle.pipeline.fit import ESTIMATORS
from hume_turtle.pipeline.suite import Suite


@dataclass(frozen=True)
class Case:
    """A name, data (spaces, and true labels for the score or None), and the methods by name."""

    name: str
    data: Callable[[], tuple[Spaces, np.ndarray | None]]
    methods: dict[str, Method]


def speed_cases(suite: Suite, device: str, full: bool = False) -> list[Case]:
    """The cases of the `speed` table; those on the digits only where the suite has them.

    The short form takes minutes: what is slow is repeated less, and HUME on 10,000 rows takes 30
    inner steps. `full` takes all 300 and repeats whole runs with ten seeds.
    """
    cases = mixture_cases(device, full)
    return [*cases, *digits_cases(suite, device, full)] if "digits" in suite.datasets else cases


def mixture_cases(device: str, full: bool) -> list[Case]:
    large, small = partial(mixture, 50_000, (768, 1536)), partial(mixture, 1797, (128,))
    most, inner_steps = (6000, 300) if full else (150, 30)
    note = f"stops when labels have converged, at most {most} outer iterations"
    stopping = Method(converged_turtle(10, device, most), repeats=3 if full else 1, note=note)
    subset = "HUME, one subset of 10,000 x 1536, an outer iteration"
    subset += "" if full else f" of {inner_steps} inner steps"
    one = {"n_subsets": 1, "inner_steps": inner_steps}
    return [
        *(
            Case(
                f"TURTLE, 50,000 x (768 + 1536), C = {C}, an outer iteration",
                partial(large, C),
                turtle_steps(C, device, 5, reference_steps=3),
            )
            for C in (10, 100)
        ),
        Case(
            "TURTLE, 1797 x 128, C = 10, an outer iteration",
            small,
            turtle_steps(10, device, 100, reference_steps=20),
        ),
        Case(
            "TURTLE, 1797 x 128, C = 10, 16 batched runs, per run",
            small,
            turtle_steps(10, device, 20, reference_steps=20, runs=16),
        ),
        Case(
            "TURTLE, 50,000 x 2304 overlapping mixture, a whole run",
            large,
            {
                "reference that stops by itself": stopping,
                **quick_methods(device, repeats=10 if full else 3),
            },
        ),
        Case(
            subset,
            partial(mixture, 10_000, (768, 1536)),
            {
                "reference": Method(plain_hume(10, device, **one), 1, overhead=False),
                "exact fp32": Method(hume(10, device, precision="fp32", **one), 1),
            },
        ),
    ]


def digits_cases(suite: Suite, device: str, full: bool) -> list[Case]:
    """Cases that are read with the digits' true labels at hand."""
    letters, both = (partial(digits, suite, names) for names in ("letters", "moco+letters"))
    plain, warm = plain_turtle(10, device, warm_start=True), turtle(10, device, warm_start=True)
    turtle_whole = {
        "reference, warm start": Method(plain, repeats=10 if full else 1),
        "published, warm start": Method(warm, repeats=10 if full else 1),
        **quick_methods(device, repeats=10),
    }
    one = Method(plain_hume(10, device), 1, overhead=False, repeats=5 if full else 2)
    hume_steps = {
        "reference": one,
        **{
            f"exact {p}": Method(hume(10, device, precision=p), 1, precision=p)
            for p in precisions(device)
        },
        "coarse": Method(hume(10, device, inner="coarse"), 5),
        "coarse + rank 48": Method(hume(10, device, inner="coarse", rank=48), 5),
    }
    fast = Method(hume(10, device, recipe="fast"), repeats=10 if full else 3)
    extrapolated = "the reference extrapolated from one of 1000 outer iterations"
    hume_whole = {
        "reference": replace(one, scale=1000, repeats=5 if full else 1),
        "fast recipe": fast,
    }
    return [
        Case("TURTLE, digits, a whole run", letters, turtle_whole),
        Case("HUME, digits, an outer iteration", both, hume_steps),
        Case(f"HUME, digits, a whole run ({extrapolated})", both, hume_whole),
    ]


GROWTH = {
    "n": (1000, 4000, 16_000, 64_000),
    "d": (64, 256, 1024, 4096),
    "C": (10, 40, 160, 640),
    "runs": (1, 4, 16, 64),
}


def growth_cases(device: str, full: bool = False) -> list[tuple[str, int, Case]]:
    """How seconds grow along four axes, from 4000 x 256, 10 classes, one run: (axis, value, case).

    The reference takes batched runs one after the other: its seconds are those of one, times R.
    `full` adds the points between.
    """
    cases = []
    for axis, grid in GROWTH.items():
        between = [2 * value for value in grid[:-1]] if full else []
        for value in sorted([*grid, *between]):
            at = {"n": 4000, "d": 256, "C": 10, "runs": 1} | {axis: value}
            n, d, C, runs = at.values()
            # One quick iteration is too short for the clock: the less work, the more of them.
            steps = int(np.clip(1e8 / (min(n, 10_000) * d * C * runs), 2, 50))
            methods = {
                "reference": Method(plain_turtle(C, device), steps, scale=runs),
                "turtle": Method(turtle(C, device, runs), steps),
            }
            case = Case(f"{axis} = {value}", partial(mixture, n, (d,), C), methods)
            cases.append((axis, value, case))
    return cases


def suite_cases(suite: Suite, dataset: str) -> list[Case]:
    """One fit of every method with the suite's settings, one case per space combination."""
    if dataset not in suite.datasets:
        raise ValueError(f"no dataset {dataset} in this suite: it has {', '.join(suite.datasets)}")
    classes = suite.params["classes"][dataset]

    def method(key: str) -> Method:
        kind = ESTIMATORS[suite.methods[key].estimator]
        make = partial(kind, classes, **suite.settings(key, dataset))
        return Method(lambda spaces, _, seed: make(seed=seed).fit(spaces).labels_, repeats=3)

    def data(names: tuple[str, ...]):
        return suite.spaces(dataset, names, suite.fit_split), None

    fitted = {  # a grid is no fit
        key: suite.method_choices(key, dataset)
        for key in reversed(suite.methods)
        if suite.methods[key].grid is None
    }
    cases = []
    for names in dict.fromkeys(names for choices in fitted.values() for names in choices):
        methods = {"k-means": Method(k_means(classes), repeats=3)}
        methods |= {key: method(key) for key, choices in fitted.items() if names in choices}
        cases.append(Case("+".join(names), partial(data, names), methods))
    return cases


def mixture(n: int, dims: tuple[int, ...], n_classes: int = 10, seed: int = 0):
    """Spaces (n, d_k) that show the same mixture of overlapping Gaussians, and the classes (n,).

    In 32 latent dimensions the class centres have std 0.6 and the rows around them 1. Each
    space is a random linear map of the latent rows, with noise of std 1.
    """
    random = np.random.default_rng(seed)
    labels = random.integers(0, n_classes, n)
    centres = random.normal(0, 0.6, (n_classes, 32))
    latent = (centres[labels] + random.normal(size=(n, 32))).astype(np.float32)  # (n, 32)
    spaces = []
    for d in dims:
        space = random.standard_normal((n, d), dtype=np.float32)
        space += latent @ (random.standard_normal((32, d), dtype=np.float32) / 32**0.5)
        spaces.append(space)
    return spaces, labels


def digits(suite: Suite, names: str):
    """All the digits in the named spaces, and their true labels."""
    return suite.spaces("digits", names, "all"), suite.labels("digits", "all")


def precisions(device: str) -> tuple[str, ...]:
    """Those that the machine computes in."""
    return ("fp32", "bf16") if has_bf16(torch.device(device)) else ("fp32",)


def turtle_steps(C: int, device: str, steps: int, *, reference_steps: int, runs: int = 1):
    """An outer iteration of TURTLE's published warm start, per run."""
    name = "reference" if runs == 1 else "reference (solo)"
    methods = {name: Method(plain_turtle(C, device, warm_start=True), reference_steps)}
    for precision in precisions(device):
        fit = turtle(C, device, runs, precision=precision, warm_start=True)
        methods[precision] = Method(fit, steps, scale=1 / runs, precision=precision)
    return methods


def quick_methods(device: str, repeats: int) -> dict[str, Method]:
    """TURTLE's fast recipe and scikit-learn's k-means."""
    return {
        "fast recipe": Method(turtle(10, device, recipe="fast"), repeats=repeats),
        "k-means": Method(k_means(10), repeats=repeats),
    }
