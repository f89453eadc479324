"""The stage `fit`: TURTLE and HUME in every space combination of the suite; no label is read."""

from __future__ import annotations

from inspect import signature

from hume_turtle.estimators.base import LabelingEstimator
from hume_turtle.estimators.hume import Hume
from hume_turtle.estimators.turtle import Turtle
from hume_turtle.pipeline.parallel import in_parallel
from hume_turtle.pipeline.settings import Settings, check_keys, fresh_folder

ESTIMATORS: dict[str, type[LabelingEstimator]] = {"hume": Hume, "turtle": Turtle}


def run(suite: Settings, dataset: str) -> None:
    """Fit TURTLE and HUME in their space combinations with every seed."""
    for method, kind in ESTIMATORS.items():
        known = signature(kind).parameters
        check_keys(f"fit.{method}.settings", suite.settings(method, dataset), known)
    fresh_folder(suite.data / "fits" / dataset)
    # HUME, then pairs, then single spaces: the long jobs first, so that no core waits at the end.
    jobs = [
        (suite, dataset, method, names)
        for method in ESTIMATORS
        for names in reversed(suite.method_choices(method))
    ]
    in_parallel(fit_seeds, jobs, f"{dataset} fits")


def fit_seeds(suite: Settings, dataset: str, method: str, names: tuple[str, ...]) -> None:
    """Fit one method in one space combination with every seed, as one batch, and save the fits."""
    classes, seeds = suite.params["classes"][dataset], suite.params["fit"]["seeds"]
    model = ESTIMATORS[method](classes, **suite.settings(method, dataset))
    fits = model.fit_many(
        suite.spaces(dataset, names, suite.fit_split), [{"seed": seed} for seed in seeds]
    )
    for seed, fitted in zip(seeds, fits):
        fitted.save(suite.fit_path(dataset, method, names, seed))


def load_fits(suite: Settings, dataset: str, method: str) -> dict[str, list[LabelingEstimator]]:
    """The fits of "turtle" or "hume": spaces joined by "+" to one fit per seed.

    Raises:
        FileNotFoundError: if the stage has not run.
    """
    folder = suite.data / "fits" / dataset
    if not folder.is_dir():
        raise FileNotFoundError(f"no fits in {folder}: run the pipeline first (make repro)")
    return {
        spaces.name: [
            ESTIMATORS[method].load(path, device="cpu")
            for path in sorted(spaces.glob("*.npz"), key=lambda path: int(path.stem))
        ]
        for spaces in sorted(folder.glob(f"{method}/*"))  # none where the suite does not fit it
    }
