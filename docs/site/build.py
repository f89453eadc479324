"""Build the web pages into docs/_build/html: `make site`, or this file with the extra `site`.

GITHUB_REPOSITORY (owner/name, set in GitHub's workflows) adds the links that need the address.
"""

import os
import shutil
import sys
from pathlib import Path

from pages import Site, gather
from sphinx.cmd.build import main

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "docs" / "_build"

if __name__ == "__main__":
    shutil.rmtree(BUILD, ignore_errors=True)
    (BUILD / "extra").mkdir(parents=True)
    site = Site(ROOT, os.environ.get("GITHUB_REPOSITORY", ""))
    gather(site, BUILD / "pages", BUILD / "extra" / "colab")
    folders = [str(BUILD / name) for name in ("pages", "html", "doctrees")]
    options = ["-q", "--fail-on-warning", "--keep-going", "-c", str(Path(__file__).parent)]
    sys.exit(main([*options, "-d", folders[2], *folders[:2]]))
