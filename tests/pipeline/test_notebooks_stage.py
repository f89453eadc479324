"""The stage `notebooks` executes what has changed, and nothing else."""

from pathlib import Path

import pytest
import yaml

from hume_turtle.pipeline import notebooks
from hume_turtle.pipeline.suite import Suite


@pytest.fixture
def suite(tmp_path) -> Suite:
    """A suite of two notebooks, with a file of data and the digests of the stage `code`."""
    params = {name: {} for name in ("embed", "fit", "selection")}
    params |= {"suite": "small", "root": ".", "datasets": [], "threads": 1}
    params |= {"notebooks": ["a", "b"]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    suite = Suite(tmp_path, params)
    for path in ("code/a", "code/b", "scores/digits.csv", "notebooks/old/old.ipynb"):
        (suite.data / path).parent.mkdir(parents=True, exist_ok=True)
        (suite.data / path).write_text("first")
    return suite


@pytest.fixture
def executed(monkeypatch) -> list[str]:
    """The names of the notebooks that are executed, in order, one after another."""
    names = []

    def execute_notebook(source, destination, parameters, environment):
        names.append(source.stem)
        if source.stem == "a" and names.count("a") == 3:
            raise RuntimeError("a cell failed")
        Path(destination).write_text("executed")
        assert environment["OMP_NUM_THREADS"] == "1"

    monkeypatch.setattr(notebooks, "execute_notebook", execute_notebook)
    monkeypatch.setattr(
        notebooks, "in_parallel", lambda run, jobs, label: [run(*job) for job in jobs]
    )
    return names


def test_only_what_changed_is_executed_again(suite, executed):
    notebooks.run(suite)
    assert executed == ["b", "a"]
    assert sorted(path.name for path in (suite.data / "notebooks").iterdir()) == ["a", "b"]
    notebooks.run(suite)
    assert executed == ["b", "a"]
    (suite.data / "code" / "b").write_text("another source or module")
    notebooks.run(suite)
    assert executed == ["b", "a", "b"]
    (suite.data / "scores" / "digits.csv").write_text("other scores")
    notebooks.run(suite)
    assert executed == ["b", "a", "b", "b", "a"]


def test_a_failed_notebook_is_executed_again_and_finished_ones_are_kept(suite, executed):
    notebooks.run(suite)
    (suite.data / "code" / "a").write_text("second")
    notebooks.run(suite)
    for path in ("a", "b"):
        (suite.data / "code" / path).write_text("third")
    with pytest.raises(RuntimeError, match="a cell failed"):
        notebooks.run(suite)
    notebooks.run(suite)
    assert executed == ["b", "a", "a", "b", "a", "a"]


def test_the_only_notebook_of_a_suite_is_executed_whenever_dvc_says_so(suite, executed):
    suite.params["notebooks"] = ["a"]
    notebooks.run(suite)
    notebooks.run(suite)
    assert executed == ["a", "a"]
    assert [path.name for path in (suite.data / "notebooks").iterdir()] == ["a"]
