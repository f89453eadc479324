"""The environment that `make` keeps: which versions it installs, and when it installs again."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = r"""#!/bin/sh
case "$*" in
  "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *" freeze "*) printf 'numpy==9.9\ntorch==9.9+cpu\n' ;;
  *" install "*) echo "$*" >> installed ;;
esac
"""


@pytest.fixture
def installs(tmp_path):
    """`installs(*arguments)`: what pip installs when `make test` is called with the arguments."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "constraints.txt").write_text("# Versions\nnumpy==1.0\nonly-elsewhere==1.0\n")
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    log = tmp_path / "installed"

    def call(*arguments: str) -> list[str]:
        log.write_text("")
        command = ["make", "test", f"PYTHON={tmp_path / 'python'}", *arguments]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, env=environment)
        return log.read_text().splitlines()

    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    return call


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_the_newest_versions_are_taken_on_request_and_given_back(installs, tmp_path):
    (first,) = installs()
    assert "-c constraints.txt" in first
    assert "--upgrade" not in first
    assert installs() == []
    pinned = (tmp_path / "constraints.txt").read_text()

    (newest,) = installs("LATEST=1")
    assert "--upgrade --upgrade-strategy eager" in newest
    assert "-c constraints.txt" not in newest
    lines = (tmp_path / "constraints.txt").read_text().splitlines()
    assert lines == ["# Versions", "numpy==9.9", "only-elsewhere==1.0", "torch==9.9"]
    assert installs() == []  # what is installed is what constraints.txt asks for

    (tmp_path / "constraints.txt").write_text(pinned)  # git checkout constraints.txt
    assert installs() == [first]
