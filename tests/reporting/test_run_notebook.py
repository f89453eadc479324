"""Notebooks: the same bytes twice, errors that name the cell, nothing half written."""

from __future__ import annotations

import json
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from hume_turtle.reporting.run_notebook import (
    NotebookError,
    execute_notebook,
    read_source,
)

PARAMETERS = "seed = 0\nsizes: list = [1, 2]\nname = 'digits'"
FIGURE = """import matplotlib.pyplot as plt
fig, ax = plt.subplots(figsize=(2, 2))
ax.plot([seed, 1])
plt.show()"""
NOISE = """import sys, warnings
print("working", object(), flush=True)
print("to " + "stderr", file=sys.stderr)
print("done")
{"axes": ax}"""


@pytest.fixture
def notebook(tmp_path):
    """Returns a function: sources of code cells -> path of a notebook; the first cell is
    `parameters`."""

    def make(*sources: str, parameters: str = PARAMETERS):
        first = new_code_cell(parameters, metadata={"tags": ["parameters"]})
        cells = [new_markdown_cell("# Title"), first, *map(new_code_cell, sources)]
        path = tmp_path / "source.ipynb"
        nbformat.write(new_notebook(cells=cells), path)
        return path

    return make


@pytest.mark.slow
def test_same_bytes_twice(notebook, tmp_path, monkeypatch):
    source = notebook(FIGURE, NOISE)
    monkeypatch.setenv("MPLBACKEND", "Agg")  # would remove the inline figure
    first = execute_notebook(source, tmp_path / "a" / "run.ipynb", {"seed": 3})
    # A second source that already holds outputs, other ids and an injected cell: the first's result
    second = execute_notebook(first, tmp_path / "b" / "run.ipynb", {"seed": 3})
    assert first.read_bytes() == second.read_bytes()

    cells = nbformat.read(first, as_version=4).cells
    text = first.read_text()
    assert [cell.id for cell in cells] == [f"cell-{i}" for i in range(1, 6)]
    assert cells[2].source.strip() == "# Parameters\nseed = 3"
    assert "image/png" in cells[3].outputs[0].data
    assert cells[4].outputs[0].text == "working <object object>\ndone\n"
    for absent in ("to stderr", " at 0x", "papermill", "execution", str(tmp_path)):
        assert absent not in text.replace("execution_count", "")
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.slow
def test_a_stale_user_kernel_does_not_win(notebook, tmp_path, monkeypatch):
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    spec = {"argv": ["/no/such/python"], "display_name": "stale", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(kernel.parents[1]))
    executed = execute_notebook(
        notebook("import sys; print(sys.executable == exe)", parameters="exe = ''"),
        tmp_path / "run.ipynb",
        {"exe": sys.executable},
    )
    assert "True\\n" in executed.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("last", "message"),
    [
        ("x = 1\nraise KeyError('gone')", r"cell 4 failed, KeyError: 'gone'\n    x = 1\n"),
        ("import os\nos._exit(1)", r"cell 4 failed, DeadKernelError"),
        ("import sys; sys.exit(0)", r"cell 5 failed, not run: the cell before it exited"),
    ],
)
def test_failure_names_the_cell_and_keeps_the_old_result(notebook, tmp_path, last, message):
    destination = tmp_path / "run.ipynb"
    destination.write_text("old")
    with pytest.raises(NotebookError, match=message):
        execute_notebook(notebook("a = seed", last, "b = 1"), destination, {"seed": 1})
    assert destination.read_text() == "old"
    assert not list(tmp_path.glob("*.partial"))
    if "os._exit" not in last:  # a dead kernel leaves no notebook
        failed = (tmp_path / "run.failed.ipynb").read_text()
        assert last.splitlines()[-1] in failed
        assert ("KeyError" in failed) == ("KeyError" in last)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"sede": 1}, ValueError, "no parameter sede; it has seed, sizes, name"),
        ({"seed": object()}, TypeError, "not JSON serializable"),
    ],
)
def test_bad_parameters_are_errors_before_any_work(notebook, tmp_path, parameters, error, message):
    source = notebook("open('ran', 'w')")
    with pytest.raises(error, match=message):
        execute_notebook(source, tmp_path / "out" / "run.ipynb", parameters)
    assert not (tmp_path / "out").exists()


def test_missing_and_broken_sources(tmp_path):
    with pytest.raises(ValueError, match="no notebook"):
        read_source(tmp_path / "none.ipynb", {})
    (tmp_path / "broken.ipynb").write_text("not JSON")
    with pytest.raises(ValueError, match="is no notebook"):
        read_source(tmp_path / "broken.ipynb", {})


def test_a_notebook_without_parameters(tmp_path):
    path = tmp_path / "plain.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("a = 1")]), path)
    assert [cell.source for cell in read_source(path, {}).cells] == ["a = 1"]
    with pytest.raises(ValueError, match="it has none"):
        read_source(path, {"a": 2})
