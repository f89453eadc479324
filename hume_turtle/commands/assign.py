"""The command `assign`, and what `cluster` shares with it: what a model says of rows, and tables.

Like `embed`, both set up their process before they import what is heavy.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hume_turtle.commands.arrays import open_spaces
from hume_turtle.commands.photographs import (
    counted,
    embed,
    left_out,
    photographs,
    photographs_folder,
    recorded_sources,
    shown,
)
from hume_turtle.runtime import keep_freed_memory
from hume_turtle.storage.files import new_files, refuse_existing


def assign(options: argparse.Namespace) -> None:
    """Label new rows by the model that `cluster` wrote, and write a table."""
    set_up_process()

    from hume_turtle.estimators.turtle import Turtle

    output, made = Path(options.output).absolute(), described(Path(options.groups))
    refuse_existing(output.parent, [output.name], options.overwrite)
    names = class_names(options.names) if options.names else None
    model = Turtle.load(Path(options.groups, "model.npz"), device=options.device)
    folder = photographs_folder(options.inputs)
    if folder is None:
        spaces, rows = rows_of_fit(options, made)
    else:
        sources = recorded_sources(made["spaces"], options.checkpoint, options.groups)
        found = photographs(folder, options.unreadable)
        rows = found.names
    with new_files(output.parent, [output.name], options.overwrite) as new:
        if folder is not None:
            cache = new / "embeddings"
            spaces, _ = embed(found.paths, sources, cache, options.device, made["spaces"])
        columns = answers(model, spaces).columns(rows)
        if names is not None:
            named = [names.get(c, "") for c in columns["class"]]
            columns = dict([*columns.items()][:2]) | {"name": named} | columns
        write_table(new / output.name, columns)
    for line in left_out(found) if folder is not None else ():
        print(line)
    print(f"{shown(options.output)}: {counted(len(columns['class']), 'row')} labelled")


def set_up_process() -> None:
    """As `embed` has it; before torch is imported."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads starve the workers
    keep_freed_memory()


def described(groups: Path) -> dict[str, Any]:
    """model.json of a folder that `cluster` wrote."""
    path = groups / "model.json"
    if not path.is_file():
        raise FileNotFoundError(f"{shown(groups)} is no folder that `cluster` wrote: no model.json")
    try:
        made = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        made = None
    if not isinstance(made, dict) or not made.get("spaces"):
        raise ValueError(f"{shown(path)} is damaged, or not by `cluster`: run `cluster` again")
    return made


def rows_of_fit(
    options: argparse.Namespace, made: dict
) -> tuple[list[np.ndarray], list[str] | None]:
    """Spaces from files, and their rows' names. Raises ValueError for other widths than fitted."""
    if options.checkpoint:
        raise ValueError("--checkpoint goes with a folder of photographs")
    paths, widths = options.inputs, [space["dimensions"] for space in made["spaces"]]
    spaces, names = open_spaces(paths, constant=True)
    if len(paths) != len(widths):
        made_of = f"{shown(options.groups)} was made of {counted(len(widths), 'space')}"
        raise ValueError(f"{made_of}, but {len(paths)} given")
    for path, space, width in zip(paths, spaces, widths):
        if space.shape[1] != width:
            has = f"{path} has {space.shape[1]} dimensions"
            raise ValueError(f"{has}, but the fit had {width} there")
    return spaces, names


def class_names(path: str) -> dict[int, str]:
    """What classes are called, from a table with the columns class and name."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}")
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        table = csv.DictReader(file)
        if not {"class", "name"} <= {*(table.fieldnames or ())}:
            raise ValueError(f"--names {path} must have the columns class and name")
        try:
            names = [(int(line["class"]), line["name"] or "") for line in table]
        except (TypeError, ValueError):
            raise ValueError(f"--names {path}: a class is not a number") from None
    return dict(reversed(names))  # the first name of a class counts


class Answers(NamedTuple):
    """The class (n,) of each row, its probability, the second choice, and each space's (K, n)."""

    labels: np.ndarray
    confidence: np.ndarray
    second: np.ndarray
    by_space: np.ndarray

    def columns(self, names: Sequence[str] | None) -> dict[str, Sequence]:
        """Of a table, one line a row; without names rows are numbered from 0."""
        rows = {"row": range(len(self.labels))} if names is None else {"file": names}
        confidence = [round(float(value), 6) for value in self.confidence]
        given = {"class": self.labels.tolist(), "confidence": confidence}
        return {**rows, **given, "second": self.second.tolist()}


def answers(model, spaces: list[np.ndarray]) -> Answers:
    """What a fitted Turtle says of rows in K spaces (n, d_k)."""
    import torch

    from hume_turtle.core.precision import pick_device
    from hume_turtle.core.products import linear_logits
    from hume_turtle.core.task_encoders import with_constant
    from hume_turtle.estimators.base import to_device

    labels, device = model.predict(spaces), pick_device(model.device)
    heads = [to_device(head, device)[None] for head in model.heads_]  # K of (1, C, d_k + 1)
    second, by_space = [], []
    chunk = max(1, 2**21 // sum(space.shape[1] for space in spaces))
    for i in range(0, len(labels), chunk):
        batch = [with_constant(to_device(z[i : i + chunk], device)) for z in spaces]
        logits = torch.stack([linear_logits(h, z)[0] for h, z in zip(heads, batch)])  # (K, C, rows)
        by_space.append(logits.argmax(dim=1).cpu())
        total = logits.log_softmax(dim=1).logsumexp(dim=0)  # log Σ_k τ^k: no class has exactly 0
        taken = torch.from_numpy(labels[i : i + chunk]).to(device)
        total.scatter_(0, taken[None], -torch.inf)
        second.append(total.argmax(dim=0).cpu())
    joined = torch.cat(second).numpy(), torch.cat(by_space, dim=1).numpy()
    return Answers(labels, model.confidence(spaces), *joined)


def write_table(path: Path, columns: Mapping[str, Sequence]) -> None:
    """Write a .csv file with quotes about all text; names of files keep every byte."""
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values()))
