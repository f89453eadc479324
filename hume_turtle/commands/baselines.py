"""The commands `kmeans`, `probe` and `zero-shot`: the papers' baselines on .npy files."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from hume_turtle.checks import check_dims
from hume_turtle.commands.arrays import open_arrays, write_labels
from hume_turtle.commands.photographs import load, sources_of
from hume_turtle.core.precision import pick_device
from hume_turtle.encoders.text import load_prompts, text_features
from hume_turtle.estimators.kmeans import KMeansBaseline
from hume_turtle.evaluation.linear_probe import LinearProbe
from hume_turtle.evaluation.zero_shot import ZeroShot
from hume_turtle.storage.files import refuse_existing


def kmeans(options: argparse.Namespace) -> None:
    spaces = open_arrays(options.spaces, 2)
    refuse_existing(Path(), [options.save], options.overwrite)
    names = ("seed", "n_init", "max_iter", "device")
    given = {name: getattr(options, name) for name in names if hasattr(options, name)}
    labels = KMeansBaseline(options.classes, **given).fit(spaces).labels_
    write_labels(options.save, labels, range(options.classes))


def probe(options: argparse.Namespace) -> None:
    train, test = open_arrays(options.spaces, 2), open_arrays(options.test, 2)
    (labels,) = open_arrays([options.labels], 1)
    check_dims([space.shape[1] for space in test], [space.shape[1] for space in train])
    refuse_existing(Path(), [options.save], options.overwrite)
    given = {"grid": grid_of(options.grid)} if options.grid else {}
    model = LinearProbe(device=options.device, **given).fit(train, labels)
    print(f"C = {model.C_:g}, held-out accuracy {np.max(model.scores_):.4f}")
    write_labels(options.save, model.predict(test), model.classes_)


def grid_of(text: str) -> str | list[float]:
    """The values of C, or the name of a list of them."""
    if text in ("published", "quick"):
        return text
    try:
        return [float(C) for C in text.split(",")]
    except ValueError:
        raise ValueError(f"--grid {text!r} must be published, quick or C1,C2,...") from None


def zero_shot(options: argparse.Namespace) -> None:
    (rows,) = open_arrays([options.space], 2)
    refuse_existing(Path(), [options.save], options.overwrite)
    text = open_arrays([options.text], 2)[0] if options.text else encoded(options, rows.shape[1])
    write_labels(options.save, ZeroShot(text).predict(rows), range(len(text)))


def encoded(options: argparse.Namespace, dim: int) -> np.ndarray:
    """The embeddings (C, d) of the class names in a file, by an encoder of spaces of that width."""
    if not options.class_names:
        raise ValueError("--encoder needs --class-names: a text file, one name a line")
    names = Path(options.class_names).read_text(encoding="utf-8").splitlines()
    names = [name.strip() for name in names if name.strip()]
    if options.prompts:
        load_prompts(options.prompts)  # unknown ones would become plain
    device = pick_device(options.device)
    (source,) = sources_of([options.encoder], [options.checkpoint], options.weights)
    encoder = load(source).to(device)
    if encoder.dim != dim:
        raise ValueError(f"{options.space} has {dim} columns, {encoder.name} makes {encoder.dim}")
    return text_features(encoder, options.prompts or "", names)
