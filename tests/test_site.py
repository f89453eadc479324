"""The web pages: what is gathered for them, and that no link in the texts leads nowhere."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "docs" / "site"
TEXTS = [ROOT / "README.md", ROOT / "suites" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def script(name: str):
    """A module of docs/site, which is no package."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SCRIPTS))


pages = script("pages")


def notebook(*sources: str) -> str:
    """A notebook as JSON: a cell of text, then cells of code."""
    book = nbformat.v4.new_notebook()
    book.cells = [nbformat.v4.new_markdown_cell(sources[0])]
    book.cells += [nbformat.v4.new_code_cell(source) for source in sources[1:]]
    return nbformat.writes(book)


@pytest.fixture
def root(tmp_path):
    """A small repository: two notebooks, one of them executed, a text, a table and a figure."""
    root = tmp_path / "repository"
    book = notebook("# One\nThen [02_two](02_two.ipynb).", "Suite.open('..')")
    executed = json.loads(notebook("# One\nThen [02_two](02_two.ipynb).", "# Parameters", "1 + 1"))
    executed["cells"][1]["metadata"]["tags"] = ["injected-parameters"]
    files = {
        "README.md": "# Front\n\n![A](figures/digits/a.png) [table](figures/digits/b.md)",
        "suites/README.md": "# Suites\n",
        "docs/install.md": "# Install\n\n[one](../notebooks/executed/digits/01_one.ipynb)",
        "notebooks/01_one.ipynb": book,
        "notebooks/02_two.ipynb": notebook("# Two\n", "1 + 1"),
        "notebooks/executed/digits/01_one.ipynb": json.dumps(executed),
        "figures/digits/a.png": "",
        "figures/digits/b.md": "| x |\n|--:|\n| 1 |\n",
        "figures/digits/b.csv": "x\n1\n",
        "library/code.py": "",
    }
    for file, text in files.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)
    return root


@pytest.mark.parametrize(
    ("link", "on_disk", "on_github"),
    [
        ("[a](install.md#b)", "[a](install.md#b)", "[a](install.md#b)"),
        ("[a](../README.md)", "[a](index.md)", "[a](index.md)"),
        ("[a](../notebooks/01_one.ipynb)", *["[a](notebooks/01_one.ipynb)"] * 2),
        ("[a](../notebooks/executed/digits/02_two.ipynb)", *["[a](notebooks/02_two.ipynb)"] * 2),
        ("![a](../figures/digits/a.png)", *["![a](figures/digits/a.png)"] * 2),
        ("[a](../figures/digits/a.png)", *["[a](figures/digits/a.md)"] * 2),
        ("[a](../library/code.py)", "a", "[a](https://github.com/me/it/blob/HEAD/library/code.py)"),
        ("[a](../library)", "a", "[a](https://github.com/me/it/tree/HEAD/library)"),
        ("![a](../figures/digits/none.png)", "a", "a"),
        ("[a](https://x.org) [b](#c)", *["[a](https://x.org) [b](#c)"] * 2),
    ],
)
def test_links_lead_to_pages_or_to_github(root, link, on_disk, on_github):
    for repository, expected in (("", on_disk), ("me/it", on_github)):
        site = pages.Site(root, repository)
        assert pages.relink(link, "docs/install.md", "install.md", site) == expected


def test_links_are_relative_to_the_page(root):
    text = pages.relink("[a](../docs/install.md)", "notebooks/x", "notebooks/x", pages.Site(root))
    assert text == "[a](../install.md)"


def test_what_is_gathered(root, tmp_path):
    pages.gather(pages.Site(root), tmp_path / "pages", tmp_path / "colab")
    found = {
        p.relative_to(tmp_path / "pages").as_posix() for p in (tmp_path / "pages").rglob("*.*")
    }
    notebooks = {"notebooks/01_one.ipynb", "notebooks/02_two.ipynb"}
    figures = {f"figures/{name}" for name in ("index.md", "digits/a.md", "digits/b.md")}
    files = {"figures/digits/a.png", "figures/digits/b.csv"}
    assert found == {"index.md", "suites.md", "install.md"} | notebooks | figures | files
    assert not (tmp_path / "colab").exists()  # Colab needs the repository's address

    front = (tmp_path / "pages" / "index.md").read_text()
    assert "01 One <notebooks/01_one>\n02 Two <notebooks/02_two>" in front
    assert "[table](figures/digits/b.md)" in front
    assert "| 1 |" in (tmp_path / "pages" / "figures" / "digits" / "b.md").read_text()


def test_a_notebook_is_shown_as_executed(root):
    site = pages.Site(root)
    one, two = (pages.notebook_page(name, site) for name in ("01_one", "02_two"))
    assert ["".join(cell["source"]) for cell in one["cells"][1:]] == ["1 + 1"]
    assert one["cells"][0]["source"].startswith("# One\n")
    assert "not been run" not in one["cells"][0]["source"]
    assert "not been run" in two["cells"][0]["source"]


