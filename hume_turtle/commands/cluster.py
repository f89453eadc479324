"""The command `cluster`: from a folder of photographs, or files of embeddings, to groups.

    <output>/assignments.csv     file or row, class, confidence, second: one line a row
    <output>/pseudo-labels.csv   file or row, class: the most confident rows of each class
    <output>/report.html, contact-sheet.png
    <output>/classes.csv         how each number of classes fits, where one was chosen
    <output>/skipped.csv         file, error: images that cannot be read, if any
    <output>/model.npz, model.json   what `assign` labels new rows with
    <output>/embeddings/         of photographs, kept so that another run does not embed again

Everything but the embeddings appears together or not at all. True labels, where they are given,
reach the report and a line that is printed, never a fit.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import hume_turtle
from hume_turtle.commands.arrays import check_rows, layout, open_arrays, open_spaces
from hume_turtle.commands.assign import (
    Answers,
    answers,
    embed,
    embedded,
    photographs,
    photographs_folder,
    set_up_process,
    shown,
    sources_of,
    write_table,
)
from hume_turtle.datasets.images import FileImages
from hume_turtle.storage.files import new_files, refuse_existing

RESULTS = (  # of all runs; some have no classes.csv, contact-sheet.png or skipped.csv
    *("report.html", "contact-sheet.png", "assignments.csv", "pseudo-labels.csv", "classes.csv"),
    *("skipped.csv", "model.npz", "model.json"),
)
ENCODER = "dinov2-vit-b-14"  # where none is named
LEAST = 3  # rows to be grouped


class Rows(NamedTuple):
    """What is to be grouped, before anything is computed.

    Attributes:
        names: (n,) of photographs relative to their folder, or as a file has them; or None.
        first: (n,) for each row the first one that is the same.
        kept: (n,) which of the listed photographs the rows are.
        listed: how many there are with those that cannot be read.
        skipped: name and error of these.
        paths: (n,) of the photographs, or None.
        spaces: K arrays (n, d_k) of files; none of photographs yet.
    """

    names: list[str] | None
    first: np.ndarray
    kept: np.ndarray
    listed: int
    skipped: list[tuple[str, str]]
    paths: list[str] | None
    spaces: list[np.ndarray]

    @property
    def n(self) -> int:
        return len(self.first)

    @property
    def different(self) -> int:
        return len(np.unique(self.first))

    @property
    def kind(self) -> str:
        return "rows" if self.paths is None else "images"


class Truth(NamedTuple):
    """True classes (n,) of the rows, and the classes' names."""

    labels: np.ndarray
    names: list[str]


@dataclass
class Run:
    """A fit, and all that its results are made of.

    Attributes:
        spaces: K arrays (n, d_k), and what made each, with its "name".
        found: how the number of classes was chosen; None where it was given.
    """

    options: argparse.Namespace
    rows: Rows
    truth: Truth | None
    spaces: list[np.ndarray]
    made: list[dict[str, Any]]
    model: Any
    found: Any
    answers: Answers


def cluster(options: argparse.Namespace) -> None:
    """Group the rows, write the results and print a summary."""
    set_up_process()
    classes, gamma = classes_of(options.classes), gamma_of(options.gamma)
    check_settings(options)
    folder, output = photographs_folder(options.inputs), Path(options.output)
    if folder is None and (options.encoder or options.checkpoint):
        raise ValueError("--encoder and --checkpoint go with a folder of photographs")
    check_output(output, folder, options.overwrite)
    if folder is None:
        rows = rows_of_files(options.inputs)
    else:
        names = options.encoder or [ENCODER]
        sources = sources_of(names, options.checkpoint, options.weights)
        rows = rows_of_photographs(folder, options.unreadable, output)
    candidates = candidates_of(classes, rows)
    truth = true_classes(options.labels, rows)
    if folder is None:
        spaces, made = rows.spaces, files_made(options.inputs, rows.spaces)
    else:
        existing = "update" if options.overwrite else "resume"
        root = output / "embeddings"
        made = embed(rows.paths, sources, root, options.device, existing=existing)
        made = [{"name": each["encoder"], **each} for each in made]
        spaces = embedded(root, [each["name"] for each in made])
        for each, space in zip(made, spaces):
            check_rows(each["name"], space)
    model, found = fit(spaces, candidates, gamma, options.seed, options.device)
    run = Run(options, rows, truth, spaces, made, model, found, answers(model, spaces))
    write_results(run, output)
    print(*summary(run), sep="\n")


