"""The stage `code`: an edit changes the digests of what it may change, and of nothing else."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hume_turtle.pipeline import code
from hume_turtle.pipeline.settings import STAGES, Settings

ROOT = Path(__file__).parents[2]
PACKAGES = {  # of the project that a stage may use
    "fit": {"core", "estimators", "storage", "pipeline"},
    "select": {"core", "estimators", "storage", "pipeline"},
    "report": {"reporting", "storage", "pipeline"},
}


@pytest.fixture
def project(tmp_path):
    """A small project: `stage` imports `used`, which imports `lazy` in a function."""
    package = tmp_path / "hume_turtle"
    (package / "sub").mkdir(parents=True)
    files = {
        "__init__": "",
        "sub/__init__": "",
        "sub/stage": "from hume_turtle.sub import used\n",
        "sub/used": '"""Used."""\n\ndef f(x):\n    """Adds."""\n    from .lazy import y\n'
        "    return x + y  # the sum\n",
        "sub/lazy": "y = 1\n",
        "sub/typed": "z = 1\n",
        "sub/outside": "from hume_turtle.sub import stage\n",
    }
    for name, text in files.items():
        (package / f"{name}.py").write_text(text)
    return package


def digests(project: Path) -> str:
    code.module_tree.cache_clear()
    return code.digests(["hume_turtle.sub.stage"], project.parent)


def names(text: str) -> list[str]:
    return [line.split()[1] for line in text.splitlines()]


def test_lists_all_modules_that_are_imported_at_any_depth(project):
    found = names(digests(project))
    assert found == [f"hume_turtle.sub.{name}" for name in ("lazy", "stage", "used")]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# the sum", "# another comment"),
        ('"""Adds."""', '"""Adds y\n\n    to x.\n    """'),
        ('"""Used."""', ""),
        ("return x + y", "return (\n        x + y\n    )"),
        (
            "def f",
            "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from .typed import z\n\n\n"
            "def f",
        ),
        ("return x + y", "return x - y"),
    ],
)
def test_only_changed_code_changes_a_digest(project, old, new):
    before, path = digests(project), project / "sub" / "used.py"
    if "TYPE_CHECKING" in new:  # its own import is code; what is below it is not
        path.write_text(f"from typing import TYPE_CHECKING\n{path.read_text()}")
        before, new = digests(project), new.removeprefix("from typing import TYPE_CHECKING\n")
    path.write_text(path.read_text().replace(old, new))
    assert (digests(project) == before) == ("x - y" not in new)


def test_lazy_imports_count_and_modules_outside_do_not(project):
    before = digests(project)
    (project / "sub" / "outside.py").write_text("x = 2\n")
    (project / "sub" / "typed.py").write_text("z = 2\n")
    assert digests(project) == before
    (project / "sub" / "lazy.py").write_text("y = 2\n")
    assert digests(project) != before


def test_names_of_the_package_stand_for_the_modules_that_define_them():
    tree = code.code_tree("from hume_turtle import Turtle, evaluate, __version__", Path("x"))
    found = code.imported(tree)
    assert {"hume_turtle.estimators.turtle", "hume_turtle.evaluation.metrics"} <= found
    assert "hume_turtle" in found  # for the version
    tree = code.code_tree("from hume_turtle import Turtle", Path("x"))
    assert code.imported(tree) == {"hume_turtle.estimators.turtle"}
    tree = code.code_tree("import hume_turtle\nhume_turtle.Hume(3)", Path("x"))
    assert "hume_turtle.estimators.hume" in code.imported(tree)


def test_canonical_text_tells_trees_apart():
    texts = ["f(1)", "f('1')", "f(x=1)", "return", "return None", "x[1:]", "x[:1]", "{**a}", "{}"]
    trees = [code.code_tree(f"def g():\n    {text}", Path("x")) for text in texts]
    assert len({code.canonical(tree) for tree in trees}) == len(texts)


def test_bad_syntax_and_bad_notebooks_are_named(tmp_path):
    bad = tmp_path / "bad.ipynb"
    bad.write_text("no json")
    with pytest.raises(ValueError, match=r"bad\.ipynb is not a notebook"):
        code.notebook_code(bad)
    bad.write_text(json.dumps({"cells": [{"cell_type": "code", "source": ["x = 1\n", "1 +"]}]}))
    with pytest.raises(ValueError, match=r"bad\.ipynb, line 2"):
        code.notebook_code(bad)


@pytest.fixture
def copy(tmp_path):
    """A copy of the project, where the stage `code` can run."""
    ignore = shutil.ignore_patterns("__pycache__", "executed")
    for name in ("hume_turtle", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    for name in ("params.yaml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def run_code(copy: Path) -> dict[str, str]:
    """The files that the stage makes, without importing torch."""
    command = "import sys; from hume_turtle.cli import main; main(['stage', 'code']); "
    command += "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", command], cwd=copy, env={"PYTHONPATH": "."}, check=True)
    made = (copy / "data" / "digits" / "code").iterdir()
    return {path.name: path.read_text() for path in made}


def test_a_plotting_change_touches_notebooks_and_no_fit(copy):
    """A comment in the core touches nothing at all."""

    made, notebooks = run_code(copy), set(Settings.open(copy).params["notebooks"])
    assert made.keys() == notebooks | STAGES.keys() - {"code", "notebooks"}

    def changed_by(module: str, line: str) -> set[str]:
        with open(copy / "hume_turtle" / module, "a") as file:
            file.write(f"\n{line}\n")
        before = dict(made)
        made.update(run_code(copy))
        return {name for name in made if made[name] != before[name]}

    assert changed_by("core/turtle_solver.py", "# A comment.") == set()
    assert changed_by("reporting/style.py", "EXTRA = 1") == notebooks
    changed = changed_by("core/turtle_solver.py", "EXTRA = 1")
    assert changed == notebooks | {"fit", "select", "baselines"}
    assert changed_by("../constraints.txt", "numpy==3.0") == made.keys()  # versions: everything


@pytest.mark.parametrize("stage", PACKAGES)
def test_a_stage_uses_the_packages_that_it_needs_only(stage):
    found = names(code.digests([f"hume_turtle.pipeline.{stage}"]))
    packages = {name.split(".")[1] for name in found if name.count(".") == 2}
    assert packages <= PACKAGES[stage]


def test_every_stage_depends_on_its_digests_and_on_no_module():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert stages.keys() == STAGES.keys()
    for name, stage in stages.items():
        assert not any(dep.endswith(".py") for dep in stage["deps"])
        item = "" if name == "notebooks" else f"/{name}"
        assert name == "code" or f"${{root}}/data/${{suite}}/code{item}" in stage["deps"]
    listed = {Path(dep).stem for dep in stages["code"]["deps"] if dep.endswith(".ipynb")}
    assert listed == {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) < 130
