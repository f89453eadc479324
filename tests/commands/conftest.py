"""Files of embeddings and of true labels in the current directory."""

import numpy as np
import pytest


@pytest.fixture
def files(tmp_path, monkeypatch, blobs):
    """`a.npy` (60, 6) float16, `b.npy` (60, 4) and `y.npy` (60,); the arrays, in this order."""
    (a, b), labels = blobs(60, 3, (6, 4))
    arrays = a.astype(np.float16), b, labels
    for name, array in zip("aby", arrays):
        np.save(tmp_path / f"{name}.npy", array)
    monkeypatch.chdir(tmp_path)
    return arrays


@pytest.fixture
def refused(capsys):
    """`refused("kmeans ...")`: the one line with which a command ends."""
    from hume_turtle.cli import main

    def run(command: str) -> str:
        assert main(command.split()) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return run
