"""Views of the long table of scores: what people read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hume_turtle.reporting.reported import METRICS, published_name

COLUMNS = ["dataset", "method", "spaces", "split", "seed", "metric", "value"]
NAN = float("nan")
SHORT = {"cluster_accuracy": "ACC", "ari": "ARI", "nmi": "NMI"}


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
    chosen["cell"] = [cell(*row) for row in chosen[["mean", "deviation", "reported"]].values]
    wide = chosen.pivot(index=["method", "spaces"], columns="dataset", values="cell")
    order = chosen.groupby(["method", "spaces"])["mean"].mean().sort_values(ascending=False)
    columns = [name for name in wide.columns if name != "mean"] + ["mean"]
    wide = wide.reindex(index=order.index, columns=columns).astype(object).fillna("–")
    return wide.reset_index().rename_axis(columns=None)


def cell(mean: float, deviation: float, reported: float = NAN) -> str:
    """ "mean ± deviation" in percent, and the reported number; a dash for what is missing."""
    if mean != mean:
        return "–"
    text = f"{mean:.1f}" if deviation != deviation else f"{mean:.1f} ± {deviation:.1f}"
    return text if reported != reported else f"{text} (reported {reported:.1f})"


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
        shown[title] = [cell(*row) for row in whole[["mean", "deviation"]].values]
        if frame["reported"].notna().any():
            if "reported" in shown:
                raise ValueError(f"{title} is the second column with reported numbers")
            shown["reported"] = [cell(x, NAN) for x in whole["reported"]]
            shown["difference"] = [signed(x) for x in whole["difference"]]
    return shown


def signed(number: float) -> str:
    """A difference in percent with its sign; a dash for what is missing."""
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
        shown[f"{name} reported"] = [cell(x, NAN) for x in of_metric["reported"]]
        shown[f"{name} ours"] = [cell(*row) for row in of_metric[["mean", "deviation"]].values]
        shown[f"{name} difference"] = [signed(x) for x in of_metric["difference"]]
    return shown


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


def baselines_overview(table, method: str = "turtle", baselines=("k-means", "hume")):
    """`vs_baselines_table` for people: a row a choice of spaces, the method against each baseline.

    Returns:
        DataFrame of strings: spaces; for each baseline the mean difference in points, and on how
        many of the datasets that both were run on the method is ahead.
    """
    import pandas as pd

    rows = []
    table = table[table[method].notna()]
    for spaces in sorted(set(table["spaces"]), key=lambda s: (s.count("+"), s)):
        row, frame = {"spaces": spaces}, table[table["spaces"] == spaces]
        for baseline in baselines:
            ahead = (frame[method] - frame[baseline]).astype(float).dropna()
            row[f"{method} − {baseline}"] = signed(ahead.mean())
            row[f"ahead of {baseline}"] = (
                f"{(ahead > 0).sum()} of {len(ahead)}" if len(ahead) else "–"
            )
        rows.append(row)
    columns = [f"{text}{b}" for b in baselines for text in (f"{method} − ", "ahead of ")]
    return pd.DataFrame(rows, columns=["spaces", *columns])
