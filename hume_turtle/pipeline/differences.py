"""Numbers of two runs side by side, and how far one may move without a reason to worry.

With other instructions or versions the last bits differ, and a labeling may end elsewhere, as it
does with another seed. So a number may move as far as it might if its seeds were drawn anew:

    tolerance = max(FACTOR · s · sqrt(2 / n), FLOOR · the largest number of its column)

where s is the standard deviation over seeds and n how many seeds the number is a mean of, both from
the committed run; s · sqrt(2 / n) is the standard deviation of the difference of two such means.
The floor, half a point in percent or three of the digits' six hundred test images, is for numbers
that hardly depend on a seed, or have none, as the linear probe's. Measured times are copied from
data/measured, so they have to be the same.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

FACTOR, FLOOR = 4, 0.005
SCORE = ["dataset", "method", "spaces", "split", "metric"]  # what names a score, but for its seed
Spread = dict[tuple[str, ...], tuple[float, int]]  # of a SCORE: s and n


def mean_scores(scores: pd.DataFrame) -> tuple[pd.DataFrame, Spread]:
    """The long table's means over seeds, and their spread; over all datasets as that of "mean"."""
    means = scores.groupby(SCORE)["value"].agg(mean="mean", s="std", n="count").reset_index()
    means["s"] = means["s"].fillna(0.0)
    over = means.groupby(SCORE[1:])  # the mean of independent means
    means_of = over.agg(s=("s", lambda s: np.hypot.reduce(s) / len(s)), n=("n", "min"))
    known = pd.concat([means, means_of.reset_index().assign(dataset="mean")])
    return means[[*SCORE, "mean"]], dict(
        zip(zip(*(known[c] for c in SCORE)), zip(known.s, known.n))
    )


def differences(
    table: str,
    committed: pd.DataFrame,
    here: pd.DataFrame,
    spread: Spread,
    grid: Collection[str] = (),
) -> pd.DataFrame:
    """Every number of a table in both runs, and `size`: how far it moved, in tolerances.

    A column of floats is numbers, unless it is a setting of the grid; the others name the rows.
    Columns: name, committed, here, size, which is infinite where a number is missing on one side.
    """
    floats = pd.concat([committed, here]).select_dtypes("float")
    values = [column for column in floats if column not in grid]
    names = [column for column in committed if column not in values]
    sides = (one_a_row(side, names, values) for side in (committed, here))
    pairs = pd.merge(*sides, "outer", [*names, "nth", "column"], suffixes=("_committed", "_here"))
    largest = committed[values].abs().max().fillna(0.0)

    alike, runs = [name for name in names if name != "seed"], {}
    if "seed" in names:  # a row for each seed: the spread of single runs is in the table itself
        runs = committed.groupby(alike, dropna=False)[values].std().stack().dropna().to_dict()

    def tolerance(pair: dict) -> float:
        column = pair["column"]
        if table == "speed" or column.endswith("seconds"):
            return 0.0
        score = {"split": "test", "metric": "cluster_accuracy", "method": column, **pair}
        s, n = spread.get(tuple(score.get(name) for name in SCORE), (0.0, 1))
        s *= 100 if largest[column] > 1 else 1  # the scores are fractions, tables in percent
        s, n = (runs.get((*(pair[name] for name in alike), column), 0.0), 1) if runs else (s, n)
        return max(FACTOR * s * (2 / n) ** 0.5, FLOOR * largest[column])

    rows = pairs.to_dict("records")
    pairs["name"] = [
        f"{table}: {' '.join(str(row[k]) for k in (*names, 'column') if row[k] == row[k])}"
        for row in rows
    ]
    moved = (pairs["number_here"] - pairs["number_committed"]).abs().fillna(np.inf)
    allowed = np.array([tolerance(row) for row in rows])
    pairs["size"] = np.divide(
        moved, allowed, out=np.where(moved == 0, 0.0, np.inf), where=allowed > 0
    )
    return pairs.rename(columns={"number_committed": "committed", "number_here": "here"})[
        ["name", "committed", "here", "size"]
    ]


def one_a_row(table: pd.DataFrame, names: list[str], values: list[str]) -> pd.DataFrame:
    """A row for each number: what names it, a counter for equal names, its column, the number."""
    table = table.assign(nth=table.groupby(names, dropna=False).cumcount())
    return table.melt([*names, "nth"], values, "column", "number").dropna(subset="number")
