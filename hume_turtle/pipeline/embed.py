"""The stage `embed`: a suite's images, or what was imported in their place, in every space.

Embeddings that were imported (released/importers.py) into the suite's data folder are kept as
they are, so that nothing needs to be computed where the authors' files are at hand; so are spaces
that params.yaml does not name.
"""

from __future__ import annotations

import json
from dataclasses import replace
from inspect import signature
from pathlib import Path

import numpy as np

from hume_turtle.core.precision import pick_device
from hume_turtle.datasets.images import ImageDataset
from hume_turtle.encoders.encoder import Encoder
from hume_turtle.encoders.registry import load_encoder
from hume_turtle.encoders.text import cached_text_features, save_text_features, text_features
from hume_turtle.extraction.extract import extract
from hume_turtle.pipeline.images import load_images
from hume_turtle.pipeline.settings import Settings, check_keys
from hume_turtle.runtime import keep_freed_memory
from hume_turtle.storage.embeddings import (
    embedding_path,
    is_imported,
    kept_rows_of,
    load_labels,
    save_labels,
)
from hume_turtle.storage.files import atomic_write
from hume_turtle.storage.names import SPLITS

EXTRACTION = {"batch_size": 256, "workers": 0, "device": "cpu"}  # what suits small images


def run(suite: Settings, dataset: str) -> None:
    """Both splits of a dataset in every space, its true labels, and text features of its classes.

    `embed` in params.yaml: `extraction` holds options of `extract`; with `resume`, what an earlier
    call with the same settings made is kept and a killed stage resumes. Nothing is removed.

    Raises:
        ValueError: where imported labels are not those of the images, row by row; where one split
            of a space was imported and the other was not.
    """
    keep_freed_memory()
    folder = suite.data / "embeddings"
    options = suite.params["embed"].get("extraction", {})
    check_keys("embed.extraction", options, signature(extract).parameters)
    for kind in ("embeddings", "labels", "text"):
        (suite.data / kind / dataset).mkdir(parents=True, exist_ok=True)
    computed = [space for space in suite.space_names if not was_imported(folder, dataset, space)]
    if not computed:
        print(f"{dataset}: all embeddings were imported")
        return
    splits = [load_images(suite, dataset, split) for split in SPLITS]
    for space in computed:
        embed_space(suite, dataset, space, splits)
    for images in splits:
        save_true_labels(suite, dataset, images)


def was_imported(folder: Path, dataset: str, space: str) -> bool:
    """Whether both splits were imported. Raises ValueError for one: it would be replaced."""
    if is_imported(folder, dataset, space):
        return True
    for split in SPLITS:
        sidecar = embedding_path(folder, dataset, space, split).with_suffix(".json")
        if sidecar.exists() and "source" in json.loads(sidecar.read_text())["settings"]:
            raise ValueError(
                f"{dataset}: only the {split} split of {space} was imported; import the other "
                f"one too, or remove {sidecar.parent}"
            )
    return False


def embed_space(suite: Settings, dataset: str, space: str, splits: list[ImageDataset]) -> None:
    """All splits in one space, and the text features of the classes where it has a text encoder."""
    section = suite.params["embed"]
    options, resume = {**EXTRACTION, **section.get("extraction", {})}, section.get("resume", False)
    encoder = suite_encoder(suite, dataset, space)
    encoder.to(pick_device(options["device"]))  # ImageNet's 80,000 prompts need it too
    names = splits[0].class_names
    if encoder.encode_text is not None and names:
        texts = suite.data / "text"
        if resume:
            cached_text_features(texts, dataset, encoder, names)
        else:
            features = text_features(encoder, dataset, names)
            save_text_features(texts, dataset, features, encoder, names)
    existing = "update" if resume else "replace"
    for images in splits:
        extract(images, encoder, suite.data / "embeddings", existing=existing, **options)


def suite_encoder(suite: Settings, dataset: str, space: str) -> Encoder:
    """The encoder of a space: trained here, or named in `embed.encoders`, or of the space's name.

    `embed.checkpoints` names local files of weights; `embed.weights` may be "random", for trying.
    """
    section = suite.params["embed"]
    trained = suite.network_path(space, dataset)
    checkpoint = trained if trained.exists() else section.get("checkpoints", {}).get(space)
    name = section.get("encoders", {}).get(space, space)
    weights = section.get("weights", "pretrained")
    return replace(load_encoder(name, checkpoint=checkpoint, weights=weights), name=space)


def save_true_labels(suite: Settings, dataset: str, images: ImageDataset) -> None:
    """The labels of the rows that were embedded, and the classes' names; nothing if unknown."""
    if images.labels is None:
        return
    embeddings, folder = suite.data / "embeddings", suite.data / "labels"
    kept = kept_rows_of(embeddings, dataset, suite.space_names, images.split)
    labels = images.labels[kept]
    imported = any(is_imported(embeddings, dataset, space) for space in suite.space_names)
    if imported and not np.array_equal(load_labels(folder, dataset, images.split), labels):
        raise ValueError(
            f"{dataset} {images.split}: the imported labels are not those of the images here, so "
            "rows of imported and computed embeddings would be of different images"
        )
    save_labels(folder, dataset, images.split, labels)
    for kind, other in images.attributes.items():
        save_labels(folder, dataset, images.split, other[kept], kind)
    with atomic_write(folder / dataset / "classes.json", "w", encoding="utf-8") as file:
        file.write(json.dumps(images.class_names, ensure_ascii=False, indent=1) + "\n")
