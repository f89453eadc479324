"""Which modules of the library others import, at any depth: what a DVC stage depends on."""

import ast
import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = {path.stem: path for path in (ROOT / "hume_turtle").glob("*.py")}
LAZY = ("pipeline", "suite")  # what they import inside functions depends on the stage
APART = {"__init__", "files"}  # nothing that a stage makes follows from them
STAGES = {  # a stage's functions in stages.py, and what it calls through suite.py
    "pretrain": (("pretrain", "train_network"), ("datasets",)),
    "embed": (("embed",), ("datasets",)),
    "fit": (("fit", "fit_seeds"), ("turtle", "hume", "embeddings")),
    "select": (("select", "fit_grid"), ("turtle", "embeddings")),
    "baselines": (
        ("baselines", "score_dataset", "score_baselines", "score_zero_shot", "score"),
        ("turtle", "hume", "embeddings"),
    ),
}


def imported(tree: ast.AST) -> set[str]:
    """Modules of the library that the code imports."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "hume_turtle":
            found |= {alias.name for alias in node.names if alias.name in MODULES}
            found |= {alias.name.lower() for alias in node.names if alias.name.lower() in MODULES}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hume_turtle."):
            found.add(node.module.split(".")[1])
    return found


def closure(modules: set[str]) -> set[str]:
    """The modules and all that they import; `LAZY` ones are not followed."""
    seen, todo = set(), set(modules)
    while todo:
        module = todo.pop()
        seen.add(module)
        if module not in LAZY:
            todo |= imported(ast.parse(MODULES[module].read_text(encoding="utf-8"))) - seen
    return seen - APART


def of_stage(name: str) -> set[str]:
    """The modules that decide what a stage makes."""
    if name == "report":
        return closure({"pipeline", "artefacts"}) - set(LAZY)
    if name == "notebooks":
        code = "\n".join(map(code_of, (ROOT / "notebooks").glob("*.ipynb")))
        through_suite = {"turtle", "hume", "embeddings", "datasets"}
        return closure(imported(ast.parse(code)) | through_suite | {"notebooks"})
    functions, through_suite = STAGES[name]
    tree = ast.parse(MODULES["pipeline"].read_text(encoding="utf-8"))
    own = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    found = {"pipeline", "suite", *through_suite}
    for node in own:
        if node.name in functions:
            found |= imported(node)
    return closure(found)


def code_of(notebook: Path) -> str:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
