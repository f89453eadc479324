"""Executing the notebooks: the same source and parameters give the same bytes.

A notebook's parameters are the names assigned in its cell tagged `parameters` (papermill's rule).
`execute_notebook` runs it in a kernel of its own; `run_cells_in_process` runs the same cells in
this process, in about a second, for tests.
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

from hume_turtle.storage.files import atomic_write

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # <Axes at 0x7f...> differs from run to run
KEPT_TAGS = ("parameters", "injected-parameters")


class NotebookError(RuntimeError):
    """A notebook's cell failed; the message names the cell and shows how its source begins."""


def execute_notebook(
    source: str | Path,
    destination: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    timeout: float | None = None,
) -> Path:
    """Execute a notebook and write it, normalised, to its place.

    The kernel is this interpreter whatever kernels the user has installed; it runs in the current
    directory, with inline figures. `destination` is written in one step and only on success; a
    failed notebook stays beside it as `<name>.failed.ipynb`.

    Args:
        source: the notebook; outputs it may hold are ignored.
        destination: where the executed notebook goes; its folder is made.
        parameters: values of plain JSON types for names in the `parameters` cell.
        timeout: seconds that one cell may take; None for no limit.

    Raises:
        ValueError: unknown parameter, or a value that JSON cannot hold; nothing has run then.
        NotebookError: a cell failed, the kernel died, or a cell stopped the notebook early.
    """
    import nbformat

    source, destination = Path(source), Path(destination)
    failed = destination.with_suffix(".failed.ipynb")
    notebook = read_source(source)
    parameters = check_parameters(notebook, parameters, source.name)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        executed = Path(folder, "executed.ipynb")
        try:
            result = _run_in_kernel(source.name, notebook, parameters, executed, timeout)
        except NotebookError as error:
            if not executed.exists():  # the kernel died or ran out of time
                raise
            _write(nbformat.read(executed, as_version=4), failed)
            raise NotebookError(f"{error}\nThe notebook as it stopped: {failed}") from None
    _write(normalise(result), destination)
    failed.unlink(missing_ok=True)
    return destination


