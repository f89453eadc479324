"""The stage `report`: executed notebooks, their artefacts and the scores, to the folders in git."""

from __future__ import annotations

import json

import pandas as pd

from hume_turtle.pipeline.settings import Settings
from hume_turtle.reporting.publish import publish
from hume_turtle.reporting.tables import available_scores
from hume_turtle.storage.files import atomic_write


def run(suite: Settings) -> None:
    """Publish every artefact that params.yaml lists, each made by exactly one notebook.

    And the scores: `data/scores/<suite>.csv`, the long table with every seed, and
    `data/metrics/<suite>.json`, which `dvc metrics` and `dvc exp show` read.
    """
    publish(
        suite.data / "notebooks",
        suite.params["notebooks"],
        suite.params["artefacts"],
        suite.root / "figures" / suite.name,
        suite.root / "notebooks" / "executed" / suite.name,
    )
    scores, data = available_scores(suite), suite.root / "data"
    with atomic_write(data / "scores" / f"{suite.name}.csv", "w", encoding="utf-8") as file:
        scores.to_csv(file, index=False, float_format="%.6f", lineterminator="\n")
    with atomic_write(data / "metrics" / f"{suite.name}.json", "w", encoding="utf-8") as file:
        file.write(json.dumps(metrics(scores), indent=1) + "\n")


def metrics(scores: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """Dataset, method, spaces: the mean cluster accuracy over seeds, test split, in percent."""
    test = scores[(scores["split"] == "test") & (scores["metric"] == "cluster_accuracy")]
    nested = {}
    for (dataset, method, spaces), rows in test.groupby(["dataset", "method", "spaces"]):
        of_dataset = nested.setdefault(dataset, {})
        of_dataset.setdefault(method, {})[spaces] = round(100 * rows["value"].mean(), 2)
    return nested
