"""Views of the long table of scores: what people read.

The long table has the columns `COLUMNS`, values as fractions; the views are in percent. A view for
people is a DataFrame of strings, with a dash for what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from hume_turtle.reporting.names import METRIC_NAMES, method_name, with_method_names
from hume_turtle.reporting.scoreboard import published_name

COLUMNS = ["dataset", "method", "spaces", "split", "seed", "metric", "value"]
KEYS = ["method", "spaces", "dataset", "metric"]  # of a number over seeds
NAN = float("nan")


def available_scores(suite) -> pd.DataFrame:
    """The long table of the datasets that have been scored so far; no rows if none has."""
    paths = [suite.data / "scores" / f"{dataset}.csv" for dataset in suite.datasets]
    parts = [pd.read_csv(path) for path in paths if path.exists() and path.stat().st_size > 1]
    if parts:
        return pd.concat(parts, ignore_index=True)
    return pd.DataFrame(columns=COLUMNS).astype({"seed": int, "value": float})


def available_fits(suite, method: str) -> dict[tuple[str, str], list]:
    """The saved fits of a method: (dataset, spaces) to one estimator per seed."""
    fitted = [d for d in suite.datasets if (suite.data / "fits" / d / method).is_dir()]
    return {(d, spaces): fits for d in fitted for spaces, fits in suite.fits(d, method).items()}


def benchmark_table(scores, numbers, *, unrun: bool = False) -> pd.DataFrame:
    """Every dataset, method, space combination and metric: reported, ours, and the difference.

    Args:
        scores: the long table, as fractions; its test split is used.
        numbers: `scoreboard.reported`, in percent, of one artefact: two artefacts may report
            different numbers for the same method, and the last of them would be shown.
        unrun: whether reported numbers that have no score get a row too, without ours.

    Returns:
        DataFrame in percent with columns dataset, method, spaces, metric, reported, mean, std
        (over seeds), difference, seeds; a dataset called "mean" holds the mean over datasets of
        what was run on all of them.
    """
    test = scores[scores["split"] == "test"]
    table = test.groupby(KEYS)["value"].agg(mean="mean", std="std", seeds="count").reset_index()
    table[["mean", "std"]] *= 100
    of_method = ["method", "spaces", "metric"]
    count = table["dataset"].nunique()
    whole = table.groupby(of_method).filter(lambda rows: len(rows) == count)
    means = whole.groupby(of_method, as_index=False)["mean"].mean().assign(dataset="mean")
    known = {published_name(row): row["reported"] for _, row in numbers.iterrows()}
    rows = [(*key, number) for key, number in known.items()]
    published = pd.DataFrame(rows, columns=[*KEYS, "reported"])
    table = pd.concat([table, means], ignore_index=True)
    table = table.merge(published, how="outer" if unrun else "left", on=KEYS)
    table["difference"] = table["mean"] - table["reported"].astype(float)
    shown = ["dataset", "method", "spaces", "metric", "reported", "mean", "std", "difference"]
    order = ["metric", "dataset", "spaces", "method"]
    return table[[*shown, "seeds"]].sort_values(order, ignore_index=True)


def cell(mean: float, std: float = NAN, reported: float = NAN) -> str:
    """ "mean ± std" in percent, and the reported number; a dash for what is missing."""
    if mean != mean:
        return "–"
    text = f"{mean:.1f}" if std != std else f"{mean:.1f} ± {std:.1f}"
    return text if reported != reported else f"{text} (reported {reported:.1f})"


def cells(frame: pd.DataFrame, *columns: str) -> list[str]:
    """One `cell` per row, of these columns."""
    return [cell(*row) for row in frame[list(columns)].to_numpy(float)]


def signed(number: float) -> str:
    """A difference in percent with its sign; a dash for what is missing."""
    return "–" if number != number else f"{number:+.1f}".replace("-", "−")


def overview(table, metric: str = "cluster_accuracy") -> pd.DataFrame:
    """One metric of the benchmark: one row per method and spaces, one column per dataset.

    Cells read "mean ± std" in percent, with the reported number behind them where there is one;
    methods stand in the order of their best mean.
    """
    chosen = table[table["metric"] == metric].copy()
    chosen["cell"] = cells(chosen, "mean", "std", "reported")
    wide = chosen.pivot(index=["method", "spaces"], columns="dataset", values="cell")
    order = chosen.groupby(["method", "spaces"])["mean"].mean().sort_values(ascending=False)
    columns = [name for name in wide.columns if name != "mean"] + ["mean"]
    wide = wide.reindex(index=order.index, columns=columns).astype(object).fillna("–")
    return with_method_names(wide.reset_index().rename_axis(columns=None))


def dataset_table(
    table,
    columns: Mapping[str, tuple[str, str]],
    metric: str = "cluster_accuracy",
    datasets: Sequence[str] = (),
) -> pd.DataFrame:
    """One metric for people: one row per dataset, one column per method and space combination.

    The last row is the mean over the datasets on which any of the columns was run; a column that
    was not run on all of them has no mean.

    Args:
        table: a `benchmark_table`, in percent.
        columns: title to (method, spaces); at most one of them has reported numbers, which stand
            behind it with the difference.
        metric: which one.
        datasets: rows to show first, run or not.

    Raises:
        ValueError: two columns have reported numbers.
    """
    rows = table[(table["metric"] == metric) & (table["dataset"] != "mean")]
    parts = {
        title: rows[(rows["method"] == method) & (rows["spaces"] == spaces)].set_index("dataset")
        for title, (method, spaces) in columns.items()
    }
    names = list(dict.fromkeys([*datasets, *(d for part in parts.values() for d in part.index)]))
    parts = {title: part.reindex(names) for title, part in parts.items()}
    run = pd.DataFrame({title: part["mean"] for title, part in parts.items()}).dropna(how="all")
    run = run.index if len(run) else names
    shown = pd.DataFrame({"dataset": [*names, f"mean of {len(run)}"]})
    for title, part in parts.items():
        means = part.loc[run, ["reported", "mean", "difference"]].mean(skipna=False)
        whole = pd.concat([part, means.to_frame("mean").T])
        shown[title] = cells(whole, "mean", "std")
        if part["reported"].notna().any():
            if "reported" in shown:
                raise ValueError(f"{title} is the second column with reported numbers")
            shown["reported"] = cells(whole, "reported")
            shown["difference"] = whole["difference"].map(signed).to_numpy()
    return shown


def comparison(table, metrics: Sequence[str] = ("cluster_accuracy", "ari")) -> pd.DataFrame:
    """Reported, ours and the difference: one row per dataset, method and space combination.

    Args:
        table: a `benchmark_table`, in percent; its mean is not shown.
        metrics: three columns each.
    """
    rows = table[table["dataset"] != "mean"].set_index(["dataset", "spaces", "method"])
    index = rows[rows["metric"].isin(metrics)].index.unique().sort_values()
    shown = index.to_frame(index=False)
    for metric in metrics:
        of_metric = rows[rows["metric"] == metric].reindex(index)
        name = METRIC_NAMES.get(metric, metric)
        shown[f"{name} reported"] = cells(of_metric, "reported")
        shown[f"{name} ours"] = cells(of_metric, "mean", "std")
        shown[f"{name} difference"] = of_metric["difference"].map(signed).to_numpy()
    return with_method_names(shown)


def vs_baselines_table(scores, timings, methods=("turtle", "hume", "k-means")) -> pd.DataFrame:
    """Cluster accuracy (percent, test split) and seconds of methods in the same spaces.

    Returns:
        DataFrame of numbers: dataset, spaces, one column per method, and `<method> seconds` where
        measured.
    """
    test = scores[(scores["split"] == "test") & (scores["metric"] == "cluster_accuracy")]
    keys = ["dataset", "spaces"]
    accuracy = 100 * test.pivot_table(index=keys, columns="method", values="value", aggfunc="mean")
    accuracy = accuracy.reindex(columns=list(methods))
    if len(timings):
        seconds = timings.pivot_table("value", keys, "method", aggfunc="median")
        accuracy = accuracy.join(seconds.reindex(columns=list(methods)).add_suffix(" seconds"))
    return accuracy.reset_index().rename_axis(columns=None)


def baselines_overview(table, method: str = "turtle", baselines=("k-means", "hume")):
    """`vs_baselines_table` for people: one row per space combination.

    Returns:
        DataFrame of strings: spaces; for each baseline the mean difference in points, and on how
        many of the datasets that both were run on the method is ahead.
    """
    rows = []
    table = table[table[method].notna()]
    for spaces in sorted(set(table["spaces"]), key=lambda s: (s.count("+"), s)):
        row, frame = [spaces], table[table["spaces"] == spaces]
        for baseline in baselines:
            gain = (frame[method] - frame[baseline]).astype(float).dropna()
            row += [signed(gain.mean()), f"{(gain > 0).sum()} of {len(gain)}" if len(gain) else "–"]
        rows.append(row)
    names, ours = map(method_name, baselines), method_name(method)
    columns = [text for name in names for text in (f"{ours} − {name}", f"ahead of {name}")]
    return pd.DataFrame(rows, columns=["spaces", *columns])


def aggregation_overview(curves, datasets) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every `aggregation_curve` as one long table, and what people read of it.

    Args:
        curves: (dataset, spaces) to curve.
        datasets: all of the suite: those without a curve get dashes.

    Returns:
        the long table, with columns dataset and spaces before the curve's; and a DataFrame of
        strings in percent, one row per curve, with all runs taken together.
    """
    rows = []
    for key, curve in curves.items():
        singles, last = 100 * curve.loc[curve["runs"] == 1, "single"], curve.iloc[-1]
        row = [*key, str(int(last["runs"])), cell(singles.mean(), singles.std())]
        values = singles.min(), singles.max(), 100 * last["best"], 100 * last["vote"]
        rows.append([*row, *map(cell, values)])
    names = ["runs", "single run", "lowest", "highest", "best by score", "majority vote"]
    columns = ["runs", "draw", "single", "best", "vote"]
    return _joined(curves, columns), _with_dashes(rows, names, datasets)


