"""Views of the long table of scores: what people read."""

from __future__ import annotations

from hume_turtle.paper import METRICS, published_name


def benchmark_table(scores, numbers):
    """Every dataset, method, choice of spaces and metric: reported, ours, and the difference.

    Args:
        scores: the long table, as fractions; its test split is used.
        numbers: `paper.reported`, in percent.

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
    table["reported"] = [known.get(key, float("nan")) for key in ours]
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


def _cell(mean: float, deviation: float, reported: float) -> str:
    text = f"{mean:.1f}" if deviation != deviation else f"{mean:.1f} ± {deviation:.1f}"
    return text if reported != reported else f"{text} (reported {reported:.1f})"


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
