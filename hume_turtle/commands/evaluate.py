"""The command `evaluate`: labels against true labels, both in .npy files."""

from __future__ import annotations

import argparse

import pandas as pd

from hume_turtle.commands.arrays import open_arrays
from hume_turtle.evaluation import metrics
from hume_turtle.storage.files import atomic_write


def evaluate(options: argparse.Namespace) -> None:
    truth, *labelings = open_arrays([options.true, *options.labels], 1)
    rows = [
        {"labels": path, **metrics.evaluate(truth, labels, named=options.named)}
        for path, labels in zip(options.labels, labelings)
    ]
    table = pd.DataFrame(rows)
    if options.output:
        with atomic_write(options.output, "w", encoding="utf-8") as file:
            table.to_csv(file, index=False, lineterminator="\n")
    print(table.round(4).to_string(index=False))
