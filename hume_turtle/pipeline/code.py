"""The stage `code`: which code and which versions each stage and each notebook depends on.

The other stages depend on the file that is written here for them: one line for each module that
the stage imports, at any depth, inside functions too, with a digest of its syntax tree. Comments,
docstrings, layout and imports for type checkers do not count. So an edit re-runs the stages whose
code it changes, and dvc.yaml names no module. A line for constraints.txt re-runs them all when a
version in it changes.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from importlib.util import resolve_name
from pathlib import Path

import hume_turtle
from hume_turtle.pipeline.settings import STAGES, Settings, fresh_folder
from hume_turtle.storage.files import file_sha256

ROOT = Path(hume_turtle.__file__).parents[1]
RUNTIME = "hume_turtle.runtime"  # sets what all stages run with
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def run(suite: Settings) -> None:
    """Write `<data>/code/<name>` for every stage and every notebook of the suite."""
    folder = fresh_folder(suite.data / "code")
    versions = f"{file_sha256(suite.root / 'constraints.txt')}  constraints.txt\n"
    for stage in STAGES.keys() - {"code", "notebooks"}:
        text = versions + digests([RUNTIME, f"hume_turtle.pipeline.{stage}"])
        (folder / stage).write_text(text, encoding="utf-8")
    for name in suite.params["notebooks"]:
        path = suite.root / "notebooks" / f"{name}.ipynb"
        modules = [RUNTIME, "hume_turtle.pipeline.notebooks", *imported(notebook_code(path))]
        text = versions + f"{file_sha256(path)}  {path.name}\n" + digests(modules)
        (folder / name).write_text(text, encoding="utf-8")


def digests(modules: Iterable[str], root: Path = ROOT) -> str:
    """One line for each of the modules and all that they import, at any depth, sorted by name.

    Args:
        modules: names such as "hume_turtle.pipeline.fit".
        root: the folder that holds `hume_turtle/`.
    """
    found, todo = {}, {*modules}
    while todo:
        module = todo.pop()
        tree = module_tree(module, root)
        found[module] = sha256(canonical(tree).encode()).hexdigest()
        todo |= imported(tree, module, root) - found.keys()
    return "".join(f"{found[module]}  {module}\n" for module in sorted(found))


@cache
def module_tree(module: str, root: Path) -> ast.Module:
    path = module_path(module, root)
    if path is None:
        raise ValueError(f"no module {module}")
    return code_tree(path.read_text(encoding="utf-8"), path)


def module_path(module: str, root: Path) -> Path | None:
    place = root.joinpath(*module.split("."))
    paths = (place.with_suffix(".py"), place / "__init__.py")
    return next((path for path in paths if path.is_file()), None)


def notebook_code(path: Path) -> ast.Module:
    """The syntax tree of a notebook's code cells."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (json.JSONDecodeError, KeyError):
        raise ValueError(f"{path} is not a notebook") from None
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return code_tree("\n".join(code), path)


def code_tree(source: str, path: Path) -> ast.Module:
    """The syntax tree without docstrings and `if TYPE_CHECKING:`; ValueError for bad syntax."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ValueError(f"{path}, line {error.lineno}: {error.msg}") from None
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    parts = [node.orelse if is_type_checking(node) else [node] for node in tree.body]
    tree.body = [node for part in parts for node in part]
    return tree


def is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def canonical(node) -> str:
    """A syntax tree as text, the same in every version of Python (`ast.dump` is not)."""
    if isinstance(node, list):
        return f"[{','.join(map(canonical, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
    return f"{type(node).__name__}({','.join(f'{k}={canonical(v)}' for k, v in fields)})"


def imported(tree: ast.Module, module: str = "", root: Path = ROOT) -> set[str]:
    """Modules of the project that some code imports, inside functions too.

    A name that `hume_turtle` imports on first use stands for the module that defines it.
    """
    found = set()
    package = module if (root / module.replace(".", "/")).is_dir() else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            found |= {defining_module(base, alias.name, root) for alias in node.names}
    if "hume_turtle" in found:  # any of its names may be used as its attribute
        found |= {*hume_turtle.PUBLIC.values()}
    return {name for name in found if name.split(".")[0] == "hume_turtle"}


def defining_module(base: str, name: str, root: Path) -> str:
    """The module that `from base import name` takes the name from."""
    if base == "hume_turtle" and name in hume_turtle.PUBLIC:
        return hume_turtle.PUBLIC[name]
    return f"{base}.{name}" if module_path(f"{base}.{name}", root) else base