def reliability_overview(curves, datasets, kept=(1, 4, 16, 64, 256)):
    """Every `mean_reliability` as one long table, and what people read of it.

    Args:
        curves: dataset to spaces to curve.
        datasets: all of the suite: those without a curve get dashes.
        kept: of each class, the columns that are shown; and all.

    Returns:
        the long table, and a DataFrame of strings, "mean ± std" in percent.
    """
    flat = {(dataset, s): curve for dataset, lines in curves.items() for s, curve in lines.items()}
    rows = []
    for key, curve in flat.items():
        at = 100 * curve.set_index("kept")[["mean", "std"]]
        shown = [at.loc[k] if k in at.index else at.iloc[-1] for k in kept] + [at.iloc[-1]]
        rows.append([*key, *(cell(*values) for values in shown)])
    names = [f"{k} per class" for k in kept] + ["all"]
    return _joined(flat, ["kept", "mean", "std", "seeds"]), _with_dashes(rows, names, datasets)


def _joined(curves, columns: Sequence[str]) -> pd.DataFrame:
    """Curves below each other, behind their dataset and spaces."""
    keys = ["dataset", "spaces"]
    table = pd.concat(curves, names=keys).reset_index(keys) if curves else pd.DataFrame()
    return table.reindex(columns=[*keys, *columns])


def _with_dashes(rows: list, names: Sequence[str], datasets: Sequence[str]) -> pd.DataFrame:
    """A DataFrame of these rows, and one of dashes for every dataset that has none."""
    missing = [d for d in datasets if d not in {row[0] for row in rows}]
    rows = [*rows, *([d, *"–" * (1 + len(names))] for d in missing)]
    return pd.DataFrame(rows, columns=["dataset", "spaces", *names])
