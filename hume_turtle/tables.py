"""Views of the long table of scores: what people read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hume_turtle.paper import METRICS, published_name

COLUMNS = ["dataset", "method", "spaces", "split", "seed", "metric", "value"]
SHORT = {"cluster_accuracy": "ACC", "ari": "ARI", "nmi": "NMI"}
# In the order of their size; the convolutional ones first.
CLIP = ("rn50", "rn101", "rn50x4", "rn50x16", "rn50x64", "vit-b-32", "vit-b-16", "vit-l-14")
ENCODERS = tuple(f"clip-{name}" for name in CLIP)


def available_scores(suite):
    """The long table of the datasets that have been scored so far; no rows if none has."""
    import pandas as pd

    paths = [suite.data / "scores" / f"{dataset}.csv" for dataset in suite.datasets]
    parts = [pd.read_csv(path) for path in paths if path.exists() and path.stat().st_size > 1]
    if parts:
        return pd.concat(parts, ignore_index=True)
    return pd.DataFrame(columns=COLUMNS).astype({"seed": int, "value": float})


def available_fits(suite, method: str) -> dict[tuple[str, str], list]:
    """The fits of a method that there are: (dataset, spaces) to one estimator a seed."""
    there = [d for d in suite.datasets if (suite.data / "fits" / d / method).is_dir()]
    return {(d, spaces): fits for d in there for spaces, fits in suite.fits(d, method).items()}


def benchmark_table(scores, numbers, *, unrun: bool = False):
    """Every dataset, method, choice of spaces and metric: reported, ours, and the difference.

    Args:
        scores: the long table, as fractions; its test split is used.
        numbers: `paper.reported`, in percent, of one artefact: two artefacts may report different
            numbers for the same method, and the last of them would be shown.
        unrun: whether reported numbers that have no score get a row too, without ours.

    Returns:
        DataFrame in percent with columns dataset, method, spaces, metric, reported, mean,
        deviation, difference, seeds; a dataset called "mean" holds the mean over datasets of what
        was run on all of them.
    """
    import pandas as pd

    test = scores[scores["split"] == "test"]
    keys = ["dataset", "method", "spaces", "metric"]
    seeds = test.groupby(keys)["value"].agg(mean="mean", deviation="std", seeds="count")
    seeds[["mean", "deviation"]] *= 100
    table = seeds.reset_index()
    table.loc[table["seeds"] == 1, "deviation"] = float("nan")

    whole = table.groupby(keys[1:]).filter(lambda rows: len(rows) == table["dataset"].nunique())
    means = whole.groupby(keys[1:], as_index=False)["mean"].mean().assign(dataset="mean")
    table = pd.concat([table, means], ignore_index=True)

    known = {published_name(row): row["reported"] for _, row in numbers.iterrows()}
    ours = zip(table["method"], table["spaces"], table["dataset"], table["metric"])
    table["reported"] = [known.pop(key, float("nan")) for key in ours]
    if unrun and known:  # what is left of it
        rows = pd.DataFrame(known, index=["reported"]).T.rename_axis(
            ["method", "spaces", "dataset", "metric"]
        )
        rows = rows.reset_index()
        table = pd.concat([table, rows], ignore_index=True) if len(table) else rows
        table = table.reindex(columns=[*keys, "reported", "mean", "deviation", "seeds"])
    table["difference"] = table["mean"] - table["reported"]
    return table[[*keys, "reported", "mean", "deviation", "difference", "seeds"]].sort_values(
        ["metric", "dataset", "spaces", "method"], ignore_index=True
    )


def overview(table, metric: str = "cluster_accuracy"):
    """One metric of the benchmark for people: a row a method and spaces, a column a dataset.

    Cells read "mean ± deviation" in percent, with the reported number behind them where there is
    one; methods stand in the order of their best mean.
    """
    chosen = table[table["metric"] == metric].copy()
    chosen["cell"] = [_cell(*row) for row in chosen[["mean", "deviation", "reported"]].values]
    wide = chosen.pivot(index=["method", "spaces"], columns="dataset", values="cell")
    order = chosen.groupby(["method", "spaces"])["mean"].mean().sort_values(ascending=False)
    columns = [name for name in wide.columns if name != "mean"] + ["mean"]
    wide = wide.reindex(index=order.index, columns=columns).astype(object).fillna("–")
    return wide.reset_index().rename_axis(columns=None)


def _cell(mean: float, deviation: float, reported: float = float("nan")) -> str:
    if mean != mean:
        return "–"
    text = f"{mean:.1f}" if deviation != deviation else f"{mean:.1f} ± {deviation:.1f}"
    return text if reported != reported else f"{text} (reported {reported:.1f})"


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
    HUME and zero-shot transfer where they were run.
    """
    parts = spaces.split("+") if "+" in spaces else []
    hume = sorted(set(table.loc[table["method"] == "hume", "spaces"]))
    zero_shot = set(table.loc[table["method"] == "zero-shot", "spaces"])
    chosen = [("k-means", spaces)]
    chosen += [("hume", choice) for choice in hume]
    chosen += [("turtle", choice) for choice in [*parts, spaces]]
    chosen += [("zero-shot", part) for part in parts or [spaces] if part in zero_shot]
    chosen += [("linear-probe", spaces)]
    return {f"{method} {_spaced(choice)}": (method, choice) for method, choice in chosen}


