"""Sphinx's settings: no notebook is run, and no page asks another host for anything."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # mathml.py

project = "hume-turtle"
author = "The hume-turtle developers"
language = "en"
repository = os.environ.get("GITHUB_REPOSITORY", "")

extensions = ["myst_nb", "mathml", "sphinx.ext.githubpages"]
myst_enable_extensions = ["dollarmath", "attrs_block"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # else scripts from a CDN
nb_merge_streams = True

html_theme = "sphinx_book_theme"
html_title = "hume-turtle"
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_favicon = "static/icon.svg"
html_extra_path = ["../_build/extra"]  # notebooks for Colab
html_copy_source = False
html_show_search_summary = False  # fetched, which a browser forbids to pages opened from disk
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system has it
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navbar_persistent": [],  # a second search field
    "show_toc_level": 2,
}
if repository:
    owner, _, name = repository.partition("/")
    html_baseurl = f"https://{owner}.github.io/{name}/"
    html_theme_options |= {
        "repository_url": f"https://github.com/{repository}",
        "use_repository_button": True,
    }
