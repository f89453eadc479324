"""The stage `fit`: TURTLE and HUME in every space combination of the suite; no label is read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from inspect import signature
from itertools import pairwise
from pathlib import Path

from hume_turtle.estimators.base import LabelingEstimator
from hume_turtle.estimators.hume import Hume
from hume_turtle.estimators.selection import select
from hume_turtle.estimators.turtle import Turtle
from hume_turtle.pipeline.kept import inputs_of, is_kept, kept
from hume_turtle.pipeline.machine import hardware
from hume_turtle.pipeline.parallel import in_parallel
from hume_turtle.pipeline.settings import Method, Settings, check_keys, fresh_folder
from hume_turtle.storage.files import atomic_write

ESTIMATORS: dict[str, type[LabelingEstimator]] = {"hume": Hume, "turtle": Turtle}


def run(suite: Settings, dataset: str) -> None:
    """Fit every method of the suite in its space combinations with every seed.

    In a suite with `resume: true` fits are kept whose settings, embeddings and code are the same.
    """
    for key, method in suite.methods.items():
        known = signature(ESTIMATORS[method.estimator]).parameters
        check_keys(f"fit.{key}.settings", suite.settings(key, dataset), known)
        check_keys(f"fit.{key}.grid", method.grid or (), known)
        check_seeds(key, method.seeds, suite.settings(key, dataset).get("n_runs", 1))
    folder = suite.data / "fits" / dataset
    folder.mkdir(parents=True, exist_ok=True) if suite.resumes else fresh_folder(folder)
    # HUME, then pairs, then single spaces: the long jobs first, so that no core waits at the end.
    jobs = [
        (suite, dataset, key, names)
        for key in suite.methods
        for names in reversed(suite.method_choices(key, dataset))
    ]
    options = {"threads": suite.params["threads"], "large": suite.is_large(dataset)}
    in_parallel(fit_method, jobs, f"{dataset} fits", **options)


def check_seeds(key: str, seeds: list[int], n_runs: int) -> None:
    """Raise ValueError where two fits would share runs: run i of a fit has the seed `seed + i`."""
    if any(later - seed < n_runs for seed, later in pairwise(sorted(seeds))):
        raise ValueError(f"{key}: seeds {seeds} of {n_runs} runs each must lie {n_runs} apart")


def fit_method(suite: Settings, dataset: str, key: str, names: tuple[str, ...]) -> None:
    """Fit one method in one space combination with every seed, and save the fits."""
    method = suite.methods[key]
    settings = suite.settings(key, dataset)
    model = ESTIMATORS[method.estimator](suite.params["classes"][dataset], **settings)
    stated = {"split": method.split, "settings": settings, "grid": method.grid}
    spaces = suite.spaces(dataset, names, method.split)
    for seeds in together(model, method, len(spaces[0])):
        paths = [suite.fit_path(dataset, key, names, seed) for seed in seeds]
        inputs = inputs_of(suite, "fit", dataset, names, method=key, seeds=seeds, **stated)
        if not all(is_kept(path, inputs) for path in paths):
            fits = fit_seeds(suite, method, model, spaces, paths, inputs)
            if suite.params["fit"].get("record", False):
                record(paths[0].parent)  # first: after a kill, a fit that counts has its record
            for path, fitted in zip(paths, fits):
                with kept(path, inputs):
                    fitted.save(path)
        for path in paths:  # joined in the fit; also where a kill came before this line
            shutil.rmtree(path.parent / "runs" / path.stem, ignore_errors=True)


def together(model: LabelingEstimator, method: Method, n: int) -> list[Sequence[int]]:
    """Seeds that are solved as one batch: all, or each alone where that gains nothing.

    TURTLE's seeds draw batches of their own unless a batch is all rows, and a grid is a batch.
    """
    alone = method.grid or n > getattr(model, "batch_size", n)
    return [[seed] for seed in method.seeds] if alone else [method.seeds]


def fit_seeds(
    suite: Settings, method: Method, model: LabelingEstimator, spaces: list, paths: list, inputs
) -> list[LabelingEstimator]:
    """A fit for the seed of each path: as one batch, chosen from a grid, or in blocks of runs."""
    seeds = [int(path.stem) for path in paths]
    if method.grid:
        return [fit_grid(model.set_params(seed=seeds[0]), spaces, method.grid, paths[0])]
    at_once = suite.params["fit"][method.estimator].get("runs_at_once")
    if at_once and model.n_runs > at_once:
        return [
            fit_runs(model.set_params(seed=seed), spaces, at_once, path, inputs)
            for seed, path in zip(seeds, paths)
        ]
    return model.fit_many(spaces, [{"seed": seed} for seed in seeds])


def fit_grid(model: Turtle, spaces: list, grid: dict, path: Path) -> Turtle:
    """TURTLE with every setting of a grid, as one batch; the fit with the best score.

    The score is the generalization score, which reads no label; `<seed>.csv` has that of each.
    """
    found = select(model, spaces, grid)
    with atomic_write(path.with_suffix(".csv"), "w", encoding="utf-8") as file:
        found.table().to_csv(file, index=False, lineterminator="\n")
    return found.chosen


def fit_runs(model: Hume, spaces: list, at_once: int, path: Path, inputs: dict | None) -> Hume:
    """HUME with many runs, in blocks that are kept until all are there."""
    folder, parts = path.parent / "runs" / path.stem, []
    for first in range(0, model.n_runs, at_once):
        part, count = folder / f"{first}.npz", min(at_once, model.n_runs - first)
        if not is_kept(part, inputs):
            own = {**model.get_params(), "seed": model.seed + first, "n_runs": count}
            with kept(part, inputs):
                Hume(**own).fit(spaces).save(part)
        parts.append(Hume.load(part, device=model.device))
    return Hume.join(parts, spaces)


def record(folder: Path) -> None:
    """Write when and on what the fits of a folder were made."""
    made = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "hardware": hardware()}
    with atomic_write(folder / "made.json", "w", encoding="utf-8") as file:
        file.write(json.dumps(made, indent=1) + "\n")


def load_fits(suite: Settings, dataset: str, key: str) -> dict[str, list[LabelingEstimator]]:
    """The fits of a method: spaces joined by "+" to one fit per seed; none that the suite lacks.

    Raises:
        FileNotFoundError: if the stage has not run.
    """
    folder = suite.data / "fits" / dataset
    if not folder.is_dir():
        raise FileNotFoundError(f"no fits in {folder}: run the pipeline first (make repro)")
    method = suite.methods[key]
    kind, fits = ESTIMATORS[method.estimator], {}
    for names in sorted(suite.method_choices(key, dataset), key="+".join):
        paths = [suite.fit_path(dataset, key, names, seed) for seed in sorted(method.seeds)]
        if found := [kind.load(path, device="cpu") for path in paths if path.exists()]:
            fits["+".join(names)] = found
    return fits
