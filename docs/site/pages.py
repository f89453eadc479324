"""Gather the pages of the site from the repository into one folder; Sphinx makes HTML of them.

README.md is the front page. Every text in docs/ is a page, and so are suites/README.md, every
notebook (as a suite executed it, where one did), and every table and figure. Links between them
become links between pages; a link to any other file leads to GitHub where its address is known, and
is plain text where it is not.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

SUITES = ("digits", "laptop", "turtle", "hume")  # the first that executed a notebook is shown
CONTENTS = {
    "Use it": ["install", "your-images", "embeddings", "settings"],
    "Learn": ["learn"],  # and the notebooks
    "Results": ["figures/index", "same-numbers", "speed"],
    "Run it": ["suites", "experiments", "interruption", "archives"],
    "Inside": ["what-is-where", "development"],
}
LINK = re.compile(r"(!?)\[([^\[\]]*)\]\(([^()\s]+)\)")
NOT_RUN = (
    "*These cells have not been run: they read a [suite](../suites.md) that was not run here.*"
)
BINDER = "https://mybinder.org/v2/gh/{0}/HEAD?urlpath=lab%2Ftree%2Fnotebooks%2F{1}.ipynb"
COLAB = "https://colab.research.google.com/github/{0}/blob/gh-pages/colab/{1}.ipynb"
# Colab's own versions are kept: to replace its PyTorch takes longer than the notebook.
COLAB_INSTALL = """\
# Run this cell first. It takes a minute or two to get the repository and to install it.
!git clone --quiet --depth 1 https://github.com/{0} repository
%cd repository/notebooks
%pip install --quiet .."""
COLAB_SUITE = """
# The embeddings and labelings that this notebook reads: about five minutes.
!cd .. && dvc repro --quiet baselines select"""


class Site:
    """What is known of the repository.

    Attributes:
        root: its folder.
        repository: its name on GitHub, owner/name, or "".
        notebooks: the file that is shown for each notebook, by name, in the order of reading.
        pages: the page of each file that has one. Files and pages are relative paths with "/",
            files those in the repository, pages those in the folder that Sphinx reads.
    """

    def __init__(self, root: Path, repository: str = ""):
        self.root, self.repository = root, repository
        self.pages = {file: Path(file).name for file in self.files("docs/*.md")}
        self.pages |= {"README.md": "index.md", "suites/README.md": "suites.md"}
        for file in self.files("figures/*/*.*"):
            self.pages[file] = Path(file).with_suffix(".md").as_posix()
        self.notebooks = {}
        for file in self.files("notebooks/*.ipynb"):
            runs = [f"notebooks/executed/{suite}/{Path(file).name}" for suite in SUITES]
            self.pages |= dict.fromkeys([file, *runs], file)
            shown = [run for run in [*runs, file] if (root / run).is_file()]
            self.notebooks[Path(file).stem] = shown[0]

    def files(self, pattern: str) -> list[str]:
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.glob(pattern))

    def text(self, file: str) -> str:
        return (self.root / file).read_text("utf-8")

    def github(self, path: str) -> str:
        kind = "tree" if (self.root / path).is_dir() else "blob"
        return f"https://github.com/{self.repository}/{kind}/HEAD/{path}"


def relink(text: str, file: str, page: str, site: Site) -> str:
    """The Markdown of a file with its links as they must be on a page."""

    def new_link(match: re.Match) -> str:
        picture, words, target = match.groups()
        path, hash_sign, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return match[0]
        path = normpath(join(dirname(file), path))
        exists = (site.root / path).exists()
        if picture and exists:
            goal = path
        elif path in site.pages and not picture:
            goal = site.pages[path]
        elif exists and site.repository:
            return f"[{words}]({site.github(path)})"
        else:
            return words
        goal = relpath(goal, dirname(page) or ".")
        return f"{picture}[{words}]({goal}{hash_sign}{anchor})"

    return LINK.sub(new_link, text)


def in_default_suite(shown: str) -> bool:
    return shown.startswith(f"notebooks/executed/{SUITES[0]}/")


def notebook_page(name: str, site: Site) -> dict:
    """A notebook with links between pages and, below its title, links that open it elsewhere.

    The parameters that a run was given are left out: those that it declares stand above them.
    """
    file, shown = f"notebooks/{name}.ipynb", site.notebooks[name]
    notebook = json.loads(site.text(shown))
    notebook["cells"] = [
        cell
        for cell in notebook["cells"]
        if "injected-parameters" not in cell["metadata"].get("tags", [])
    ]
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = relink("".join(cell["source"]), file, file, site)
    title, _, rest = notebook["cells"][0]["source"].partition("\n")
    notes = [NOT_RUN] * (shown == file) + [" · ".join(launch_links(name, site))]
    notebook["cells"][0]["source"] = "\n\n".join([title, *notes, rest])
    return notebook


def launch_links(name: str, site: Site) -> list[str]:
    """Markdown links that open a notebook elsewhere; none where the address is not known."""
    links = []
    if site.repository and in_default_suite(site.notebooks[name]):  # no other suite runs there
        links.append(f"[Open in Colab]({COLAB.format(site.repository, name)})")
        links.append(f"[Open in Binder]({BINDER.format(site.repository, name)})")
    if site.repository:
        links.append(f"[Source]({site.github(f'notebooks/{name}.ipynb')})")
    return links


def colab_copy(notebook: dict, repository: str) -> dict:
    """A notebook whose first cell installs the library and computes what the notebook reads."""
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    source = COLAB_INSTALL.format(repository)
    source += COLAB_SUITE * any("Suite.open(" in text for text in code)
    cell = {"cell_type": "code", "id": "colab", "metadata": {}, "source": source}
    return {
        **notebook,
        "cells": [{**cell, "execution_count": None, "outputs": []}, *notebook["cells"]],
    }


def figure_pages(site: Site) -> dict[str, str]:
    """Page -> Markdown: one for each table or figure, with its files, and one with all figures."""
    texts, index = {}, ["# Tables and figures"]
    for suite in [suite for suite in SUITES if (site.root / "figures" / suite).is_dir()]:
        kinds: dict[str, list[str]] = {}
        for file in site.files(f"figures/{suite}/*.*"):
            kinds.setdefault(Path(file).stem, []).append(Path(file).suffix)
        links = {name: f"[{name}]({suite}/{name}.md)" for name in kinds}
        tables = [link for name, link in links.items() if ".md" in kinds[name]]
        index += [f"## Suite `{suite}`", "Tables: " + " · ".join(tables)]
        for name, found in kinds.items():
            page = f"figures/{suite}/{name}.md"
            picture = [f"![{name}]({name}.png)"] * (".png" in found)
            table = ["{.numbers}\n" + site.text(page)] if ".md" in found else []
            files = [f"[{kind[1:].upper()}]({name}{kind})" for kind in found if kind != ".md"]
            texts[page] = "\n\n".join(
                [f"# {name}", *picture, *table, "Files: " + " · ".join(files)]
            )
            index += [f"### {links[name]}", f"![{name}]({suite}/{name}.png)"] * (".png" in found)
    listed = [page.removeprefix("figures/").removesuffix(".md") for page in texts]
    return {**texts, "figures/index.md": "\n\n".join([*index, toctree(listed)])}


def toctree(entries: list[str], caption: str = "") -> str:
    options = ":hidden:\n" + f":caption: {caption}\n" * bool(caption)
    return f"```{{toctree}}\n{options}\n" + "\n".join(entries) + "\n```\n"


def gather(site: Site, folder: Path, colab: Path) -> None:
    """Write all pages to `folder`, and the notebooks for Colab to `colab`."""
    texts = figure_pages(site)
    for file in ["README.md", "suites/README.md", *site.files("docs/*.md")]:
        page = site.pages[file]
        texts[page] = relink(site.text(file), file, page, site)
    copies, entries = {}, []
    for name, shown in site.notebooks.items():
        page = notebook_page(name, site)
        texts[f"notebooks/{name}.ipynb"] = json.dumps(page, ensure_ascii=False)
        title = page["cells"][0]["source"].partition("\n")[0].removeprefix("# ")
        entries.append(f"{name[:2]} {title} <notebooks/{name}>")
        if site.repository and in_default_suite(shown):
            copy = colab_copy(json.loads(site.text(f"notebooks/{name}.ipynb")), site.repository)
            copies[f"{name}.ipynb"] = json.dumps(copy, indent=1, ensure_ascii=False) + "\n"
    for caption, names in CONTENTS.items():
        texts["index.md"] += "\n" + toctree(names + entries * (caption == "Learn"), caption)

    for place, contents in ((folder, texts), (colab, copies)):
        for path, text in contents.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_text(text, "utf-8")
    for file in site.files("figures/*/*.*"):
        if not file.endswith(".md"):
            shutil.copyfile(site.root / file, folder / file)
