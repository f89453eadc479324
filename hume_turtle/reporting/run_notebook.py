"""Executing a notebook with papermill: the same source and parameters give the same bytes.

A notebook's parameters are the names assigned in its cell tagged `parameters` (papermill's rule).
"""

from __future__ import annotations

import ast
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import papermill
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbformat import NotebookNode
from papermill.parameterize import parameterize_notebook

from hume_turtle.storage.files import atomic_write

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # <Axes at 0x7f...> differs from run to run
DECLARED, INJECTED = "parameters", "injected-parameters"


class NotebookError(RuntimeError):
    """A notebook's cell failed; the message names the cell and shows how its source begins."""


def execute_notebook(
    source: str | Path,
    destination: str | Path,
    parameters: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Path:
    """Execute a notebook and write it, normalised, to its place.

    The kernel is this interpreter whatever kernels the user has installed; it runs in the current
    directory, with inline figures. `destination` is written in one step and only on success; a
    failed notebook is kept beside it as `<name>.failed.ipynb`.

    Args:
        source: the notebook; outputs it may hold are ignored.
        destination: where the executed notebook goes; its folder is made.
        parameters: values of plain JSON types for names in the `parameters` cell.
        environment: variables of the kernel, besides those of this process.

    Raises:
        ValueError: no notebook there, or an unknown parameter; nothing has run then.
        TypeError: a value that JSON cannot hold; likewise.
        NotebookError: a cell raised, called `sys.exit`, or ended the kernel.
    """
    source, destination = Path(source), Path(destination)
    failed = destination.with_suffix(".failed.ipynb")
    notebook = read_source(source, parameters or {})
    with tempfile.TemporaryDirectory() as folder:
        executed = Path(folder, "executed.ipynb")
        try:
            result = run_cells(notebook, source.name, executed, environment or {})
        except NotebookError as error:
            if not executed.exists():  # the kernel died
                raise
            _write(nbformat.read(executed, as_version=4), failed)
            raise NotebookError(f"{error}\nThe notebook as it stopped: {failed}") from None
    _write(normalise(result), destination)
    failed.unlink(missing_ok=True)
    return destination


def read_source(source: str | Path, parameters: Mapping[str, Any]) -> NotebookNode:
    """Read a notebook as its author wrote it, without outputs, and inject parameters."""
    try:
        notebook = nbformat.read(source, as_version=4)
    except FileNotFoundError:
        raise ValueError(f"no notebook {source}") from None
    except (nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise ValueError(f"{source} is no notebook: {str(error).splitlines()[0][:200]}") from None
    notebook.cells = [cell for cell in notebook.cells if INJECTED not in _tags(cell)]
    for cell in notebook.cells:
        cell.metadata.setdefault("tags", [])  # papermill reads them of every cell
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
    json.dumps(dict(parameters))  # papermill would inject the str() of other objects
    if parameters:
        notebook.metadata["papermill"] = NotebookNode()  # where papermill notes the parameters
        options = {"kernel_name": "python3", "language": "python"}
        notebook = parameterize_notebook(notebook, dict(parameters), **options)
    return normalise(notebook)


def run_cells(
    notebook: NotebookNode, name: str, executed: Path, environment: Mapping[str, str]
) -> NotebookNode:
    """Run all cells in a kernel of their own; papermill leaves the result at `executed`, too."""
    started = [0]  # positions of the cells that began to run

    def failure(index: int, what: str) -> NotebookError:
        position = index + 1 - sum(INJECTED in _tags(cell) for cell in notebook.cells[:index])
        lines = [f"    {line}" for line in notebook.cells[index].source.splitlines()]
        shown = "\n".join(lines[:4] + ["    ..."] * (len(lines) > 4))
        return NotebookError(f"{name}: cell {position} failed, {what}\n{shown}")

    source = executed.with_name("source.ipynb")
    nbformat.write(notebook, source)
    try:
        result = papermill.execute_notebook(
            str(source),
            str(executed),
            kernel_name="python3",
            kernel_manager_class=_kernel_manager_class(executed.parent, environment),
            on_cell_start=lambda cell, cell_index: started.append(cell_index),
            coalesce_streams=True,
            record_timing=False,
            progress_bar=False,
            request_save_on_cell_execute=False,
        )
    except papermill.PapermillExecutionError as error:
        raise failure(error.cell_index, f"{error.ename}: {error.evalue}") from None
    except RuntimeError as error:  # a dead kernel
        raise failure(started[-1], f"{type(error).__name__}: {error}") from error
    for index, cell in enumerate(result.cells):
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None:
            # papermill takes `sys.exit(0)` in a cell for success
            raise failure(index, "not run: the cell before it exited")
    return result


def _kernel_manager_class(folder: Path, variables: Mapping[str, str]) -> type:
    """A kernel manager that knows one kernel: this interpreter, with settings of nobody's home."""
    environment = {
        "IPYTHONDIR": str(folder / "ipython"),  # no profile or start-up files of the user's
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # Agg would show no figures
        "PYTHONHASHSEED": "0",
        "TQDM_DISABLE": "1",
        **variables,
    }
    spec = KernelSpec(**get_kernel_dict(["--log-level=CRITICAL"]), env=environment)

    class ThisInterpreter(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return spec  # its command starts with sys.executable

    return ThisInterpreter


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Take out ids, metadata and stderr, which differ from run to run, and return the notebook."""
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
