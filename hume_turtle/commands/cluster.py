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
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

import hume_turtle
from hume_turtle.commands.arrays import check_rows, layout, open_arrays, open_spaces
from hume_turtle.commands.assign import Answers, answers, set_up_process, write_table
from hume_turtle.commands.photographs import (
    Rows,
    embed,
    first_of_equal,
    left_out,
    photographs,
    photographs_folder,
    shown,
    sources_of,
)
from hume_turtle.storage.files import new_files, refuse_existing

RESULTS = (  # of all runs; some have no classes.csv, contact-sheet.png or skipped.csv
    *("report.html", "contact-sheet.png", "assignments.csv", "pseudo-labels.csv", "classes.csv"),
    *("skipped.csv", "model.npz", "model.json"),
)
ENCODER = "dinov2-vit-b-14"  # where none is named
LEAST = 3  # rows to be grouped


@dataclass
class Run:
    """A fit, and all that its results are made of.

    Attributes:
        truth: true classes (n,) of the rows, and the classes' names.
        spaces: K arrays (n, d_k), and what made each, with its "name".
        found: how the number of classes was chosen; None where it was given.
    """

    options: argparse.Namespace
    rows: Rows
    truth: tuple[np.ndarray, list[str]] | None
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
    check_output(output, folder, options.overwrite)
    if folder is None:
        rows, spaces, made = rows_of_files(options)
    else:
        sources = sources_of(options.encoder or [ENCODER], options.checkpoint, options.weights)
        rows = photographs(folder, options.unreadable)
    candidates = candidates_of(classes, rows)
    truth = true_classes(options.labels, rows)
    if folder is not None:
        existing = "update" if options.overwrite else "resume"
        root = output / "embeddings"
        spaces, made = embed(rows.paths, sources, root, options.device, existing=existing)
        for each, space in zip(made, spaces):
            each["name"] = each["encoder"]
            check_rows(each["name"], space)
    model, found = fit(spaces, candidates, gamma, options.seed, options.device)
    run = Run(options, rows, truth, spaces, made, model, found, answers(model, spaces))
    write_results(run, output)
    print(*summary(run), sep="\n")


def fit(spaces: list[np.ndarray], candidates: int | list[int], gamma, seed: int, device: str):
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
    found = re.fullmatch("([0-9]+)(-([0-9]+))?", text)
    if not found:
        raise ValueError(f"--classes {text!r} must be a number, a range such as 2-40, or auto")
    low, high = int(found[1]), int(found[3] or found[1])
    if low < 2:
        raise ValueError(f"--classes {text}: at least 2 classes are needed")
    if found[3] and high <= low:
        raise ValueError(f"--classes {text}: a range goes from the smaller number to the larger")
    return range(low, high + 1) if found[3] else low


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
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {shown(output)} is a file, not a folder")
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


# Rows of files


def rows_of_files(options: argparse.Namespace) -> tuple[Rows, list[np.ndarray], list[dict]]:
    """The rows, K spaces (n, d_k) of them, and what model.json says of each."""
    if options.encoder or options.checkpoint:
        raise ValueError("--encoder and --checkpoint go with a folder of photographs")
    paths = options.inputs
    spaces, names = open_spaces(paths)
    rows = (b"".join(row.tobytes() for row in each) for each in zip(*spaces))
    first = first_of_equal([blake2b(row, digest_size=16).digest() for row in rows])
    stems = [Path(path).stem for path in paths]
    called = stems if len({*stems}) == len(stems) else paths
    made = [
        {"name": name, "file": path, "dimensions": space.shape[1]}
        for name, path, space in zip(called, paths, spaces)
    ]
    return Rows(names, first, None, [*range(len(first))], []), spaces, made


# True classes, for the report alone


def true_classes(source: str | None, rows: Rows) -> tuple[np.ndarray, list[str]] | None:
    """Of a file, or for `folders` the first sub-folder that each photograph is in."""
    if source is None:
        return None
    given = folder_classes(rows) if source == "folders" else file_classes(source, rows)
    names, labels = np.unique(given, return_inverse=True)
    return labels, [*map(str, names)]


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
    listed = rows.n + len(rows.skipped)
    if len(given) == rows.n:
        return given
    if len(given) == listed:
        return [given[i] for i in rows.kept]
    raise ValueError(f"{path} has {len(given)} labels, but there are {listed} {rows.kind}")


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
    return classes[1:] if len(classes) - 1 in (rows.n, rows.n + len(rows.skipped)) else classes


# Results


