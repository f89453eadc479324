"""A notebook's code cells run in this process, without a kernel: about a second instead of four."""

import os
from pathlib import Path
from typing import Any
from unittest import mock

import matplotlib
import matplotlib.pyplot as plt

from hume_turtle.reporting.explore import HEADLESS
from hume_turtle.reporting.run_notebook import read_source


def display(*objects) -> None:
    """What the cells see as `display`: it shows nothing."""


def run_cells_in_process(source: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    """Run the cells and return the notebook's names, as its last cell left them.

    Figures are made with Agg and closed. A `%magic` is a syntax error here.
    """
    names = {"__name__": "__main__", "display": display}
    headless = mock.patch.dict(os.environ, {HEADLESS: "1"})
    with headless, matplotlib.rc_context():
        plt.switch_backend("Agg")
        for number, cell in enumerate(read_source(source, parameters).cells, 1):
            if cell.cell_type == "code":
                exec(compile(cell.source, f"{source.name}[{number}]", "exec"), names)
        plt.close("all")
    return names