def fit(
    spaces: list[np.ndarray],
    candidates: int | list[int],
    gamma: float | str,
    seed: int,
    device: str,
):
    """The fit, and how its number of classes was chosen; None where it was given."""
    from hume_turtle.estimators.number_of_classes import select_n_classes
    from hume_turtle.estimators.turtle import Turtle

    found = None
    if isinstance(candidates, list):
        found = select_n_classes(spaces, candidates, seed=seed, device=device)
    n_classes = found.chosen if found else candidates
    model = Turtle(n_classes, gamma=gamma, recipe="fast", seed=seed, device=device)
    return model.fit(spaces), found


# What is asked for, checked before any work


def classes_of(text: str) -> int | range | None:
    """A number of classes, a range to choose from, or None for "auto"."""
    if text == "auto":
        return None
    low, dash, high = text.partition("-")
    if not low.isdecimal() or (dash and not high.isdecimal()):
        raise ValueError(f"--classes {text!r} must be a number, a range such as 2-40, or auto")
    if int(low) < 2:
        raise ValueError(f"--classes {text}: at least 2 classes are needed")
    if dash and int(high) <= int(low):
        raise ValueError(f"--classes {text}: a range goes from the smaller number to the larger")
    return range(int(low), int(high) + 1) if dash else int(low)


def gamma_of(text: str) -> float | str:
    """A weight of the entropy, or "auto"."""
    try:
        gamma = text if text == "auto" else float(text)
    except ValueError:
        gamma = np.nan
    if gamma != "auto" and not 0 <= gamma < np.inf:
        raise ValueError(f"--gamma {text!r} must be auto or a number >= 0")
    return gamma


def check_settings(options: argparse.Namespace) -> None:
    """Raise ValueError for what would else be found out after the work."""
    from hume_turtle.core.precision import pick_device

    if options.seed < 0:
        raise ValueError(f"--seed {options.seed} must be at least 0")
    if not 0 < options.reliable <= 1:
        raise ValueError(f"--reliable {options.reliable} must be a share, above 0 and at most 1")
    pick_device(options.device)


def check_output(output: Path, folder: Path | None, overwrite: bool) -> None:
    """Whether results can be written there."""
    places = (output.absolute(), *output.absolute().parents)
    near = next(place for place in places if place.exists())
    if not near.is_dir():
        raise ValueError(f"--output {shown(output)}: {shown(near)} is a file, not a folder")
    if not os.access(near, os.W_OK | os.X_OK):
        raise PermissionError(f"--output {shown(output)}: nothing may be written to {shown(near)}")
    if folder is not None and output.resolve() == folder.resolve():
        raise ValueError(f"--output {shown(output)} is the folder of photographs: name another one")
    refuse_existing(output, RESULTS, overwrite)


def candidates_of(classes: int | range | None, rows: Rows) -> int | list[int]:
    """The number of classes, or those to choose from. Raises ValueError for too few rows."""
    from hume_turtle.estimators.number_of_classes import check_candidates

    if rows.n < LEAST:
        count = f"{rows.n} {rows.kind}" if rows.n != 1 else f"one {rows.kind[:-1]}"
        raise ValueError(f"there is only {count} to be grouped: at least {LEAST} are needed")
    if rows.different < 2:
        raise ValueError(f"all {rows.n} {rows.kind} are the same, so there are no classes")
    most = 2 if classes is None else classes if isinstance(classes, int) else classes[-1]
    if most > rows.different:
        less = "" if rows.different == rows.n else f", {rows.different} different ones"
        raise ValueError(f"{most} classes are more than there are {rows.kind}: {rows.n}{less}")
    if isinstance(classes, int):
        return classes
    try:
        return check_candidates(classes, rows.different)
    except ValueError as error:
        raise ValueError(f"{error}; or name one number by --classes") from None


# Rows


def rows_of_photographs(folder: Path, unreadable: str, output: Path) -> Rows:
    found = photographs(folder, unreadable, output)
    first = first_of_equal(found.digests)
    counts = found.kept, found.listed, found.skipped
    return Rows(found.names, first, *counts, found.paths, [])


def rows_of_files(paths: Sequence[str]) -> Rows:
    spaces, names = open_spaces(paths)
    n = len(spaces[0])
    first = first_of_equal([row_digest(spaces, i) for i in range(n)])
    return Rows(names, first, np.arange(n), n, [], None, spaces)


