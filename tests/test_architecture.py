"""The house: which package may import which. The table is in docs/what-is-where.md."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "hume_turtle"
LEAVES = {"checks", "progress"}  # modules beside the packages that anyone but core may use
ALLOWED = {
    "core": set(),
    "storage": LEAVES,
    "datasets": {*LEAVES, "storage"},
    "pretraining": {*LEAVES, "core", "storage", "datasets"},
    "encoders": {*LEAVES, "core", "storage", "datasets", "pretraining"},
    "extraction": {*LEAVES, "core", "storage", "datasets", "encoders"},
    "estimators": {*LEAVES, "core", "storage"},
    "evaluation": {*LEAVES, "core", "storage", "estimators"},
    "released": {*LEAVES, "storage", "estimators", "evaluation"},
    "reporting": {*LEAVES, "core", "storage", "estimators", "evaluation"},
}
ALLOWED["pipeline"] = {*ALLOWED} - {"released"} | {*LEAVES, "runtime"}
ALLOWED["benchmarks"] = ALLOWED["pipeline"] | {"pipeline"}
ALLOWED["commands"] = {*ALLOWED, *LEAVES, "runtime"}
ALLOWED["cli"] = {"commands", "pipeline"}


def imported_packages(path: Path) -> set[str]:
    """The packages of this project that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("hume_turtle.")}
    return found


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_run_one_way(package):
    place = ROOT / package
    for path in sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]:
        wrong = imported_packages(path) - ALLOWED[package] - {package}
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


def test_every_package_is_listed():
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert found == {*ALLOWED} - {"cli"}
