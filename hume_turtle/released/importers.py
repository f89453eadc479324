"""The authors' released material by kind: one entrance for the archives of both papers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hume_turtle.released.embeddings import import_hume_embeddings
from hume_turtle.released.import_tasks import import_hume_tasks, import_turtle_tasks
from hume_turtle.released.layouts import Imported

IMPORTERS: dict[str, Callable[..., Imported]] = {
    "hume-embeddings": import_hume_embeddings,
    "hume-tasks": import_hume_tasks,
    "turtle-tasks": import_turtle_tasks,
}


def import_released(
    kind: str, archive: str | Path, output: str | Path, *, overwrite: bool = False
) -> Imported:
    """Import one archive: "hume-embeddings", "hume-tasks" or "turtle-tasks".

    Embeddings and labels go to `<output>/embeddings` and `<output>/labels`, tasks to `output`.
    Raises ValueError for an unknown kind, and what the importer of that kind raises.
    """
    if kind not in IMPORTERS:
        raise ValueError(f"unknown kind {kind!r}; there are {', '.join(IMPORTERS)}")
    return IMPORTERS[kind](archive, output, overwrite=overwrite)
