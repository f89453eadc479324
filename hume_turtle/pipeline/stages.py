"""What each DVC stage does: pretrain, embed, fit, select, baselines, notebooks, report.

Every stage reads params.yaml in the current directory through `Suite`. Fits and baselines run
as independent jobs on one thread each, spread over the cores: their bits do not depend on how
many cores there are.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from hume_turtle.pipeline.suite import Suite, estimator_class

SPLITS = ("train", "test")
METHODS = ("hume", "turtle")
NAMED = ("linear-probe", "zero-shot")  # methods that know the classes by name


def in_parallel(function: Callable, jobs: list[tuple]) -> list:
    """Call `function(*job)` for every job on all cores, each on one thread; results in order.

    Where there is a GPU the jobs take it in turns.
    """
    import torch
    from joblib import Parallel, cpu_count, delayed

    if not jobs:
        return []
    workers = 1 if torch.cuda.is_available() else min(len(jobs), cpu_count())
    parallel = Parallel(n_jobs=workers, backend="multiprocessing", batch_size=1)
    return parallel(delayed(_on_one_thread)(function, job) for job in jobs)


def _on_one_thread(function: Callable, job: tuple):
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    with threadpool_limits(1):
        return function(*job)


def fresh_folder(path: Path) -> Path:
    """An empty folder; what an earlier run left there is gone."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def pretrain(suite: Suite) -> None:
    """The networks that are trained here: one on letters for all datasets, MoCo on each dataset.

    `pretrain.datasets` names those for MoCo, by default all; none is trained where its embeddings
    were imported. With `resume`, finished networks are kept and a killed training goes on.
    """
    from hume_turtle.storage.embeddings import is_imported

    settings = suite.params["pretrain"]
    (suite.data / "networks").mkdir(parents=True, exist_ok=True)
    if not settings.get("resume", False):
        fresh_folder(suite.data / "networks")
    jobs = [(suite, "letters", None)] if "letters" in suite.space_names else []
    if "moco" in suite.space_names:
        jobs += [
            (suite, "moco", dataset)
            for dataset in settings.get("datasets", suite.datasets)
            if not is_imported(suite.data / "embeddings", dataset, "moco")
        ]
    in_parallel(train_network, [job for job in jobs if not suite.network_path(*job[1:]).exists()])


def train_network(suite: Suite, name: str, dataset: str | None) -> None:
    """Train one network; MoCo learns from the dataset's training images, without labels.

    `pretrain.<dataset>` holds MoCo's settings on a dataset that are its own, and under `images`
    another dataset to learn from, such as STL-10's unlabelled images.
    """
    from hume_turtle.pretraining import checkpoints, letters, moco

    settings, seed = suite.params["pretrain"], suite.params["pretrain"]["seed"]
    path = suite.network_path(name, dataset)
    if name == "letters":
        checkpoints.save_checkpoint(letters.pretrain_letters(settings[name], seed), path)
        return
    own = {**settings[name], **settings.get(dataset, {})}
    images = suite.images(own.pop("images", dataset), "train").images
    moco.pretrain(images, path, own, seed)


def embed(suite: Suite, dataset: str) -> None:
    """Embeddings of both splits in every space, and the true labels in a folder of their own."""
    from hume_turtle.pipeline.embed import embed_dataset

    embed_dataset(suite, dataset)


def fit(suite: Suite, dataset: str) -> None:
    """TURTLE in every space and pair, HUME in its pairs, all seeds; no label is read."""
    fresh_folder(suite.data / "fits" / dataset)
    # HUME, then pairs, then single spaces: the long jobs first, so that no core waits at the end.
    jobs = [
        (suite, dataset, method, spaces)
        for method in METHODS
        for spaces in reversed(suite.method_choices(method))
    ]
    in_parallel(fit_seeds, jobs)


def fit_seeds(suite: Suite, dataset: str, method: str, names: tuple[str, ...]) -> None:
    """Fit one method in one choice of spaces with every seed, as one batch, and save the fits."""
    classes, seeds = suite.params["classes"][dataset], suite.params["fit"]["seeds"]
    model = estimator_class(method)(classes, **suite.settings(method, dataset))
    fits = model.fit_many(
        suite.spaces(dataset, names, suite.fit_split), [{"seed": seed} for seed in seeds]
    )
    for seed, fitted in zip(seeds, fits):
        fitted.save(suite.fit_path(dataset, method, names, seed))


def select(suite: Suite) -> None:
    """TURTLE with a grid of settings, and the generalization scores; no label is read.

    For each dataset `<dataset>.csv`, a row a fit, and `<dataset>.npz` with their `labelings`
    (R, n), so that accuracies can be computed where true labels are allowed.
    """
    import numpy as np
    import pandas as pd

    from hume_turtle.storage.files import atomic_write

    settings, folder = suite.params["selection"], fresh_folder(suite.data / "selection")
    for dataset in settings["datasets"]:
        grids = one_value_each(settings["grid"])
        jobs = [(suite, dataset, names, grid) for names in settings["spaces"] for grid in grids]
        tables, labelings = zip(*in_parallel(fit_grid, jobs))
        with atomic_write(folder / f"{dataset}.csv", "w", encoding="utf-8") as file:
            pd.concat(tables).to_csv(file, index=False, lineterminator="\n")
        with atomic_write(folder / f"{dataset}.npz") as file:
            np.savez_compressed(file, labelings=np.concatenate(labelings))