def test_links_that_open_a_notebook(root, tmp_path):
    assert pages.launch_links("01_one", pages.Site(root)) == []
    site = pages.Site(root, "me/it")
    colab, binder, source = pages.launch_links("01_one", site)
    assert "colab.research.google.com/github/me/it/blob/gh-pages/colab/01_one.ipynb" in colab
    assert "mybinder.org/v2/gh/me/it/HEAD?urlpath=lab%2Ftree%2Fnotebooks%2F01_one.ipynb" in binder
    assert source == "[Source](https://github.com/me/it/blob/HEAD/notebooks/01_one.ipynb)"
    assert len(pages.launch_links("02_two", site)) == 1  # its suite runs in neither place

    pages.gather(site, tmp_path / "pages", tmp_path / "colab")
    (copy,) = (tmp_path / "colab").iterdir()
    book = nbformat.read(copy, as_version=4)
    nbformat.validate(book)
    assert "git clone --quiet --depth 1 https://github.com/me/it" in book.cells[0].source
    assert [cell.source for cell in book.cells[2:]] == [
        "Suite.open('..')"
    ]  # the source, not the run


def test_colab_computes_only_what_is_read():
    reading = json.loads(notebook("# A", "suite = Suite.open(suite_folder)"))
    toy = json.loads(notebook("# A", "1 + 1"))
    for book, reads in ((reading, True), (toy, False)):
        first = pages.colab_copy(book, "me/it")["cells"][0]["source"]
        assert ("dvc repro" in first) == reads
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    named = pages.COLAB_SUITE.partition("--quiet ")[2].split()
    assert set(named) <= set(stages)


def test_every_text_is_in_the_contents():
    listed = {name for names in pages.CONTENTS.values() for name in names}
    assert listed - {"suites", "figures/index"} == {path.stem for path in TEXTS[2:]}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_link_leads_nowhere(path):
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    made = {f"figures/digits/{name}" for name in params["artefacts"]}  # by `make repro`
    made |= {f"notebooks/executed/digits/{name}" for name in params["notebooks"]}
    for _, _, target in pages.LINK.findall(path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        goal = Path(os.path.normpath(path.parent / file)) if file else path
        assert goal.exists() or goal.relative_to(ROOT).with_suffix("").as_posix() in made, target
        assert not anchor or anchor in anchors(goal.read_text(encoding="utf-8")), target


def anchors(text: str) -> set[str]:
    """GitHub's names for the headings of a text."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_every_artefact_is_in_the_map():
    text = (ROOT / "docs" / "what-is-where.md").read_text(encoding="utf-8")
    artefacts = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["artefacts"]
    assert [name for name in artefacts if f"[{name}](" not in text] == []


def test_equations_are_set_without_a_script():
    for package in ("latex2mathml", "docutils"):
        pytest.importorskip(package)
    mathml = script("mathml").mathml
    assert mathml("a_k", "block") == (
        '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">'
        "<mrow><msub><mi>a</mi><mi>k</mi></msub></mrow></math>"
    )
    formula = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$([^$\n]+?)\$", re.DOTALL)
    wrong = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                for block, inline in formula.findall("".join(cell["source"])):
                    unknown = re.findall(r"\\\w+", mathml(block or inline))
                    unknown += re.findall(r"\\\\[a-z]\w+", inline)  # a line break, then letters
                    wrong += [f"{path.stem}: {name}" for name in unknown]
    assert wrong == []  # commands that the converter does not know


@pytest.mark.slow
def test_the_pages_are_built_and_ask_no_other_host_for_anything(tmp_path):
    for package in ("myst_nb", "sphinx_book_theme", "latex2mathml"):
        pytest.importorskip(package)
    for name in ("README.md", "docs", "figures", "notebooks", "suites"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("_build"))
        else:
            shutil.copyfile(ROOT / name, tmp_path / name)
    environment = {k: v for k, v in os.environ.items() if k != "GITHUB_REPOSITORY"}
    command = [sys.executable, "docs/site/build.py"]
    subprocess.run(command, cwd=tmp_path, check=True, env=environment)
    html = tmp_path / "docs" / "_build" / "html"
    assert (html / "notebooks" / "01_quickstart.html").is_file()
    loads = re.compile(
        r"<(?:script|img|iframe|source)[^>]* src=\"(?:https?:)?//|<link[^>]*//[^>]*>"
    )
    found = {
        f"{path.relative_to(html)}: {tag}"
        for path in html.rglob("*.html")
        for tag in loads.findall(path.read_text(encoding="utf-8"))
    }
    assert found == set()