def write_results(run: Run, output: Path) -> None:
    """All files of `RESULTS` that this run has; those of an earlier one are gone afterwards."""
    writers = {**tables(run), **pages(run)}
    with new_files(output, [*writers], run.options.overwrite) as folder:
        for name, write in writers.items():
            write(folder / name)
    for stale in {*RESULTS} - {*writers}:
        (output / stale).unlink(missing_ok=True)


def tables(run: Run) -> dict[str, Callable[[Path], Any]]:
    """What writes each table and the model."""
    from hume_turtle.estimators.reliable import reliable_rows

    found, columns = run.answers, run.answers.columns(run.rows.names)
    kept = reliable_rows(found.labels, found.confidence, run.options.reliable)
    pseudo = {name: [columns[name][i] for i in kept] for name in [*columns][:2]}
    text = json.dumps(description(run), indent=2, default=lambda number: number.item()) + "\n"
    writers = {
        "assignments.csv": lambda path: write_table(path, columns),
        "pseudo-labels.csv": lambda path: write_table(path, pseudo),
        "model.npz": run.model.save,
        "model.json": lambda path: path.write_text(text, encoding="utf-8"),
    }
    if run.found:
        curve = run.found.table()
        writers["classes.csv"] = lambda p: curve.to_csv(p, index=False, lineterminator="\n")
    if run.rows.skipped:
        skipped = dict(zip(("file", "error"), zip(*run.rows.skipped)))
        writers["skipped.csv"] = lambda path: write_table(path, skipped)
    return writers


def pages(run: Run) -> dict[str, Callable[[Path], Any]]:
    """What writes the report, and the sheet of photographs."""
    from hume_turtle.reporting.contact_sheet import OpenedFiles, contact_sheet
    from hume_turtle.reporting.report_page import write_report

    images, found = run.rows.paths and OpenedFiles(run.rows.paths), run.answers
    writers = {"report.html": lambda path: write_report(path, report(run, images))}
    if images:
        sheet = contact_sheet(images, found.labels, found.confidence)
        writers["contact-sheet.png"] = sheet.save
    return writers


def description(run: Run) -> dict[str, Any]:
    """What model.json says: all that `assign` needs, and what the fit ran with."""
    from importlib.metadata import version

    options, found = run.options, run.found
    chosen = {"certain": found.certain, "reason": found.reason} if found else {}
    versions = {name: version(name) for name in ("numpy", "pillow", "torch")}
    return {
        "spaces": run.made,
        "rows": run.rows.n,
        "classes": {"asked": options.classes, "fitted": run.model.n_classes, **chosen},
        "curve": found and json.loads(found.table().to_json(orient="records")),
        "settings": {
            "gamma": run.model.gamma_,
            "recipe": run.model.recipe,
            "seed": options.seed,
            "reliable": options.reliable,
        },
        "versions": {"hume-turtle": hume_turtle.__version__, **versions},
    }


def report(run: Run, images: Sequence | None):
    """The data of report.html."""
    from hume_turtle.reporting.report_page import Report
    from hume_turtle.reporting.scatter_map import map_points

    found, rows, inputs = run.answers, run.rows, run.options.inputs
    return Report(
        title=f"Groups in {Path(*inputs).resolve().name if images else ' and '.join(inputs)}",
        names=rows.names or [f"row {i}" for i in range(rows.n)],
        labels=found.labels,
        confidence=found.confidence,
        second=found.second,
        by_space=found.by_space,
        space_names=[each["name"] for each in run.made],
        points=map_points(run.spaces, seed=run.options.seed),
        images=images,
        facts=facts(run),
        notes=notes(run),
        curve=run.found.table() if run.found else None,
        chosen=run.model.n_classes,
        true=run.truth and run.truth[0],
        class_names=run.truth and run.truth[1],
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
    if copies := rows.n - rows.different:
        first = int(np.argmax(rows.first != np.arange(rows.n)))
        which = shown(rows.names[first] if rows.names else first)
        of = f"{copies} of {rows.n} {rows.kind}"
        lines.append(f"Exact copies of others: {of} ({which} first).")
    lines += left_out(rows)
    if empty := run.model.n_classes - len(np.unique(run.answers.labels)):
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
        scores = evaluate(run.truth[0], run.answers.labels)
        numbers = f"{scores['cluster_accuracy']:.1%} (ARI {scores['ari']:.3f})"
        lines.append(f"cluster accuracy by {run.options.labels}: {numbers}")
    output = Path(run.options.output)
    lines.append(f"{shown(output / 'report.html')} shows them; assignments.csv beside it lists all")
    return lines