def one_value_each(grid: dict[str, list]) -> list[dict[str, list]]:
    """The grid in parts, one for each value of its first setting: jobs for as many cores."""
    first = next(iter(grid))
    return [{**grid, first: [value]} for value in grid[first]]


def fit_grid(suite: Suite, dataset: str, names: list[str], grid: dict[str, list]):
    """Fit TURTLE with every setting of a grid in one choice of spaces; table and labelings."""
    from hume_turtle.estimators import selection

    model = estimator_class("turtle")(
        suite.params["classes"][dataset],
        seed=suite.params["fit"]["seeds"][0],
        **suite.settings("turtle", dataset),
    )
    found = selection.select(model, suite.spaces(dataset, names, suite.fit_split), grid)
    table = found.table().rename(columns={"score": "generalization_score"})
    table.insert(0, "dataset", dataset)
    table.insert(1, "spaces", "+".join(names))
    return table, found.labelings


def baselines(suite: Suite, dataset: str) -> None:
    """k-means, linear probes, zero-shot; then the scores of every method, as one long table.

    Empty for a dataset whose true labels are not known.
    """
    import pandas as pd

    from hume_turtle.storage.files import atomic_write

    rows = score_dataset(suite, dataset) if suite.hcheck_labels(dataset) else []
    columns = ["dataset", "method", "spaces", "seed", "split", "metric", "value"]
    with atomic_write(suite.data / "scores" / f"{dataset}.csv", "w", encoding="utf-8") as file:
        table = pd.DataFrame(rows, columns=columns)
        table.to_csv(file, index=False, float_format="%.6f", lineterminator="\n")


def score_dataset(suite: Suite, dataset: str) -> list[dict]:
    """Rows of the long table of every method on a dataset."""
    jobs = [(suite, dataset, names) for names in suite.choices(suite.params["baselines"])]
    rows = [row for part in in_parallel(score_baselines, jobs) for row in part]
    rows += score_zero_shot(suite, dataset)
    for method in METHODS:
        for names, fits in suite.fits(dataset, method).items():
            for fitted in fits:
                rows += score(suite, dataset, method, names, fitted.seed, fitted)
    return rows


def score_baselines(suite: Suite, dataset: str, names: tuple[str, ...]) -> list[dict]:
    """Scores of k-means (every seed) and of the supervised linear probe in a choice of spaces.

    k-means sees the rows that TURTLE and HUME see; the probe is trained on the training split.
    """
    from hume_turtle.estimators.kmeans import KMeansBaseline
    from hume_turtle.evaluation.linear_probe import LinearProbe

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


def score_zero_shot(suite: Suite, dataset: str) -> list[dict]:
    """Scores of zero-shot transfer in every space that has text features of the classes."""
    from hume_turtle.encoders.text import ZeroShot, load_text_features

    rows, texts = [], suite.data / "text"
    for space in suite.space_names:
        if (texts / dataset / space).is_dir():
            text = load_text_features(texts, dataset, space, suite.class_names(dataset))
            rows += score(suite, dataset, "zero-shot", space, 0, ZeroShot(text))
    return rows


def score(suite: Suite, dataset: str, method: str, names: str, seed: int, model) -> list[dict]:
    """Rows of the long table for a fitted model on both splits.

    The classes of the probe and of zero-shot transfer have names, and are not matched.
    """
    from hume_turtle.evaluation.metrics import evaluate

    keys = {"dataset": dataset, "method": method, "spaces": names, "seed": seed}
    rows = []
    for split in SPLITS:
        predicted = model.predict(suite.spaces(dataset, names, split))
        measures = evaluate(suite.labels(dataset, split), predicted, named=method in NAMED)
        for metric, value in measures.items():
            rows.append({**keys, "split": split, "metric": metric, "value": value})
    return rows


def notebooks(suite: Suite) -> None:
    """Execute all notebooks, side by side; a folder each, with its figures and tables."""
    from joblib import Parallel, cpu_count, delayed

    names = suite.params["notebooks"]
    fresh_folder(suite.data / "notebooks")
    parallel = Parallel(n_jobs=min(len(names), cpu_count()), backend="multiprocessing")
    parallel(delayed(execute)(suite, name) for name in names)


def execute(suite: Suite, name: str) -> None:
    """Execute one notebook in a kernel; its figures and tables land beside the executed file."""
    from hume_turtle.reporting.run_notebook import execute_notebook

    run = fresh_folder(suite.data / "notebooks" / name)
    execute_notebook(
        suite.root / "notebooks" / f"{name}.ipynb",
        run / f"{name}.ipynb",
        {"suite_folder": str(suite.folder), "output": str(run)},
    )


def report(suite: Suite) -> None:
    """Publish the executed notebooks, tables and figures to the folders that are in git."""
    from hume_turtle.reporting.publish import publish

    publish(
        suite.data / "notebooks",
        suite.params["notebooks"],
        suite.params["artefacts"],
        suite.root / "figures" / suite.name,
        suite.root / "notebooks" / "executed" / suite.name,
    )
