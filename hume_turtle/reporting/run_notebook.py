"""Executing a notebook: the same source and parameters give the same bytes.

A notebook's parameters are the names assigned in its cell tagged `parameters`; their values go into
a cell of their own behind it, tagged `injected-parameters` (papermill's convention).
"""

from __future__ import annotations

import ast
import copy
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

from hume_turtle.storage.files import atomic_write

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # <Axes at 0x7f...> differs from run to run
DECLARED, INJECTED = "parameters", "injected-parameters"


class NotebookError(RuntimeError):
    """A notebook's cell failed; the message names the cell and shows how its source begins."""


def execute_notebook(
    source: str | Path,
    destination: str | Path,
    parameters: Mapping[str, Any] | None = None,
) -> Path:
    """Execute a notebook and write it, normalised, to its place.

    The kernel is this interpreter whatever kernels the user has installed; it runs in the current
    directory, with inline figures. `destination` is written in one step and only on success; a
    failed notebook is kept beside it as `<name>.failed.ipynb`.

    Args:
        source: the notebook; outputs it may hold are ignored.
        destination: where the executed notebook goes; its folder is made.
        parameters: values of plain JSON types for names in the `parameters` cell.

    Raises:
        ValueError: unknown parameter; nothing has run then.
        TypeError: a value that JSON cannot hold; likewise.
        NotebookError: a cell raised, called `sys.exit`, or ended the kernel.
    """
    source, destination = Path(source), Path(destination)
    failed = destination.with_suffix(".failed.ipynb")
    notebook = read_source(source, parameters or {})
    try:
        run_cells(notebook, source.name)
    except NotebookError as error:
        _write(notebook, failed)
        raise NotebookError(f"{error}\nThe notebook as it stopped: {failed}") from error.__cause__
    _write(normalise(notebook), destination)
    failed.unlink(missing_ok=True)
    return destination


def read_source(source: str | Path, parameters: Mapping[str, Any]) -> NotebookNode:
    """Read a notebook as its author wrote it, without outputs, and inject parameters.

    Raises:
        ValueError: no such notebook, or not one; a name that the `parameters` cell does not assign.
        TypeError: a value that JSON cannot hold.
    """
    try:
        notebook = nbformat.read(source, as_version=4)
    except FileNotFoundError:
        raise ValueError(f"no notebook {source}") from None
    except (nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise ValueError(f"{source} is no notebook: {str(error).splitlines()[0][:200]}") from None
    notebook.cells = [cell for cell in notebook.cells if INJECTED not in _tags(cell)]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    declared = next((i for i, cell in enumerate(notebook.cells) if DECLARED in _tags(cell)), -1)
    tree = ast.parse(notebook.cells[declared].source if declared >= 0 else "")
    names = [
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    ]
    if unknown := sorted(set(parameters) - set(names)):
        known = ", ".join(names) or "none"
        raise ValueError(f"{source} has no parameter {', '.join(unknown)}; it has {known}")
    if parameters:
        plain = json.loads(json.dumps(dict(parameters)))  # what repr() writes as Python
        lines = ["# Parameters", *(f"{name} = {value!r}" for name, value in plain.items())]
        cell = nbformat.v4.new_code_cell("\n".join(lines))
        cell.metadata["tags"] = [INJECTED]
        notebook.cells.insert(declared + 1, cell)
    return normalise(notebook)


def run_cells(notebook: NotebookNode, name: str) -> None:
    """Run all cells in a kernel of their own; their outputs are added to `notebook`.

    Raises:
        NotebookError: naming the cell by its position in the source.
    """
    with tempfile.TemporaryDirectory() as folder:
        kernels = KernelSpecManager(kernel_dirs=[])  # none installed: python3 is this interpreter
        environment = {
            **os.environ,
            "IPYTHONDIR": folder,  # no profile or start-up files of the user's
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # Agg would show no figures
            "PYTHONHASHSEED": "0",
            "TQDM_DISABLE": "1",
        }
        client = NotebookClient(
            notebook,
            AsyncKernelManager(kernel_name="python3", kernel_spec_manager=kernels),
            timeout=None,
            coalesce_streams=True,
            record_timing=False,
            extra_arguments=["--log-level=CRITICAL"],
        )
        with client.setup_kernel(env=environment, cleanup_kc=True):
            for index, cell in enumerate(notebook.cells):
                try:
                    client.execute_cell(cell, index)
                except (CellExecutionError, DeadKernelError) as error:
                    before = [INJECTED in _tags(other) for other in notebook.cells[:index]]
                    position = index + 1 - sum(before)
                    raise NotebookError(_failure(name, position, cell.source, error)) from error


def _failure(name: str, position: int, source: str, error: Exception) -> str:
    kind = getattr(error, "ename", type(error).__name__)
    message = getattr(error, "evalue", error)
    lines = [f"    {line}" for line in source.splitlines()]
    shown = "\n".join(lines[:4] + ["    ..."] * (len(lines) > 4))
    return f"{name}: cell {position} failed, {kind}: {message}\n{shown}"


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Return a copy without ids, metadata and stderr, which differ from run to run."""
    notebook = copy.deepcopy(notebook)
    for position, cell in enumerate(notebook.cells, 1):
        tags = [tag for tag in _tags(cell) if tag in (DECLARED, INJECTED)]
        cell.id = f"cell-{position}"
        cell.metadata = NotebookNode({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    language = {"name": "python", "file_extension": ".py"}
    notebook.metadata = NotebookNode({"kernelspec": kernel, "language_info": language})
    notebook.nbformat_minor = 5
    return notebook


def _tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def _write(notebook: NotebookNode, destination: Path) -> None:
    """Write the file without object addresses and the path of the current directory."""
    text = ADDRESS.sub("", nbformat.writes(notebook)) + "\n"
    with atomic_write(destination, "w", encoding="utf-8") as file:
        file.write(text.replace(os.getcwd() + os.sep, "").replace(os.getcwd(), "."))
