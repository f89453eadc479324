"""The papers' reported numbers, accepted tolerances, and the scoreboard that compares them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from hume_turtle.storage.names import slug

TOLERANCE = {"accuracy": 1.0, "ari": 2.0, "nmi": 1.0}  # percent, either way; better also counts
# Reported names to ours, where they differ.
REPORTED_METHODS = {"supervised linear probe": "linear-probe"}
REPORTED_METRICS = {"accuracy": "cluster_accuracy"}


def published_name(row) -> tuple[str, str, str, str]:
    """Method, spaces, dataset and metric of a reported number, as our long table names them."""
    return (
        REPORTED_METHODS.get(row["method"], slug(row["method"])),
        "+".join(map(slug, row["spaces"].split(" + "))),
        row["dataset"],
        REPORTED_METRICS.get(row["metric"], row["metric"]),
    )


def reported(folder: str | Path) -> pd.DataFrame:
    """Every reported number as one long table, in percent.

    Args:
        folder: data/reported, with hume_reported.csv and turtle_reported.csv.

    Returns:
        DataFrame with columns artefact, method, spaces (joined by " + "), dataset, metric,
        reported, source.
    """
    hume = pd.read_csv(Path(folder, "hume_reported.csv"))
    hume["spaces"] = hume["phi1"].str.cat(hume["phi2"], sep=" + ").fillna(hume["phi1"])
    turtle = pd.read_csv(Path(folder, "turtle_reported.csv"))
    table = pd.concat([hume, turtle], ignore_index=True).rename(columns={"value": "reported"})
    return table[["artefact", "method", "spaces", "dataset", "metric", "reported", "source"]]


def scoreboard(folder: str | Path, scores: pd.DataFrame) -> pd.DataFrame:
    """Every reported number beside ours: met, missed, or not run.

    A number is met if ours, the mean over seeds on the test split, is no more than the tolerance
    below the reported one. The two HUME rows for MoCo + DINO do not say which is inductive; ours
    is compared with both.

    Args:
        folder: data/reported.
        scores: the suite's long table of scores, as fractions.

    Returns:
        DataFrame: the columns of `reported`, and ours, difference, tolerance (percent), status.
    """
    table = reported(folder)
    test = scores[scores["split"] == "test"]
    means = test.groupby(["method", "spaces", "dataset", "metric"])["value"].mean()
    table["ours"] = [100 * means.get(published_name(row), np.nan) for _, row in table.iterrows()]
    table["difference"] = table["ours"] - table["reported"]
    table["tolerance"] = table["metric"].map(TOLERANCE)
    met = table["difference"] >= -table["tolerance"]
    table["status"] = np.where(table["ours"].isna(), "not run", np.where(met, "met", "missed"))
    return table
