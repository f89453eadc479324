"""Variants of a method: which one stands for it, and on which rows each is scored."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hume_turtle.reporting.names import family


def main_method(scores: pd.DataFrame, method: str) -> str:
    """The key of the variant that stands for "turtle" or "hume", chosen by no score.

    The one whose settings were selected, as the paper's were, else the warm start, else the method
    without variants, else the first by name; `method` itself where none was run.
    """
    order = [f"{method}-selected", f"{method}-warm", method]
    run = sorted({key for key in scores["method"] if family(key) == method})
    return min(run, key=lambda key: (order.index(key) if key in order else 3, key), default=method)


def one_variant(scores: pd.DataFrame) -> pd.DataFrame:
    """The long table with the `main_method` of TURTLE and of HUME alone, as "turtle" and "hume"."""
    for method in ("turtle", "hume"):
        main = main_method(scores, method)
        other = (scores["method"].map(family) == method) & (scores["method"] != main)
        scores = scores[~other.astype(bool)].replace({"method": {main: method}})
    return scores


def evaluated(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of the long table that methods are compared by, each scored in its own way.

    A transductive method has scores of train and test together, the split "all", which count where
    it has them; those of the test split count elsewhere.
    """
    whole = scores["split"] == "all"
    transductive = whole.groupby([scores["dataset"], scores["method"]]).transform("any")
    return scores[np.where(transductive, whole, scores["split"] == "test").astype(bool)]
