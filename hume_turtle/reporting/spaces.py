"""Space combinations: which are shown in full, in which order, and tables over all of them."""

from __future__ import annotations

import pandas as pd

from hume_turtle.reporting.names import METRIC_NAMES, method_name, spaces_name
from hume_turtle.reporting.tables import cell, cells

# In the order of their size; the convolutional ones first.
CLIP = ("rn50", "rn101", "rn50x4", "rn50x16", "rn50x64", "vit-b-32", "vit-b-16", "vit-l-14")
ENCODERS = tuple(f"clip-{name}" for name in CLIP)


def main_spaces(table) -> str:
    """The space combination that tables and figures show in full, chosen by no score.

    The published one where it was run or nothing was; else the one that was run on most datasets,
    of those the one with most spaces, of those the first by name.
    """
    rows = table[(table["method"] == "turtle") & (table["dataset"] != "mean")]
    run = rows[rows["mean"].notna()]
    published = rows[rows["reported"].notna()]
    if len(published) and (run.empty or published["mean"].notna().any()):
        return published.sort_values("mean", na_position="last")["spaces"].iloc[0]
    counts = run.groupby("spaces")["dataset"].nunique()
    return min(counts.index, key=lambda s: (-counts[s], -s.count("+"), s), default="")


def text_space(table, spaces: str) -> str:
    """The space whose zero-shot transfer is shown beside `spaces`: one of them if it has text."""
    texts = text_encoders(table)
    inside = [space for space in spaces.split("+") if space in texts]
    return (inside or texts[::-1] or [spaces.split("+")[0]])[0]


def text_encoders(rows) -> list[str]:
    """Single spaces with zero-shot scores, and CLIP's; in the order of `ENCODERS`, others last."""
    single = rows[~rows["spaces"].str.contains("+", regex=False)]
    named = single["spaces"].isin(ENCODERS) | (single["method"] == "zero-shot")
    order = {name: i for i, name in enumerate(ENCODERS)}
    return sorted(set(single["spaces"][named]), key=lambda s: (order.get(s, len(order)), s))


def benchmark_columns(table, spaces: str) -> dict[str, tuple[str, str]]:
    """What `dataset_table` shows for a space combination: title to (method, spaces).

    TURTLE in it and in each of its spaces, k-means and the linear probe in it, HUME and zero-shot
    transfer where they were run, TURTLE in the published combination even if not.
    """
    parts = spaces.split("+") if "+" in spaces else []
    hume = sorted(set(table.loc[table["method"] == "hume", "spaces"]))
    zero_shot = set(table.loc[table["method"] == "zero-shot", "spaces"])
    published = (table["method"] == "turtle") & table["reported"].notna()
    others = sorted(set(table.loc[published, "spaces"]) - {*parts, spaces})
    chosen = [("k-means", spaces)]
    chosen += [("hume", combination) for combination in hume]
    chosen += [("turtle", combination) for combination in [*parts, *others, spaces]]
    chosen += [("zero-shot", part) for part in parts or [spaces] if part in zero_shot]
    chosen += [("linear-probe", spaces)]
    return {f"{method_name(method)} {spaces_name(name)}": (method, name) for method, name in chosen}


def spaces_by_size(table) -> tuple[dict[str, tuple[str, str]], ...]:
    """TURTLE's single spaces and its pairs, each as columns of `dataset_table`."""
    run = set(table.loc[(table["method"] == "turtle") & table["mean"].notna(), "spaces"])
    run = sorted(run, key=spaces_order(table))
    parts = [s for s in run if "+" not in s], [s for s in run if "+" in s]
    return tuple({spaces_name(s): ("turtle", s) for s in part} for part in parts)


def spaces_order(table):
    """A key that sorts space combinations: single ones first, encoders with text by their size."""
    texts = text_encoders(table)
    place = {name: i for i, name in enumerate(texts)}

    def key(spaces: str) -> tuple:
        parts = spaces.split("+")
        return len(parts), min(place.get(part, len(texts)) for part in parts), spaces

    return key