def row_digest(spaces: Sequence[np.ndarray], i: int) -> bytes:
    digest = blake2b(digest_size=16)
    for space in spaces:
        digest.update(np.ascontiguousarray(space[i]))
    return digest.digest()


def first_of_equal(keys: Sequence[bytes]) -> np.ndarray:
    """For each row the first one with the same key, (n,)."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(key, i) for i, key in enumerate(keys)], np.int64)


def files_made(paths: Sequence[str], spaces: list[np.ndarray]) -> list[dict[str, Any]]:
    """What model.json says of spaces from files."""
    names = [Path(path).stem for path in paths]
    names = names if len({*names}) == len(names) else [*paths]
    return [
        {"name": name, "file": path, "dimensions": space.shape[1]}
        for name, path, space in zip(names, paths, spaces)
    ]


# True classes, for the report alone


def true_classes(source: str | None, rows: Rows) -> Truth | None:
    """Of a file, or for `folders` the first sub-folder that each photograph is in."""
    if source is None:
        return None
    given = folder_classes(rows) if source == "folders" else file_classes(source, rows)
    names = sorted({*given})
    number = {name: c for c, name in enumerate(names)}
    return Truth(np.array([number[name] for name in given], np.int64), [*map(str, names)])


def folder_classes(rows: Rows) -> list[str]:
    if rows.paths is None:
        raise ValueError("--labels folders goes with a folder of photographs")
    for name in rows.names:
        if os.sep not in name:
            raise ValueError(f"--labels folders: {shown(name)} is in no sub-folder, so in no class")
    return [name.partition(os.sep)[0] for name in rows.names]


def file_classes(path: str, rows: Rows) -> list:
    """A class for each row, or for each photograph that is listed, or by the rows' names."""
    if Path(path).suffix.lower() == ".csv" and Path(path).is_file():
        given = csv_classes(path, rows)
    else:
        given = open_arrays([path], 1)[0].tolist()
    if len(given) == rows.n:
        return given
    if len(given) == rows.listed:
        return [given[i] for i in rows.kept]
    raise ValueError(f"{path} has {len(given)} labels, but there are {rows.listed} {rows.kind}")


def csv_classes(path: str, rows: Rows) -> list[str]:
    """The only column, with a header or without; or the second one, by the names in the first."""
    _, separator = layout(path)
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = [line for line in csv.reader(file, delimiter=separator) if line]
    if len({len(line) for line in lines}) != 1 or len(lines[0]) > 2:
        raise ValueError(f"{path} must have one column, the class, or two: file and class")
    if len(lines[0]) == 2 and rows.names is not None:
        by_name = dict(lines)
        for name in rows.names:
            if name not in by_name:
                raise ValueError(f"{path} has no class for {shown(name)}")
        return [by_name[name] for name in rows.names]
    classes = [line[-1] for line in lines]
    return classes[1:] if len(classes) - 1 in (rows.n, rows.listed) else classes


# Results


def write_results(run: Run, output: Path) -> None:
    """All files of `RESULTS` that this run has; those of an earlier one are gone afterwards."""
    from hume_turtle.estimators.reliable import reliable_rows
    from hume_turtle.reporting.contact_sheet import contact_sheet
    from hume_turtle.reporting.report_page import write_report

    found, rows = run.answers, run.rows
    images = FileImages(rows.paths) if rows.paths else None
    absent = {"contact-sheet.png": images is None, "skipped.csv": not rows.skipped}
    absent["classes.csv"] = run.found is None
    places = [name for name in RESULTS if not absent.get(name)]
    with new_files(output, places, run.options.overwrite) as folder:
        columns = found.columns(rows.names)
        write_table(folder / "assignments.csv", columns)
        kept = reliable_rows(found.labels, found.confidence, run.options.reliable)
        first_two = [*columns.items()][:2]
        pseudo = {name: [values[i] for i in kept] for name, values in first_two}
        write_table(folder / "pseudo-labels.csv", pseudo)
        if run.found:
            table = run.found.table()
            table.to_csv(folder / "classes.csv", index=False, lineterminator="\n")
        if rows.skipped:
            names, errors = zip(*rows.skipped)
            write_table(folder / "skipped.csv", {"file": names, "error": errors})
        if images:
            sheet = contact_sheet(images, found.labels, found.confidence)
            sheet.save(folder / "contact-sheet.png")
        run.model.save(folder / "model.npz")
        text = json.dumps(description(run), indent=2, default=lambda number: number.item())
        (folder / "model.json").write_text(text + "\n", encoding="utf-8")
        write_report(folder / "report.html", report(run, images))
    for stale in {*RESULTS} - {*places}:
        (output / stale).unlink(missing_ok=True)