def run_cells_in_process(
    source: str | Path, parameters: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Run a notebook's code cells in this process, without a kernel; for tests.

    Figures are drawn with Agg and closed; `display` does nothing; matplotlib's settings are as
    before afterwards. A `%magic` is a syntax error here.

    Returns:
        the notebook's names, as its last cell left them.

    Raises:
        ValueError: unknown parameter, or a value that JSON cannot hold; nothing has run then.
        NotebookError: a cell raised; its exception is the cause.
    """
    import matplotlib
    import matplotlib.pyplot as plt

    source = Path(source)
    notebook = read_source(source)
    parameters = check_parameters(notebook, parameters, source.name)
    names: dict[str, Any] = {"__name__": "__main__", "display": lambda *objects, **options: None}
    backend = matplotlib.get_backend()
    with matplotlib.rc_context():
        plt.switch_backend("Agg")
        try:
            for index, cell in enumerate(notebook.cells):
                if cell.cell_type != "code":
                    continue
                try:
                    exec(compile(cell.source, f"{source.name}[{index + 1}]", "exec"), names)
                except (Exception, SystemExit) as error:
                    what = f"{type(error).__name__}: {error}"
                    raise _cell_error(source.name, index, cell.source, what) from error
                if index == _parameters_cell(notebook):
                    names.update(parameters)
        finally:
            plt.close("all")
            plt.switch_backend(backend)
    return names


def read_source(source: str | Path):
    """Read a notebook as its author wrote it: no outputs, counts or injected parameters.

    Raises:
        ValueError: no such notebook, or not one.
    """
    import nbformat

    try:
        notebook = nbformat.read(source, as_version=4)
    except FileNotFoundError:
        raise ValueError(f"no notebook {source}") from None
    except (nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise ValueError(f"{source} is no notebook: {str(error).splitlines()[0][:200]}") from None
    notebook.cells = [c for c in notebook.cells if "injected-parameters" not in _tags(c)]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return normalise(notebook)


def check_parameters(
    notebook, parameters: Mapping[str, Any] | None, name: str = "notebook"
) -> dict[str, Any]:
    """Return the parameters as a dict, after checking that the notebook declares every one.

    Raises:
        ValueError: a name that the `parameters` cell does not assign; a value that JSON cannot
            hold (papermill would pass its `str`).
    """
    declared = declared_parameters(notebook)
    unknown = sorted(set(parameters or ()) - set(declared))
    if unknown:
        raise ValueError(
            f"{name} has no parameter {', '.join(unknown)}; it has {', '.join(declared) or 'none'}"
        )
    for key, value in (parameters or {}).items():
        try:
            json.dumps(value)
        except TypeError:
            raise ValueError(
                f"{name}: parameter {key} is a {type(value).__name__}; give plain numbers, "
                "strings, lists or dicts"
            ) from None
    return dict(parameters or {})


def declared_parameters(notebook) -> list[str]:
    """The names assigned at the top level of the cell tagged `parameters`, in order."""
    index = _parameters_cell(notebook)
    names = []
    for statement in ast.parse(notebook.cells[index].source).body if index >= 0 else []:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        names += [target.id for target in targets if isinstance(target, ast.Name)]
    return names


def normalise(notebook):
    """Return a copy without whatever differs between two runs of the same notebook.

    Cell ids become positions; papermill's and execution metadata, stderr and object addresses go;
    so does the path of the current directory, which says where the checkout lies.
    """
    import nbformat

    notebook = nbformat.v4.upgrade(nbformat.from_dict(notebook))  # from_dict copies
    for position, cell in enumerate(notebook.cells):
        tags = [tag for tag in _tags(cell) if tag in KEPT_TAGS]
        cell.id = f"cell-{position + 1}"
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            kept = [out for out in cell.outputs if out.get("name") != "stderr"]
            cell.outputs = [_normalise_output(output) for output in kept]
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python", "file_extension": ".py"},
        }
    )
    notebook.nbformat_minor = 5
    return notebook


def _tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def _parameters_cell(notebook) -> int:
    """The position of the first cell tagged `parameters`; -1 where there is none."""
    tagged = (i for i, cell in enumerate(notebook.cells) if "parameters" in _tags(cell))
    return next(tagged, -1)


def _normalise_output(output):
    if "text" in output:
        output.text = _neutral(output.text)
    for kind, content in output.get("data", {}).items():
        if isinstance(content, str) and not kind.startswith("image/"):
            output.data[kind] = _neutral(content)
    return output


def _neutral(text: str) -> str:
    return ADDRESS.sub("", text).replace(os.getcwd() + os.sep, "").replace(os.getcwd(), ".")


def _run_in_kernel(
    name: str, notebook, parameters: dict[str, Any], executed: Path, timeout: float | None
):
    """Run the notebook through papermill, which leaves it at `executed`, and return it.

    Raises:
        NotebookError: naming the cell by its position in the source.
    """
    import nbformat
    import papermill

    started = [0]  # positions of the cells that began to run
    shift = _parameters_cell(notebook) if parameters else len(notebook.cells)

    def failure(index: int, what: str) -> NotebookError:
        index -= index > shift  # papermill puts a cell of its own behind `parameters`
        return _cell_error(name, index, notebook.cells[index].source, what)

    stripped = executed.with_name("source.ipynb")
    nbformat.write(notebook, stripped)
    try:
        result = papermill.execute_notebook(
            str(stripped),
            str(executed),
            parameters,
            kernel_name="python3",
            kernel_manager_class=_kernel_manager_class(executed.parent),
            on_cell_start=lambda cell, cell_index: started.append(cell_index),
            coalesce_streams=True,
            record_timing=False,
            progress_bar=False,
            request_save_on_cell_execute=False,
            execution_timeout=timeout,
        )
    except papermill.PapermillExecutionError as error:
        raise failure(error.cell_index, f"{error.ename}: {error.evalue}") from None
    except (RuntimeError, TimeoutError) as error:  # a dead kernel, a cell out of time
        raise failure(started[-1], f"{type(error).__name__}: {error}") from error
    for index, cell in enumerate(result.cells):
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None:
            # papermill takes `sys.exit(0)` in a cell for success
            raise failure(index, "not run: the cell before it exited")
    return result


def _kernel_manager_class(folder: Path) -> type:
    """A kernel manager that knows one kernel: this interpreter, with settings of nobody's home."""
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    environment = {
        "IPYTHONDIR": str(folder / "ipython"),  # no profile or start-up files of the user's
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # Agg would show no figures
        "PYTHONHASHSEED": "0",
        "TQDM_DISABLE": "1",
    }
    spec = KernelSpec(**get_kernel_dict(["--log-level=CRITICAL"]), env=environment)

    class ThisInterpreter(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return spec  # its command starts with sys.executable

    return ThisInterpreter


def _cell_error(name: str, index: int, source: str, what: str) -> NotebookError:
    lines = [f"    {line}" for line in source.splitlines()]
    shown = "\n".join(lines[:4] + ["    ..."] * (len(lines) > 4))
    return NotebookError(f"{name}: cell {index + 1} failed, {what}\n{shown}")


def _write(notebook, destination: Path) -> None:
    import nbformat

    with atomic_write(destination, "w", encoding="utf-8") as file:
        file.write(nbformat.writes(notebook) + "\n")
