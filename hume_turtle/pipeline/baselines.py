"""The stage `baselines`: k-means, linear probes, zero-shot; then the scores of every method."""

from __future__ import annotations

import json

import pandas as pd

from hume_turtle.encoders.text import load_text_features
from hume_turtle.estimators.kmeans import KMeansBaseline
from hume_turtle.evaluation.linear_probe import LinearProbe
from hume_turtle.evaluation.metrics import evaluate
from hume_turtle.evaluation.zero_shot import ZeroShot
from hume_turtle.pipeline.fit import load_fits
from hume_turtle.pipeline.kept import file_digests, inputs_of, is_kept, kept
from hume_turtle.pipeline.parallel import in_parallel
from hume_turtle.pipeline.settings import Settings
from hume_turtle.storage.embeddings import labels_path
from hume_turtle.storage.files import atomic_write

NAMED = ("linear-probe", "zero-shot")  # methods that know the classes by name
COLUMNS = ["dataset", "method", "spaces", "seed", "split", "metric", "value"]


def run(suite: Settings, dataset: str) -> None:
    """Write the scores of every method on a dataset as one long table.

    Those of the splits whose true labels are known: empty where none are. In a suite with
    `resume: true` the baselines of a space combination are kept in `data/<suite>/parts/baselines`.
    """
    rows = score_dataset(suite, dataset) if suite.labelled(dataset) else []
    with atomic_write(suite.data / "scores" / f"{dataset}.csv", "w", encoding="utf-8") as file:
        table = pd.DataFrame(rows, columns=COLUMNS)
        table.to_csv(file, index=False, float_format="%.6f", lineterminator="\n")


def score_dataset(suite: Settings, dataset: str) -> list[dict]:
    """Rows of the long table of every method on a dataset."""
    choices = suite.choices(suite.params["baselines"], dataset)
    jobs = [(suite, dataset, names) for names in choices]
    options = {"threads": suite.params["threads"], "large": suite.is_large(dataset)}
    parts = in_parallel(score_baselines, jobs, f"{dataset} baselines", **options)
    rows = [row for part in parts for row in part]
    rows += score_zero_shot(suite, dataset)
    for key, method in suite.methods.items():
        regime = method.regime and method.split == "all"  # which is scored as it was fitted too
        for names, fits in load_fits(suite, dataset, key).items():
            for fitted in fits:
                rows += score(suite, dataset, key, names, fitted.seed, fitted.predict, regime)
                if getattr(fitted, "n_runs", 1) > 1:
                    again = fitted.predict_rematched
                    rows += score(
                        suite, dataset, f"{key}-rematched", names, fitted.seed, again, regime
                    )
    return rows


def score_baselines(suite: Settings, dataset: str, names: tuple[str, ...]) -> list[dict]:
    """Scores of k-means (every seed) and of the supervised linear probe in a space combination.

    k-means sees the rows that TURTLE and HUME see; the probe is trained on the training split,
    where that and its labels are known.
    """
    settings, spaces = suite.params["baselines"], "+".join(names)
    part = suite.data / "parts" / "baselines" / dataset / f"{spaces}.scores"
    truth = [labels_path(suite.data / "labels", dataset, split) for split in suite.splits]
    stated = {"settings": settings, "split": suite.fit_split, "labels": file_digests(truth)}
    inputs = inputs_of(suite, "baselines", dataset, names, **stated)
    if is_kept(part, inputs):
        return json.loads(part.read_text(encoding="utf-8"))
    rows, device = [], settings.get("device", "cpu")
    own = {name: settings[name] for name in ("n_init", "max_iter") if name in settings}
    for seed in settings["seeds"]:
        model = KMeansBaseline(suite.params["classes"][dataset], seed=seed, device=device, **own)
        model.fit(suite.spaces(dataset, names, suite.fit_split))
        rows += score(suite, dataset, "k-means", spaces, seed, model.predict)
    if {"train", "test"} <= {*suite.labelled(dataset)}:
        grid = {"grid": settings["probe"]} if "probe" in settings else {}
        probe = LinearProbe(**grid, device=device)
        probe.fit(suite.spaces(dataset, names, "train"), suite.labels(dataset, "train"))
        rows += score(suite, dataset, "linear-probe", spaces, 0, probe.predict)
    if inputs is not None:
        with kept(part, inputs), atomic_write(part, "w", encoding="utf-8") as file:
            file.write(json.dumps(rows))  # every float exactly
    return rows


def score_zero_shot(suite: Settings, dataset: str) -> list[dict]:
    """Scores of zero-shot transfer in every space that has text features of the classes."""
    rows, texts = [], suite.data / "text"
    for space in suite.spaces_of(dataset):
        if (texts / dataset / space).is_dir():
            text = load_text_features(texts, dataset, space, suite.class_names(dataset))
            rows += score(suite, dataset, "zero-shot", space, 0, ZeroShot(text).predict)
    return rows


def score(
    suite: Settings, dataset: str, key: str, names: str, seed: int, predict, regime: bool = False
) -> list[dict]:
    """Rows of the long table for a method's `predict` on every split whose labels are known.

    regime: also on all splits together, as the transductive regime is published.
    The classes of the probe and of zero-shot transfer have names, and are not matched.
    """
    keys, rows = {"dataset": dataset, "method": key, "spaces": names, "seed": seed}, []
    splits = suite.labelled(dataset)
    together = ["all"] if regime and splits == [*suite.splits] else []
    for split in splits + together:
        predicted = predict(suite.spaces(dataset, names, split))
        measures = evaluate(suite.labels(dataset, split), predicted, named=key in NAMED)
        for metric, value in measures.items():
            rows.append({**keys, "split": split, "metric": metric, "value": value})
    return rows
