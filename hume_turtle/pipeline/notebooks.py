"""The stage `notebooks`: one executed notebook, with the figures and tables that it saved."""

from __future__ import annotations

from hume_turtle.pipeline.settings import Settings, fresh_folder
from hume_turtle.reporting.run_notebook import execute_notebook


def run(suite: Settings, name: str) -> None:
    """Execute a notebook in a kernel; its figures and tables land beside the executed file."""
    made = fresh_folder(suite.data / "notebooks" / name)
    execute_notebook(
        suite.root / "notebooks" / f"{name}.ipynb",
        made / f"{name}.ipynb",
        {"suite_folder": str(suite.folder), "output": str(made)},
    )
