"""Views of the long table of scores: what people read.

The long table has the columns `COLUMNS`, values as fractions; the views are in percent. A view for
people is a DataFrame of strings, with a dash for what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from hume_turtle.reporting.methods import evaluated
from hume_turtle.reporting.names import (
    METRIC_NAMES,
    family,
    in_order,
    method_name,
    spaces_name,
    with_method_names,
)
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


def available_fits(suite, estimator: str) -> dict[tuple[str, str, str], list]:
    """The saved fits of "turtle" or "hume": (dataset, method, spaces) to one fit per seed."""
    keys = [key for key, method in suite.methods.items() if method.estimator == estimator]
    fitted = [
        (d, key) for d in suite.datasets for key in keys if (suite.data / "fits" / d / key).is_dir()
    ]
    return {(d, key, s): fits for d, key in fitted for s, fits in suite.fits(d, key).items()}


def available_labels(suite, dataset: str, split: str):
    """True labels (n,) of "train", "test" or "all"; None where they are not known."""
    try:
        return suite.labels(dataset, split)
    except FileNotFoundError:
        return None


def benchmark_table(scores, numbers, *, unrun: bool = False) -> pd.DataFrame:
    """Every dataset, method, space combination and metric: reported, ours, and the difference.

    Args:
        scores: the long table, as fractions; `evaluated` picks its rows.
        numbers: `scoreboard.reported`, in percent, of one artefact: two artefacts may report
            different numbers for the same method, and the last of them would be shown. A number of
            TURTLE or HUME stands beside every variant.
        unrun: whether reported numbers that have no score get a row too, without ours.

    Returns:
        DataFrame in percent with columns dataset, method, spaces, metric, reported, mean, std
        (over seeds), difference, seeds; a dataset called "mean" holds the mean over datasets of
        what was run on all of them.
    """
    values = evaluated(scores).groupby(KEYS)["value"]
    table = values.agg(mean="mean", std="std", seeds="count").reset_index()
    table[["mean", "std"]] *= 100
    of_method = ["method", "spaces", "metric"]
    count = table["dataset"].nunique()
    whole = table.groupby(of_method).filter(lambda rows: len(rows) == count)
    means = whole.groupby(of_method, as_index=False)["mean"].mean().assign(dataset="mean")
    rows = [(*published_name(row), row["reported"]) for _, row in numbers.iterrows()]
    keys = ["family", *KEYS[1:]]
    published = pd.DataFrame(rows, columns=[*keys, "reported"]).drop_duplicates(keys, keep="last")
    table = pd.concat([table, means], ignore_index=True)
    table = table.assign(family=table["method"].map(family))
    table = table.merge(published, how="outer" if unrun else "left", on=keys)
    table["method"] = table["method"].fillna(table["family"])
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
    """One metric of the benchmark: one row per dataset and method, one column per spaces.

    Cells read "mean ± std" in percent, with the reported number behind them where there is one;
    datasets stand in their order in the table.
    """
    chosen = table[(table["metric"] == metric) & (table["dataset"] != "mean")].copy()
    chosen["cell"] = cells(chosen, "mean", "std", "reported")
    wide = chosen.pivot(index=["dataset", "method"], columns="spaces", values="cell")
    rows = [(d, m) for d in dict.fromkeys(chosen["dataset"]) for m in in_order(chosen["method"])]
    wide = wide.reindex([row for row in rows if row in wide.index], columns=rising_spaces(chosen))
    wide = wide.rename(columns=spaces_name).astype(object).fillna("–")
    return with_method_names(wide.reset_index().rename_axis(columns=None))


def rising_spaces(frame, value: str = "mean") -> list[str]:
    """The space combinations: single ones first, and where TURTLE's mean is higher later.

    Args:
        frame: rows with `method`, `spaces` and the column `value`; where TURTLE was not run, the
            mean of all methods counts.
    """
    turtle = frame[frame["method"] == "turtle"]
    means = (turtle if len(turtle) else frame).groupby("spaces")[value].mean()
    return sorted(set(frame["spaces"]), key=lambda s: (s.count("+"), means.get(s, 0.0), s))


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
        columns: title to (method, spaces). Reported numbers stand behind the last of them that has
            some, with its difference.
        metric: which one.
        datasets: rows to show first, run or not.
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
    compared = [title for title, part in parts.items() if part["reported"].notna().any()][-1:]
    for title, part in parts.items():
        means = part.loc[run, ["reported", "mean", "difference"]].mean(skipna=False)
        whole = pd.concat([part, means.to_frame("mean").T])
        shown[title] = cells(whole, "mean", "std")
        if title in compared:
            shown["reported"] = cells(whole, "reported")
            shown["difference"] = whole["difference"].map(signed).to_numpy()
    return shown


def comparison(table) -> pd.DataFrame:
    """ACC and ARI, reported, ours and the difference: one row per dataset, method and spaces.

    A reported number stands once, in the first row of the variants that it is compared with.

    Args:
        table: a `benchmark_table`, in percent; its mean is not shown.
    """
    metrics = ["cluster_accuracy", "ari"]
    rows = table[table["dataset"] != "mean"].set_index(["dataset", "spaces", "method"])
    index = rows[rows["metric"].isin(metrics)].index.unique().sort_values()
    shown = index.to_frame(index=False)
    first = ~shown.assign(method=shown["method"].map(family)).duplicated()
    for metric in metrics:
        of_metric = rows[rows["metric"] == metric].reindex(index)
        of_metric["reported"] = of_metric["reported"].where(first.to_numpy())
        name = METRIC_NAMES[metric]
        shown[f"{name} reported"] = cells(of_metric, "reported")
        shown[f"{name} ours"] = cells(of_metric, "mean", "std")
        shown[f"{name} difference"] = of_metric["difference"].map(signed).to_numpy()
    return with_method_names(shown)


def vs_baselines_table(scores, timings) -> pd.DataFrame:
    """Cluster accuracy (percent, test split) and seconds of methods in the same spaces.

    Returns:
        DataFrame of numbers: dataset, spaces, turtle, hume, k-means, and `<method> seconds` where
        measured.
    """
    test = scores[(scores["split"] == "test") & (scores["metric"] == "cluster_accuracy")]
    keys, methods = ["dataset", "spaces"], ["turtle", "hume", "k-means"]
    accuracy = 100 * test.pivot_table(index=keys, columns="method", values="value", aggfunc="mean")
    accuracy = accuracy.reindex(columns=methods)
    if len(timings):
        seconds = timings.pivot_table("value", keys, "method", aggfunc="median")
        accuracy = accuracy.join(seconds.reindex(columns=methods).add_suffix(" seconds"))
    return accuracy.reset_index().rename_axis(columns=None)


def baselines_overview(table) -> pd.DataFrame:
    """`vs_baselines_table` for people: one row per space combination.

    Returns:
        DataFrame of strings: spaces; for each baseline TURTLE's mean difference in points, and on
        how many of the datasets that both were run on it is ahead.
    """
    groups, rows = table[table["turtle"].notna()].groupby("spaces"), {}
    for spaces, frame in sorted(groups, key=lambda group: group[0].count("+")):
        rows[spaces] = row = {}
        for baseline in ("k-means", "hume"):
            gain = (frame["turtle"] - frame[baseline]).astype(float).dropna()
            name, ahead = method_name(baseline), f"{(gain > 0).sum()} of {len(gain)}"
            row[f"TURTLE − {name}"] = signed(gain.mean())
            row[f"ahead of {name}"] = ahead if len(gain) else "–"
    return pd.DataFrame.from_dict(rows, "index").rename_axis("spaces").reset_index()


def curve_table(curves: Mapping[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """Curves below each other, with the columns dataset, method and spaces before their own.

    Args:
        curves: (dataset, method, spaces) to an `aggregation_curve` or a `mean_reliability`.
    """
    keys = ["dataset", "method", "spaces"]
    if not curves:
        return pd.DataFrame(columns=keys)
    return pd.concat(curves, names=keys).reset_index(keys)


def aggregation_overview(curves, datasets) -> pd.DataFrame:
    """What people read of every `aggregation_curve`, all its runs taken together.

    Args:
        curves: (dataset, method, spaces) to curve.
        datasets: all of the suite: those without a curve get dashes.

    Returns:
        DataFrame of strings in percent, one row per curve.
    """
    rows = []
    for key, curve in curves.items():
        singles, last = 100 * curve.loc[curve["runs"] == 1, "single"], curve.iloc[-1]
        row = [*key, str(int(last["runs"])), cell(singles.mean(), singles.std())]
        values = singles.min(), singles.max(), 100 * last["best"], 100 * last["vote"]
        rows.append([*row, *map(cell, values)])
    names = ["runs", "single run", "lowest", "highest", "best by score", "majority vote"]
    return _of_all(rows, names, datasets)


def reliability_overview(curves, datasets) -> pd.DataFrame:
    """What people read of every `mean_reliability`, "mean ± std" in percent.

    Arguments and result as of `aggregation_overview`.
    """
    kept, rows = [1, 4, 16, 64, 256], []
    for key, curve in curves.items():
        at = 100 * curve.set_index("kept")[["mean", "std"]]
        shown = at.reindex([*kept, at.index[-1]], method="ffill")  # small classes end earlier
        rows.append([*key, *cells(shown, "mean", "std")])
    return _of_all(rows, [*(f"{k} per class" for k in kept), "all"], datasets)


def _of_all(rows: list, names: Sequence[str], datasets: Sequence[str]) -> pd.DataFrame:
    """A DataFrame of these rows, in the order of all datasets; one of dashes for those without."""
    shown = pd.DataFrame(rows, columns=["dataset", "method", "spaces", *names], dtype=str)
    shown = shown.assign(method=shown["method"].map(method_name))
    return shown.merge(pd.DataFrame({"dataset": datasets}), how="right").fillna("–")
