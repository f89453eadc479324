"""The stage `embed`: a suite's images, or what was imported in their place, in every space.

Embeddings that were imported (importers.py) into the suite's data folder are kept as they are, so
that nothing needs to be computed where the authors' files are at hand.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np

from hume_turtle.core.precision import pick_device
from hume_turtle.datasets.images import ImageDataset
from hume_turtle.encoders.encoder import Encoder
from hume_turtle.encoders.registry import load_encoder
from hume_turtle.encoders.text import cached_text_features
from hume_turtle.extraction.extract import extract
from hume_turtle.pipeline.suite import Suite
from hume_turtle.storage.embeddings import (
    is_imported,
    kept_rows_of,
    load_labels,
    save_labels,
)
from hume_turtle.storage.files import atomic_write

SPLITS = ("train", "test")
MADE = ("embeddings", "labels", "text")  # a folder each for a dataset
EXTRACTION = {"batch_size": 256, "workers": 0, "device": "cpu"}  # what suits small images


def embed_dataset(suite: Suite, dataset: str) -> None:
    """Both splits of a dataset in every space, its true labels, and text features of its classes.

    `embed` in params.yaml: `extraction` holds options of `extract`; with `resume`, what an earlier
    call with the same settings made is kept, so that a killed stage goes on where it was.

    Raises ValueError where imported labels are not those of the images, row by row.
    """
    section, folder = suite.params["embed"], suite.data / "embeddings"
    if not section.get("resume", False):
        for kind in MADE:
            shutil.rmtree(suite.data / kind / dataset, ignore_errors=True)
    for kind in MADE:
        (suite.data / kind / dataset).mkdir(parents=True, exist_ok=True)
    for space in (folder / dataset).iterdir():
        if space.name not in suite.space_names:
            shutil.rmtree(space)
    computed = [space for space in suite.space_names if not is_imported(folder, dataset, space)]
    if not computed:
        print(f"{dataset}: all embeddings were imported")
        return
    splits = {split: suite.images(dataset, split) for split in SPLITS}
    options = {**EXTRACTION, **section.get("extraction", {})}
    for space in computed:
        encoder = suite_encoder(suite, dataset, space)
        encoder.to(pick_device(options["device"]))  # ImageNet's 80,000 prompts need it too
        if encoder.encode_text is not None and splits["train"].class_names:
            names = splits["train"].class_names
            cached_text_features(suite.data / "text", dataset, encoder, names)
        for images in splits.values():
            extract(images, encoder, folder, existing="update", **options)
    for images in splits.values():
        save_true_labels(suite, dataset, images)


def suite_encoder(suite: Suite, dataset: str, space: str) -> Encoder:
    """The encoder of a space: trained here, or named in `embed.encoders`, or of the space's name.

    `embed.checkpoints` names local files of weights; `embed.weights` may be "random", for trying.
    """
    section = suite.params["embed"]
    trained = suite.network_path(space, dataset)
    checkpoint = trained if trained.exists() else section.get("checkpoints", {}).get(space)
    name = section.get("encoders", {}).get(space, space)
    weights = section.get("weights", "pretrained")
    return replace(load_encoder(name, checkpoint=checkpoint, weights=weights), name=space)


def save_true_labels(suite: Suite, dataset: str, images: ImageDataset) -> None:
    """The labels of the rows that were embedded, and the classes' names; nothing if unknown."""
    if images.labels is None:
        return
    kept = kept_rows_of(suite.data / "embeddings", dataset, suite.space_names, images.split)
    folder, labels = suite.data / "labels", images.labels[kept]
    if any(is_imported(suite.data / "embeddings", dataset, space) for space in suite.space_names):
        check_order(load_labels(folder, dataset, images.split), labels, dataset, images.split)
    save_labels(folder, dataset, images.split, labels)
    for kind, other in images.attributes.items():
        save_labels(folder, dataset, images.split, other[kept], kind)
    with atomic_write(folder / dataset / "classes.json", "w", encoding="utf-8") as file:
        file.write(json.dumps(images.class_names, ensure_ascii=False, indent=1) + "\n")


def check_order(found: np.ndarray, labels: np.ndarray, dataset: str, split: str) -> None:
    """Imported rows and our images must be in the same order: their labels tell."""
    if not np.array_equal(found, labels):
        raise ValueError(
            f"{dataset} {split}: the imported labels are not those of the images here, so rows of "
            "imported and computed embeddings would be of different images"
        )
