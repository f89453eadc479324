"""The stage `baselines`: k-means, linear probes, zero-shot; then the scores of every method."""

from __future__ import annotations

import pandas as pd

from hume_turtle.encoders.text import load_text_features
from hume_turtle.estimators.kmeans import KMeansBaseline
from hume_turtle.evaluation.linear_probe import LinearProbe
from hume_turtle.evaluation.metrics import evaluate
from hume_turtle.evaluation.zero_shot import ZeroShot
from hume_turtle.pipeline.fit import ESTIMATORS, load_fits
from hume_turtle.pipeline.parallel import in_parallel
from hume_turtle.pipeline.settings import Settings
from hume_turtle.storage.files import atomic_write
from hume_turtle.storage.names import SPLITS

NAMED = ("linear-probe", "zero-shot")  # methods that know the classes by name


def run(suite: Settings, dataset: str) -> None:
    """Write the scores of every method on a dataset as one long table.

    Empty for a dataset whose true labels are not known.
    """
    labels = [suite.data / "labels" / dataset / f"{split}.npy" for split in SPLITS]
    rows = score_dataset(suite, dataset) if all(path.exists() for path in labels) else []
    columns = ["dataset", "method", "spaces", "seed", "split", "metric", "value"]
    with atomic_write(suite.data / "scores" / f"{dataset}.csv", "w", encoding="utf-8") as file:
        table = pd.DataFrame(rows, columns=columns)
        table.to_csv(file, index=False, float_format="%.6f", lineterminator="\n")


def score_dataset(suite: Settings, dataset: str) -> list[dict]:
    """Rows of the long table of every method on a dataset."""
    jobs = [(suite, dataset, names) for names in suite.choices(suite.params["baselines"])]
    parts = in_parallel(score_baselines, jobs, f"{dataset} baselines")
    rows = [row for part in parts for row in part]
    rows += score_zero_shot(suite, dataset)
    for method in ESTIMATORS:
        for names, fits in load_fits(suite, dataset, method).items():
            for fitted in fits:
                rows += score(suite, dataset, method, names, fitted.seed, fitted)
    return rows


def score_baselines(suite: Settings, dataset: str, names: tuple[str, ...]) -> list[dict]:
    """Scores of k-means (every seed) and of the supervised linear probe in a space combination.

    k-means sees the rows that TURTLE and HUME see; the probe is trained on the training split.
    """
    unlabelled = suite.spaces(dataset, names, suite.fit_split)
    classes, settings, rows = suite.params["classes"][dataset], suite.params["baselines"], []
    for seed in settings["seeds"]:
        model = KMeansBaseline(classes, seed=seed, n_init=settings.get("n_init", 10))
        model.fit(unlabelled)
        rows += score(suite, dataset, "k-means", "+".join(names), seed, model)
    train = suite.spaces(dataset, names, "train")
    probe = LinearProbe(device=settings.get("device", "cpu"))
    probe.fit(train, suite.labels(dataset, "train"))
    return rows + score(suite, dataset, "linear-probe", "+".join(names), 0, probe)


def score_zero_shot(suite: Settings, dataset: str) -> list[dict]:
    """Scores of zero-shot transfer in every space that has text features of the classes."""
    rows, texts = [], suite.data / "text"
    for space in suite.space_names:
        if (texts / dataset / space).is_dir():
            text = load_text_features(texts, dataset, space, suite.class_names(dataset))
            rows += score(suite, dataset, "zero-shot", space, 0, ZeroShot(text))
    return rows


def score(suite: Settings, dataset: str, method: str, names: str, seed: int, model) -> list[dict]:
    """Rows of the long table for a fitted model on both splits.

    The classes of the probe and of zero-shot transfer have names, and are not matched.
    """
    keys = {"dataset": dataset, "method": method, "spaces": names, "seed": seed}
    rows = []
    for split in SPLITS:
        predicted = model.predict(suite.spaces(dataset, names, split))
        measures = evaluate(suite.labels(dataset, split), predicted, named=method in NAMED)
        for metric, value in measures.items():
            rows.append({**keys, "split": split, "metric": metric, "value": value})
    return rows
