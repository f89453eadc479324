"""Numbers of two runs side by side, and how far one may move without a reason to worry.

With other instructions or versions the last bits differ, and a labeling may end elsewhere, as it
does with another seed. So a number may move as far as it might if its seeds were drawn anew:

    tolerance = max(FACTOR · s · sqrt(2 / n), FLOOR · the largest number of its column)

where n is how many seeds the number is a mean of, and s the standard deviation over seeds in the
committed run: its own, or where that is larger the root mean square of those of the method's other
spaces, since five seeds that agree in one space may all end elsewhere with other networks.
s · sqrt(2 / n) is the standard deviation of the difference of two such means, and FACTOR is 4
because of 1,700 numbers some five would be beyond 3 by chance. FLOOR is for what no seed shows: the
networks that embed the images are trained from one. Trained with AVX2 instead of AVX-512
instructions, they moved linear probes, which have no seed of their own, by up to 4.5 points, and
k-means, which hardly depends on its own, by up to 5.5 in one run and by 10 in another; such a jump
is reported. Measured times are copied from data/measured and have to be the same.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

FACTOR, FLOOR = 4, 0.06
SCORE = ["dataset", "method", "spaces", "split", "metric"]  # what names a score, but for its seed
DECIMAL = r"[-+]?[0-9]*\.[0-9]*(e[-+]?[0-9]+)?"
Spread = dict[tuple[str, ...], tuple[float, int]]  # of what the names say: s and n


def mean_scores(scores: pd.DataFrame) -> tuple[pd.DataFrame, Spread]:
    """The long table's means over seeds, as text, and the spread of each SCORE.

    The dataset "mean" stands for the mean over all datasets, which are independent.
    """
    scores = scores.astype({"value": float})
    means = scores.groupby(SCORE, as_index=False)["value"].mean()
    means["value"] = means["value"].map("{:.6f}".format)
    spread = spread_over_seeds(scores, SCORE, "value")
    parts = pd.DataFrame(
        spread.values(), pd.MultiIndex.from_tuples(spread, names=SCORE), ["s", "n"]
    )
    for key, part in parts.groupby(SCORE[1:]):
        spread["mean", *key] = np.hypot.reduce(part["s"]) / len(part), part["n"].min()
    return means, spread


def spread_over_seeds(table: pd.DataFrame, names: list[str], value: str) -> Spread:
    """s and n of the numbers with the same names: one for each seed."""
    found = table.groupby(names, dropna=False)[value].agg(["std", "count"]).reset_index()
    others = found.groupby([name for name in names if name != "spaces"], dropna=False)["std"]
    pooled = others.transform(lambda std: (std**2).mean() ** 0.5)
    s = np.fmax(found["std"], pooled).fillna(0.0)
    return dict(zip(zip(*(found[name] for name in names)), zip(s, found["count"])))


def differences(
    table: str,
    committed: pd.DataFrame,
    here: pd.DataFrame,
    spread: Spread,
    grid: Collection[str] = (),
) -> pd.DataFrame:
    """Every number of a table in both runs, and `size`: how far it moved, in tolerances.

    Args:
        committed, here: cells of text, as in the CSV files. A column with decimal points holds
            numbers, unless it is a setting of the grid; the others name the rows.

    Returns:
        Columns name, committed, here, and size, infinite where a number is missing on one side.
    """
    columns = list(dict.fromkeys([*committed, *here]))
    committed, here = (side.reindex(columns=columns, fill_value="") for side in (committed, here))
    decimal = pd.concat([committed, here]).apply(lambda cells: cells.str.fullmatch(DECIMAL).any())
    values = [column for column in columns if decimal[column] and column not in grid]
    names = [column for column in columns if column not in values]
    sides = [one_a_row(side, names, values) for side in (committed, here)]
    pairs = pd.merge(*sides, "outer", [*names, "nth", "column"], suffixes=("_committed", "_here"))
    largest = sides[0].groupby("column")["number"].apply(lambda numbers: numbers.abs().max())
    alike = [*(name for name in names if name != "seed"), "column"]
    single = spread_over_seeds(sides[0], alike, "number") if "seed" in names else {}

    def tolerance(pair: dict) -> float:
        column = pair["column"]
        top = largest.get("mean" if column == "std" else column, 0.0)
        if table == "speed" or column.endswith("seconds"):
            return 0.0
        s, n = score_spread(table, pair, spread)
        s *= 100 if top > 1 else 1  # the scores are fractions, tables in percent
        if single:
            s, n = single.get(tuple(pair[name] for name in alike), (0.0, 1))[0], 1
        return max(FACTOR * s * (2 / n) ** 0.5, FLOOR * top)

    rows = pairs.to_dict("records")
    moved = (pairs["number_here"] - pairs["number_committed"]).abs().fillna(np.inf)
    allowed = np.array([tolerance(row) for row in rows])
    size = np.divide(moved, allowed, out=np.where(moved == 0, 0.0, np.inf), where=allowed > 0)
    shown = [" ".join(filter(None, (row[name] for name in (*names, "column")))) for row in rows]
    pairs["name"], pairs["size"] = [f"{table}: {text}" for text in shown], size
    pairs = pairs.rename(columns={"number_committed": "committed", "number_here": "here"})
    return pairs[["name", "committed", "here", "size"]]


def score_spread(table: str, pair: dict, spread: Spread) -> tuple[float, int]:
    """s and n of a number that is a score: s as a fraction, zero where there is none.

    A column may be called after its method. Or it is called after its metric and the table after
    the method: then its numbers are of single fits.
    """
    of_fits = any(pair["column"] == metric for *_, metric in spread)
    method, metric = pair["column"], "cluster_accuracy"
    if of_fits:
        method, metric = table.partition("-")[0], pair["column"]
    score = {"split": "test", "method": method, "metric": metric, **pair}
    s, n = spread.get(tuple(score.get(name) for name in SCORE), (0.0, 1))
    return s, 1 if of_fits else n


def one_a_row(table: pd.DataFrame, names: list[str], values: list[str]) -> pd.DataFrame:
    """A row for each number: what names it, a counter for equal names, its column, the number."""
    table = table.assign(nth=table.groupby(names).cumcount())
    long = table.melt([*names, "nth"], values, "column", "number")
    return long.assign(number=pd.to_numeric(long["number"], "coerce")).dropna(subset="number")
