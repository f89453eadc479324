"""Tables and figures as files: saved by the notebooks, published into git by the report stage."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure, FigureBase, SubFigure

from hume_turtle.storage.files import atomic_write

DPI = 220
KINDS = (".png", ".svg", ".csv", ".md")


def save_figure(fig: Figure, folder: str | Path, name: str) -> list[Path]:
    """Write `<folder>/<name>.png` and `.svg`; the same figure gives the same bytes."""
    paths = [Path(folder, f"{name}.png"), Path(folder, f"{name}.svg")]
    _settle(fig)
    # Else SVG ids differ from run to run, and text where the font is missing.
    settings = {"svg.hashsalt": "hume-turtle", "svg.fonttype": "path"}
    for path in paths:
        kind = path.suffix[1:]
        metadata = {"Date": None} if kind == "svg" else {}
        with matplotlib.rc_context(settings), atomic_write(path) as file:
            fig.savefig(file, format=kind, dpi=DPI, metadata=metadata, bbox_inches="tight")
    return paths


def _settle(fig: Figure) -> None:
    """Lay a figure out once, and round where its parts are.

    The layout's solver orders its sums by addresses in memory, so the last bits of places differ
    from run to run, and with them the SVG's ids.
    """
    fig.draw_without_rendering()
    fig.set_layout_engine("none")
    for part in _subfigures(fig):
        part.bbox_relative.set_points(part.bbox_relative.get_points().round(9))
    for ax in fig.axes:
        ax.set_position(np.round(ax.get_position(original=True).bounds, 9))


def _subfigures(fig: FigureBase) -> Iterator[SubFigure]:
    """All parts of a figure, at every depth."""
    for part in fig.subfigs:
        yield part
        yield from _subfigures(part)


def save_table(
    frame: pd.DataFrame,
    folder: str | Path,
    name: str,
    float_format: str = "%.4f",
    *,
    shown: pd.DataFrame | None = None,
    note: str = "",
) -> list[Path]:
    """Write `<folder>/<name>.csv` and a Markdown table, `.md`; without the index.

    `float_format` is a %-format. A missing value is empty in the CSV and a dash in Markdown.
    `shown`: what the Markdown shows where that is not the CSV's own rows. `note`: Markdown that
    stands below it.
    """
    csv = frame.to_csv(index=False, float_format=float_format, lineterminator="\n")
    markdown = markdown_table(frame if shown is None else shown, float_format)
    markdown += f"\n{note}\n" if note else ""
    paths = [Path(folder, f"{name}.csv"), Path(folder, f"{name}.md")]
    for path, text in zip(paths, (csv, markdown), strict=True):
        with atomic_write(path) as file:
            file.write(text.encode())
    return paths


def markdown_table(frame: pd.DataFrame, float_format: str = "%.4f") -> str:
    """A Markdown table; columns of numbers are flush right, a missing value is a dash."""

    def text(value) -> str:
        if pd.isna(value):
            return "–"
        return float_format % value if isinstance(value, float) else str(value)

    sides = ["right" if pd.api.types.is_numeric_dtype(kind) else "left" for kind in frame.dtypes]
    return frame.map(text).to_markdown(index=False, disable_numparse=True, colalign=sides) + "\n"


def publish(
    runs: str | Path,
    notebooks: Sequence[str],
    artefacts: Sequence[str],
    figures: str | Path,
    executed: str | Path,
) -> list[Path]:
    """Copy what the notebooks' runs made to the two folders that are in git.

    Args:
        runs: holds a folder for each notebook: `<notebook>.ipynb` as executed, and its artefacts.
        notebooks: names of the notebooks, without suffix.
        artefacts: names of the tables and figures that they have to have made, and no others.
        figures: the folder for artefacts; what it held before is removed.
        executed: the folder for executed notebooks; likewise.

    Raises:
        ValueError: a run is missing, an artefact is missing, made twice, or not on the list;
            nothing has been written then.
    """
    makers: dict[str, set[str]] = {name: set() for name in artefacts}
    files = []
    for notebook in notebooks:
        run = Path(runs, notebook)
        if not (run / f"{notebook}.ipynb").is_file():
            raise ValueError(f"notebook {notebook} has no run in {runs}")
        for path in sorted(path for path in run.iterdir() if path.suffix in KINDS):
            makers.setdefault(path.stem, set()).add(notebook)
            files.append(path)
    for name, by in makers.items():
        if name not in artefacts:
            raise ValueError(f"{', '.join(by)} made {name}, which params.yaml does not list")
        if len(by) != 1:
            what = f"was made by {', '.join(sorted(by)) or 'no notebook'}"
            what += "" if by else " (a section without data makes none: take it off the list then)"
            raise ValueError(f"artefact {name} {what}; one section of one notebook makes it")
    books = [Path(runs, notebook, f"{notebook}.ipynb") for notebook in notebooks]
    return _replace(figures, files) + _replace(executed, books)


def _replace(folder: str | Path, files: Sequence[Path]) -> list[Path]:
    """Let a folder hold copies of these files and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    Path(folder).mkdir(parents=True)
    return [Path(shutil.copyfile(path, Path(folder, path.name))) for path in files]
