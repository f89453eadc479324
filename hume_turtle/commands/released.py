"""The commands about the files of the papers' authors: `import`, `export`, `evaluate-tasks`."""

from __future__ import annotations

import argparse

from hume_turtle.released.export import export
from hume_turtle.released.importers import import_released
from hume_turtle.released.tasks import evaluate_tasks
from hume_turtle.storage.files import atomic_write


def import_archive(options: argparse.Namespace) -> None:
    rename = {}
    for text in options.rename:
        theirs, equals, ours = text.partition("=")
        if not (theirs and equals and ours) or theirs in rename:
            raise ValueError(f"--rename {text!r} must be THEIRS=OURS, each of theirs once")
        rename[theirs] = ours
    settings = {"overwrite": options.overwrite, "rename": rename}
    imported = import_released(options.kind, options.archive, options.output, **settings)
    print(*imported.notes, f"{len(imported.paths)} files imported to {options.output}", sep="\n")


def export_fit(options: argparse.Namespace) -> None:
    names = options.dataset, options.spaces
    paths = export(options.model, *names, options.output, overwrite=options.overwrite)
    print(*paths, sep="\n")


def score_tasks(options: argparse.Namespace) -> None:
    scores, skipped, votes = evaluate_tasks(
        options.tasks, options.embeddings, options.labels, options.split
    )
    if options.output:
        with atomic_write(options.output, "w", encoding="utf-8") as file:
            scores.to_csv(file, index=False, lineterminator="\n")
    keys = ["dataset", "method", "spaces", "seed"]
    if len(scores):
        print(scores.pivot(index=keys, columns="metric", values="value").round(4).to_string())
    if len(votes):
        print("votes, matched to:", votes.to_string(index=False), sep="\n")
    if len(skipped):
        print("not evaluated:", skipped.to_string(index=False), sep="\n")
    if not len(scores):
        raise ValueError("no task could be evaluated")
