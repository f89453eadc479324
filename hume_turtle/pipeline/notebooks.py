"""The stage `notebooks`: every notebook executed, with the figures and tables that it saved.

DVC runs one stage after another. So this is one stage for all notebooks, which runs as many side by
side as there are cores, and again only those whose source, code or data have changed.
"""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path

from hume_turtle.pipeline.parallel import in_parallel
from hume_turtle.pipeline.settings import Settings, fresh_folder
from hume_turtle.reporting.explore import HEADLESS
from hume_turtle.reporting.run_notebook import execute_notebook
from hume_turtle.runtime import threads_of_libraries
from hume_turtle.storage.files import atomic_write, file_sha256

READ = ("embeddings", "fits", "labels", "networks", "scores", "selection")  # of data/<suite>/
SETTINGS = ("datasets", "embed", "fit", "selection", "threads")


def run(suite: Settings) -> None:
    """Execute the notebooks of the suite; runs of notebooks that it no longer has are removed."""
    names, folder = suite.params["notebooks"], suite.data / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in names:
            shutil.rmtree(path)
    data = data_digest(suite) if len(names) > 1 else None  # of one notebook DVC knows it
    jobs = []
    for name in reversed(names):  # the long ones first, so that no core waits at the end
        inputs = {"data": data, "code": (suite.data / "code" / name).read_text("utf-8")}
        if data is None or not is_done(suite, name, inputs):
            jobs.append((suite, name, inputs))
    in_parallel(execute, jobs, "notebooks")


def data_digest(suite: Settings) -> str:
    """One digest of the settings and files that notebooks read."""
    digest = sha256(json.dumps({name: suite.params[name] for name in SETTINGS}).encode())
    folders = [suite.data / name for name in READ]
    folders += [suite.root / "data" / name for name in ("measured", "reported")]
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(suite.root)} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def is_done(suite: Settings, name: str, inputs: dict) -> bool:
    """Whether a notebook was executed from these inputs, and the result is there."""
    record = record_path(suite, name)
    if not (suite.data / "notebooks" / name).is_dir() or not record.is_file():
        return False
    return json.loads(record.read_text("utf-8")) == inputs


def execute(suite: Settings, name: str, inputs: dict) -> None:
    """Execute a notebook in a kernel; its figures and tables land beside the executed file."""
    record = record_path(suite, name)
    record.unlink(missing_ok=True)
    made = fresh_folder(suite.data / "notebooks" / name)
    execute_notebook(
        suite.root / "notebooks" / f"{name}.ipynb",
        made / f"{name}.ipynb",
        {"suite_folder": str(suite.folder), "output": str(made)},
        {HEADLESS: "1", **threads_of_libraries(1)},  # on small data threads only wait
    )
    with atomic_write(record, "w", encoding="utf-8") as file:
        file.write(json.dumps(inputs, indent=1) + "\n")


def record_path(suite: Settings, name: str) -> Path:
    """Not beside the result: DVC would take it for a changed one, and publish it again."""
    return suite.data / "parts" / "notebooks" / f"{name}.json"