def overview_of_spaces(table) -> pd.DataFrame:
    """The means of a `benchmark_table` for people: one row per space combination.

    Returns:
        DataFrame of strings: spaces, and one column per metric and method, in percent.
    """
    means = table[(table["dataset"] == "mean") & table["metric"].isin(METRIC_NAMES)]
    wide = means.pivot(index="spaces", columns=["metric", "method"], values="mean")
    metrics = list(METRIC_NAMES)
    wide = wide[sorted(wide.columns, key=lambda column: (metrics.index(column[0]), column[1]))]
    wide = wide.reindex(sorted(wide.index, key=spaces_order(table))).astype(float).map(cell)
    names = [f"{METRIC_NAMES[metric]} {method_name(method)}" for metric, method in wide.columns]
    return wide.set_axis(names, axis=1).reset_index()


def paired(table, first: tuple[str, str], second: tuple[str, str]) -> pd.DataFrame:
    """The accuracy (percent) of two methods side by side, each as (method, spaces).

    Returns:
        DataFrame: dataset, first, second, difference (first − second), the largest first; datasets
        with only one of the two come last, those with neither are skipped.
    """
    rows = table[(table["metric"] == "cluster_accuracy") & (table["dataset"] != "mean")]
    wide = rows.pivot(index="dataset", columns=["method", "spaces"], values="mean").astype(float)
    both = wide.reindex(columns=pd.MultiIndex.from_tuples([first, second])).dropna(how="all")
    both = both.set_axis(["first", "second"], axis=1).reset_index()
    both["difference"] = both["first"] - both["second"]
    return both.sort_values("difference", ascending=False, kind="stable", ignore_index=True)


def compared(tables) -> bool:
    """Whether any of some `paired` tables has a dataset with both methods."""
    return any(table["difference"].notna().any() for table in tables)


def architecture_table(scores) -> pd.DataFrame:
    """Mean accuracy of zero-shot transfer and of TURTLE for each encoder that has text.

    TURTLE is taken in the encoder's own space, and with each second space that has no text. The
    mean is over the datasets on which all of them were run; std is over seeds.

    Args:
        scores: the long table, as fractions; its test split is used.

    Returns:
        DataFrame in percent: encoder, method ("zero-shot", "turtle" or "turtle + <space>"), mean,
        std, seeds, datasets (how many); no rows if there is no dataset with all of them.
    """
    test = scores[(scores["split"] == "test") & (scores["metric"] == "cluster_accuracy")]
    runs = test.pivot_table("value", ["method", "spaces", "seed"], "dataset")
    encoders, found = text_encoders(test), {}
    for (method, spaces), rows in runs.groupby(level=["method", "spaces"]):
        texts = [space for space in spaces.split("+") if space in encoders]
        others = [space for space in spaces.split("+") if space not in encoders]
        if method in ("turtle", "zero-shot") and len(texts) == 1 and len(others) <= 1:
            found[texts[0], " + ".join([method, *others])] = rows
    common = [d for d in runs.columns if all(rows[d].notna().any() for rows in found.values())]
    table = []
    for key in sorted(found, key=lambda key: (encoders.index(key[0]), key[1])):
        means = 100 * found[key][common].dropna().mean(axis=1)  # (seeds,)
        if common and len(means):
            table.append((*key, means.mean(), means.std(), len(means), len(common)))
    names = ["encoder", "method", "mean", "std", "seeds", "datasets"]
    return pd.DataFrame(table, columns=names)


def architecture_overview(table) -> pd.DataFrame:
    """`architecture_table` for people: one row per encoder, "mean ± std" in percent."""
    shown = table.assign(cell=cells(table, "mean", "std"))
    wide = shown.pivot(index="encoder", columns="method", values="cell")
    wide = wide.reindex(index=table["encoder"].unique(), columns=sorted(set(table["method"])))
    return wide.fillna("–").reset_index().rename_axis(columns=None).rename(columns=method_name)
