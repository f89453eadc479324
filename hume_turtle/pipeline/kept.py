"""Finished parts of a stage, kept while what they were made from is the same.

Beside each kept file `<name>.<suffix>` lies `<name>.json` with its inputs: settings, SHA-256 of the
data, and the digest of the stage's code. It is written last, so a part that was killed does not
count. Only suites with `resume: true` keep parts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from hume_turtle.pipeline.settings import Settings
from hume_turtle.storage.embeddings import embedding_path, load_sidecar
from hume_turtle.storage.files import atomic_write, file_sha256


def inputs_of(suite: Settings, stage: str, dataset: str, spaces, **others) -> dict | None:
    """What a part is made from: code, embeddings and scale, and `others`, as JSON gives it back.

    None in a suite that keeps no parts. Raises FileNotFoundError where the stage `code` has not
    run.
    """
    if not suite.resumes:
        return None
    folder = suite.data / "embeddings"
    rows = {
        f"{space}/{split}": load_sidecar(folder, dataset, space, split)["sha256"]
        for space in spaces
        for split in suite.splits
        if embedding_path(folder, dataset, space, split).exists()
    }
    code = sha256((suite.data / "code" / stage).read_bytes()).hexdigest()
    scale = suite.params["embed"].get("scale", "unit-rms")
    classes = suite.params["classes"][dataset]
    content = {"code": code, "embeddings": rows, "scale": scale, "classes": classes, **others}
    return json.loads(json.dumps(content))


def file_digests(paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of files by name, of those that exist."""
    return {path.name: file_sha256(path) for path in paths if path.exists()}


def is_kept(path: Path, inputs: dict | None) -> bool:
    """Whether a file is there and was made from these inputs."""
    beside = path.with_suffix(".json")
    if inputs is None or not (path.exists() and beside.exists()):
        return False
    return json.loads(beside.read_text(encoding="utf-8")) == inputs


@contextmanager
def kept(path: Path, inputs: dict | None) -> Iterator[Path]:
    """Write a file in the block: it counts as finished, and as made from these inputs, after it."""
    beside = path.with_suffix(".json")
    beside.unlink(missing_ok=True)
    yield path
    if inputs is not None:
        with atomic_write(beside, "w", encoding="utf-8") as file:
            file.write(json.dumps(inputs, indent=1) + "\n")
