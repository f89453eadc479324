"""Views of many representation spaces: which to show in full, and TURTLE beside other transfer."""

from __future__ import annotations

from hume_turtle.reporting.tables import SHORT, cell

# In the order of their size; the convolutional ones first.
CLIP = ("rn50", "rn101", "rn50x4", "rn50x16", "rn50x64", "vit-b-32", "vit-b-16", "vit-l-14")
ENCODERS = tuple(f"clip-{name}" for name in CLIP)


def main_spaces(table, method: str = "turtle") -> str:
    """The choice of spaces that tables and figures show in full, chosen by no score.

    The published one where it was run or nothing was; else the one that was run on most datasets,
    of those the one with most spaces, of those the first by name.
    """
    rows = table[(table["method"] == method) & (table["dataset"] != "mean")]
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
    """What `dataset_table` shows for a choice of spaces: title to (method, spaces).

    TURTLE in the choice and in each of its spaces, k-means and the linear probe in the choice,
    HUME and zero-shot transfer where they were run, TURTLE in the published choice even if not.
    """
    parts = spaces.split("+") if "+" in spaces else []
    hume = sorted(set(table.loc[table["method"] == "hume", "spaces"]))
    zero_shot = set(table.loc[table["method"] == "zero-shot", "spaces"])
    published = (table["method"] == "turtle") & table["reported"].notna()
    others = sorted(set(table.loc[published, "spaces"]) - {*parts, spaces})
    chosen = [("k-means", spaces)]
    chosen += [("hume", choice) for choice in hume]
    chosen += [("turtle", choice) for choice in [*parts, *others, spaces]]
    chosen += [("zero-shot", part) for part in parts or [spaces] if part in zero_shot]
    chosen += [("linear-probe", spaces)]
    return {f"{method} {_spaced(choice)}": (method, choice) for method, choice in chosen}


def choices_by_size(table, method: str) -> tuple[dict[str, tuple[str, str]], ...]:
    """The single spaces of a method and its pairs, each as columns of `dataset_table`."""
    run = set(table.loc[(table["method"] == method) & table["mean"].notna(), "spaces"])
    key = choice_order(table)
    choices = sorted(run, key=key)
    sizes = ([c for c in choices if "+" not in c], [c for c in choices if "+" in c])
    return tuple({_spaced(c): (method, c) for c in size} for size in sizes)


def choice_order(table):
    """A key that sorts choices of spaces: single ones first, encoders with text by their size."""
    texts = text_encoders(table)
    place = {name: i for i, name in enumerate(texts)}

    def key(spaces: str) -> tuple:
        parts = spaces.split("+")
        return len(parts), min(place.get(part, len(texts)) for part in parts), spaces

    return key


def overview_of_spaces(table):
    """The means of a `benchmark_table` for people: a row a choice of spaces.

    Returns:
        DataFrame of strings: spaces, and a column a metric and method, in percent.
    """
    means = table[(table["dataset"] == "mean") & table["metric"].isin(SHORT)]
    wide = means.pivot(index="spaces", columns=["metric", "method"], values="mean")
    wide = wide.reindex(columns=sorted(wide.columns, key=lambda c: (list(SHORT).index(c[0]), c[1])))
    wide = wide.reindex(sorted(wide.index, key=choice_order(table))).astype(float)
    wide.columns = [f"{SHORT[metric]} {method}" for metric, method in wide.columns]
    return wide.map(lambda value: cell(value, float("nan"))).reset_index()


def _spaced(spaces: str) -> str:
    return spaces.replace("+", " + ")


def paired(table, first: tuple[str, str], second: tuple[str, str], metric="cluster_accuracy"):
    """Two methods side by side, each as (method, spaces), in percent.

    Returns:
        DataFrame: dataset, first, second, difference (first − second), the largest first; datasets
        that lack one of the two come last, those that lack both are left out.
    """
    import pandas as pd

    rows = table[(table["metric"] == metric) & (table["dataset"] != "mean")]
    means = rows.set_index(["method", "spaces", "dataset"])["mean"].dropna().sort_index()
    sides = {}
    for name, key in (("first", first), ("second", second)):
        there = key in means.index.droplevel("dataset")
        sides[name] = means.loc[key] if there else means[:0].droplevel(["method", "spaces"])
    both = pd.DataFrame(sides).rename_axis("dataset").reset_index()
    both["difference"] = both["first"] - both["second"]
    return both.sort_values("difference", ascending=False, kind="stable", ignore_index=True)


def architecture_table(scores, metric: str = "cluster_accuracy"):
    """Mean over datasets of zero-shot transfer and of TURTLE for each encoder that has text.

    TURTLE is taken in the encoder's own space, and with each second space that has no text. The
    mean is over the datasets on which all of them were run; its deviation is over seeds.

    Args:
        scores: the long table, as fractions; its test split is used.

    Returns:
        DataFrame in percent: encoder, method ("zero-shot", "turtle" or "turtle + <space>"), mean,
        deviation, seeds, datasets (how many); no rows if there is no dataset with all of them.
    """
    import pandas as pd

    test = scores[(scores["split"] == "test") & (scores["metric"] == metric)]
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
    names = ["encoder", "method", "mean", "deviation", "seeds", "datasets"]
    return pd.DataFrame(table, columns=names)


def architecture_overview(table):
    """`architecture_table` for people: a row an encoder, "mean ± deviation" in percent."""
    cells = table.assign(cell=[cell(*row) for row in table[["mean", "deviation"]].values])
    wide = cells.pivot(index="encoder", columns="method", values="cell")
    wide = wide.reindex(index=table["encoder"].unique(), columns=sorted(set(table["method"])))
    return wide.fillna("–").reset_index().rename_axis(columns=None)
