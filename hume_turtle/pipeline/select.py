"""The stage `select`: TURTLE with a grid of settings, and their scores; no label is read."""

from __future__ import annotations

import json
from inspect import signature

import numpy as np
import pandas as pd

from hume_turtle.estimators import selection
from hume_turtle.estimators.turtle import Turtle
from hume_turtle.pipeline.kept import inputs_of, is_kept, kept
from hume_turtle.pipeline.parallel import in_parallel
from hume_turtle.pipeline.settings import Settings, check_keys, fresh_folder
from hume_turtle.storage.files import atomic_write


def run(suite: Settings) -> None:
    """Fit TURTLE with every setting of a grid and compute the generalization scores.

    For each dataset `<dataset>.csv`, one row per fit, and `<dataset>.npz` with their `labelings`
    (R, n), so that accuracies can be computed where true labels are allowed. In a suite with
    `resume: true` the parts of a grid are kept in `data/<suite>/parts/selection`.
    """
    settings = suite.params["selection"]
    check_keys("selection.grid", settings.get("grid", {}), signature(Turtle).parameters)
    check_keys("selection.datasets", settings["datasets"], suite.datasets)
    folder = fresh_folder(suite.data / "selection")
    for dataset in settings["datasets"]:
        grids = one_value_each(settings["grid"])
        jobs = [(suite, dataset, names, grid) for names in settings["spaces"] for grid in grids]
        options = {"threads": suite.params["threads"], "large": suite.is_large(dataset)}
        tables, labelings = zip(*in_parallel(fit_grid, jobs, f"{dataset} grids", **options))
        with atomic_write(folder / f"{dataset}.csv", "w", encoding="utf-8") as file:
            pd.concat(tables).to_csv(file, index=False, lineterminator="\n")
        with atomic_write(folder / f"{dataset}.npz") as file:
            np.savez_compressed(file, labelings=np.concatenate(labelings))


def one_value_each(grid: dict[str, list]) -> list[dict[str, list]]:
    """The grid in parts, one for each value of its first setting: jobs for as many cores."""
    first = next(iter(grid))
    return [{**grid, first: [value]} for value in grid[first]]


def shared_settings(suite: Settings, dataset: str) -> dict:
    """What TURTLE is fitted with on a dataset besides the grid, without what a variant sets."""
    section = suite.params["fit"]["turtle"]
    return {**section.get("settings", {}), **section.get("datasets", {}).get(dataset, {})}


def fit_grid(suite: Settings, dataset: str, names: list[str], grid: dict[str, list]):
    """Fit TURTLE with every setting of a grid in one space combination; table and labelings."""
    own, seed = shared_settings(suite, dataset), suite.params["fit"]["seeds"][0]
    stated = {"split": suite.fit_split, "settings": own, "seed": seed, "grid": grid}
    inputs = inputs_of(suite, "select", dataset, names, **stated)
    (value, *_), spaces = next(iter(grid.values())), "+".join(names)
    part = suite.data / "parts" / "selection" / dataset / f"{spaces}-{value}.npz"
    if is_kept(part, inputs):
        with np.load(part) as file:
            table = pd.DataFrame(json.loads(str(file["table"])))
            return table.astype({"loss": np.float32}), file["labelings"]
    model = Turtle(suite.params["classes"][dataset], seed=seed, **own)
    found = selection.select(model, suite.spaces(dataset, names, suite.fit_split), grid)
    table = found.table().rename(columns={"score": "generalization_score"})
    table.insert(0, "dataset", dataset)
    table.insert(1, "spaces", spaces)
    if inputs is not None:
        text = json.dumps(table.to_dict("records"))  # every float exactly
        with kept(part, inputs), atomic_write(part) as file:
            np.savez(file, labelings=found.labelings, table=np.array(text))
    return table, found.labelings