def _spaced(spaces: str) -> str:
    return spaces.replace("+", " + ")


def dataset_table(
    table,
    columns: Mapping[str, tuple[str, str]],
    metric: str = "cluster_accuracy",
    datasets: Sequence[str] = (),
):
    """One metric for people: a row a dataset, a column a method in a choice of spaces.

    The last row is the mean over the datasets on which any of the columns was run; a column that
    lacks one of them has no mean.

    Args:
        table: a `benchmark_table`, in percent.
        columns: title to (method, spaces); at most one of them has reported numbers, which stand
            behind it with the difference.
        metric: which one.
        datasets: rows to show, run or not, before those that the table has besides.

    Returns:
        DataFrame of strings, "mean ± deviation" in percent, a dash for what is missing.

    Raises:
        ValueError: two columns have reported numbers.
    """
    import pandas as pd

    rows = table[(table["metric"] == metric) & (table["dataset"] != "mean")]
    per_column = {
        title: rows[(rows["method"] == method) & (rows["spaces"] == spaces)].set_index("dataset")
        for title, (method, spaces) in columns.items()
    }
    there = dict.fromkeys([*datasets, *(d for frame in per_column.values() for d in frame.index)])
    per_column = {title: frame.reindex(list(there)) for title, frame in per_column.items()}
    run = pd.DataFrame({title: frame["mean"] for title, frame in per_column.items()})
    run = run.dropna(how="all").index if run.notna().any(axis=None) else run.index
    shown = pd.DataFrame({"dataset": [*there, f"mean of {len(run)}"]})
    for title, frame in per_column.items():
        means = frame.loc[run, ["reported", "mean", "difference"]].mean(skipna=False)
        whole = pd.concat([frame, means.to_frame("mean").T])
        shown[title] = [_cell(*row) for row in whole[["mean", "deviation"]].values]
        if frame["reported"].notna().any():
            if "reported" in shown:
                raise ValueError(f"{title} is the second column with reported numbers")
            shown["reported"] = [_cell(x, float("nan")) for x in whole["reported"]]
            shown["difference"] = [_signed(x) for x in whole["difference"]]
    return shown


def _signed(number: float) -> str:
    return "–" if number != number else f"{number:+.1f}".replace("-", "−")


def comparison(table, metrics: Sequence[str] = ("cluster_accuracy", "ari")):
    """Reported, ours and the difference for people: a row a dataset, method and choice of spaces.

    Args:
        table: a `benchmark_table`, in percent; its mean is left out.
        metrics: three columns each.

    Returns:
        DataFrame of strings; a dash for what is missing.
    """
    rows = table[table["dataset"] != "mean"].set_index(["dataset", "spaces", "method"])
    index = rows[rows["metric"].isin(metrics)].index.unique().sort_values()
    shown = index.to_frame(index=False)
    for metric in metrics:
        of_metric = rows[rows["metric"] == metric].reindex(index)
        name = SHORT.get(metric, metric)
        shown[f"{name} reported"] = [_cell(x, float("nan")) for x in of_metric["reported"]]
        shown[f"{name} ours"] = [_cell(*row) for row in of_metric[["mean", "deviation"]].values]
        shown[f"{name} difference"] = [_signed(x) for x in of_metric["difference"]]
    return shown


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
    cells = table.assign(cell=[_cell(*row) for row in table[["mean", "deviation"]].values])
    wide = cells.pivot(index="encoder", columns="method", values="cell")
    wide = wide.reindex(index=table["encoder"].unique(), columns=sorted(set(table["method"])))
    return wide.fillna("–").reset_index().rename_axis(columns=None)


def vs_baselines_table(scores, timings, methods=("turtle", "hume", "k-means")):
    """Cluster accuracy (percent, test split) and seconds of methods in the same spaces.

    Returns:
        DataFrame: dataset, spaces, a column a method, and `<method> seconds` where measured.
    """
    test = scores[(scores["split"] == "test") & (scores["metric"] == METRICS["accuracy"])]
    keys = ["dataset", "spaces"]
    accuracy = 100 * test.pivot_table(index=keys, columns="method", values="value", aggfunc="mean")
    accuracy = accuracy.reindex(columns=list(methods))
    if len(timings):
        seconds = timings.pivot_table("value", keys, "method", aggfunc="median")
        accuracy = accuracy.join(seconds.reindex(columns=list(methods)).add_suffix(" seconds"))
    return accuracy.reset_index().rename_axis(columns=None)
