"""`evaluate`: files of labels against a file of true labels."""

import numpy as np
import pandas as pd
import pytest

from hume_turtle import evaluate
from hume_turtle.cli import main


def test_scores_of_several_files(files, capsys):
    truth = files[2]
    labelings = {"same.npy": (truth + 1) % 3, "other.npy": np.where(truth == 2, 0, truth)}
    for name, labels in labelings.items():
        np.save(name, labels)
    command = ["evaluate", *labelings, "--true", "y.npy", "--output", "out/scores.csv"]
    for named in (False, True):
        assert main([*command, *["--named"] * named]) == 0
        scores = pd.read_csv("out/scores.csv").set_index("labels")
        for name, labels in labelings.items():
            expected = evaluate(truth, labels, named=named)
            assert scores.loc[name].to_dict() == pytest.approx(expected)
    assert scores.loc["same.npy", "cluster_accuracy"] == 0  # named: taken at their word
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["labels", *scores.columns]
    assert shown[1].split()[0] == "same.npy"
    assert [float(each) for each in shown[1].split()[1:]] == [1] * 4


def test_bad_input_ends_with_one_line(files, refused):
    np.save("short.npy", files[2][:9])
    np.save("half.npy", files[2] / 2)
    assert "short.npy has 9 rows, but y.npy has 60" in refused("evaluate short.npy --true y.npy")
    assert "no file no.npy" in refused("evaluate no.npy --true y.npy")
    assert "must hold integers" in refused("evaluate half.npy --true y.npy")