def description(run: Run) -> dict[str, Any]:
    """What model.json says: all that `assign` needs, and what the fit ran with."""
    from importlib.metadata import version

    libraries = ("numpy", "pillow", "torch")
    table = run.found and json.loads(run.found.table().to_json(orient="records"))
    chosen = {"certain": run.found.certain, "reason": run.found.reason} if run.found else {}
    return {
        "spaces": run.made,
        "rows": run.rows.n,
        "classes": {"asked": run.options.classes, "fitted": run.model.n_classes, **chosen},
        "curve": table,
        "settings": {
            "gamma": run.model.gamma_,
            "recipe": run.model.recipe,
            "seed": run.options.seed,
            "reliable": run.options.reliable,
        },
        "versions": {
            "hume-turtle": hume_turtle.__version__,
            **{name: version(name) for name in libraries},
        },
    }


def report(run: Run, images: Sequence | None):
    """The data of report.html."""
    from hume_turtle.reporting.report_page import Report
    from hume_turtle.reporting.scatter_map import map_points

    found, rows, options = run.answers, run.rows, run.options
    title = Path(options.inputs[0]).resolve().name if rows.paths else "Embeddings"
    return Report(
        title=f"Groups in {title}" if rows.paths else f"Groups in {' and '.join(options.inputs)}",
        names=rows.names or [f"row {i}" for i in range(rows.n)],
        labels=found.labels,
        confidence=found.confidence,
        second=found.second,
        by_space=found.by_space,
        space_names=[each["name"] for each in run.made],
        points=map_points(run.spaces, seed=options.seed),
        images=images,
        facts=facts(run),
        notes=notes(run),
        curve=run.found.table() if run.found else None,
        chosen=run.model.n_classes,
        true=run.truth.labels if run.truth else None,
        class_names=run.truth.names if run.truth else None,
    )


def facts(run: Run) -> dict[str, str]:
    asked = run.options.classes
    how = "given" if run.found is None else f"chosen from {asked}" if asked != "auto" else "chosen"
    spaces = [f"{each['name']} ({each['dimensions']} dimensions)" for each in run.made]
    return {
        run.rows.kind: str(run.rows.n),
        "classes": f"{run.model.n_classes}, {how}",
        "spaces": ", ".join(spaces),
        "method": f"TURTLE, fast recipe, γ = {run.model.gamma_:g}, seed {run.options.seed}",
        "version": f"hume-turtle {hume_turtle.__version__}",
    }


def notes(run: Run) -> list[str]:
    """Sentences for the report and the terminal: what the user should know about the result."""
    rows, lines = run.rows, []
    if run.found:
        sure = "" if run.found.certain else "The number of classes is uncertain. "
        lines.append(sure + run.found.reason)
    copies = rows.n - rows.different
    if copies:
        which = shown(
            (rows.names or range(rows.n))[int(np.argmax(rows.first != np.arange(rows.n)))]
        )
        lines.append(
            f"{copies} of {rows.n} {rows.kind} are exact copies of others ({which} first)."
        )
    if rows.skipped:
        lines.append(f"{len(rows.skipped)} images cannot be read; skipped.csv lists them.")
    empty = run.model.n_classes - len(np.unique(run.answers.labels))
    if empty:
        lines.append(f"{empty} of {run.model.n_classes} classes have no {rows.kind}.")
    return lines


def summary(run: Run) -> list[str]:
    """What is printed at the end."""
    from hume_turtle.evaluation.metrics import evaluate

    classes, counts = np.unique(run.answers.labels, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    sizes = ", ".join(f"{classes[i]}: {counts[i]}" for i in order)
    lines = [f"{run.rows.n} {run.rows.kind} in {len(classes)} classes", f"sizes: {sizes}"]
    lines += notes(run)
    if run.truth:
        scores = evaluate(run.truth.labels, run.answers.labels)
        numbers = f"{scores['cluster_accuracy']:.1%} (ARI {scores['ari']:.3f})"
        lines.append(f"cluster accuracy by {run.options.labels}: {numbers}")
    output = Path(run.options.output)
    lines.append(f"{shown(output / 'report.html')} shows them; assignments.csv beside it lists all")
    return lines
