"""The stage `embed`: a suite's images, or what was imported in their place, in every space.

What is kept: embeddings that were imported (released/importers.py) into the suite's data folder, so
that nothing needs to be computed where the authors' files are at hand; and all that params.yaml
does not name, spaces that were taken off its list among it. What is replaced: only this stage's own
files, where the top-level `resume` is off, or where params.yaml asks for other rows than they hold:
of another encoder, precision, ... (identity.py has the whole list).
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np

from hume_turtle.checks import check_choice
from hume_turtle.core.precision import pick_device
from hume_turtle.datasets.images import ImageDataset
from hume_turtle.encoders.encoder import DTYPES, Encoder
from hume_turtle.encoders.registry import check_encoder, load_encoder
from hume_turtle.encoders.text import (
    CHOICES,
    cached_text_features,
    save_text_features,
    text_features,
)
from hume_turtle.extraction.extract import extract
from hume_turtle.pipeline.images import load_images
from hume_turtle.pipeline.settings import Settings, check_keys
from hume_turtle.runtime import keep_freed_memory
from hume_turtle.storage.embeddings import (
    embedding_path,
    is_imported,
    kept_rows_of,
    load_labels,
    load_sidecar,
    save_labels,
)
from hume_turtle.storage.files import atomic_write
from hume_turtle.storage.names import SPLITS

EXTRACTION = {  # options of `extract`, by default what suits small images
    "precision": "fp32",
    "batch_size": 256,
    "workers": 0,
    "device": "cpu",
    "unreadable": "stop",
}


def run(suite: Settings, dataset: str) -> None:
    """A dataset's `embed.splits` in each of its spaces, its true labels, texts of its classes.

    `embed` in params.yaml: `extraction` holds options of `extract`, `precision` a space's own,
    `prompts` is published, turtle or plain (text.py). With `resume`, what an earlier call with the
    same settings made is kept and a killed stage resumes. Where all spaces were imported, no
    images are needed. All that is cheap is checked before the first image is embedded.

    Raises:
        ValueError: for bad settings and unknown encoders; where imported rows or labels are not
            those of the images; where a wanted split of a space was not imported and another was.
        FileNotFoundError: where images, a checkpoint or weights are missing.
    """
    keep_freed_memory()
    check_settings(suite)
    for kind in ("embeddings", "labels", "text"):
        (suite.data / kind / dataset).mkdir(parents=True, exist_ok=True)
    spaces = suite.spaces_of(dataset)
    computed = [space for space in spaces if not was_imported(suite, dataset, space)]
    if not computed:
        print(f"{dataset}: all embeddings were imported")
        return
    for space in computed:
        check_encoder(**encoder_of(suite, dataset, space))
    splits = [load_images(suite, dataset, split) for split in suite.splits]
    for images in splits:
        check_imported(suite, dataset, images)
    for space in computed:
        embed_space(suite, dataset, space, splits)
    for images in splits:
        save_true_labels(suite, dataset, images)


def check_settings(suite: Settings) -> None:
    """Raise ValueError for unknown options, precisions and prompts in `embed`."""
    section = suite.params["embed"]
    check_keys("embed.extraction", section.get("extraction", {}), EXTRACTION)
    check_keys("embed.precision", section.get("precision", {}), suite.space_names)
    for space in suite.space_names:
        precision = options_of(suite, space)["precision"]
        check_choice(f"embed.precision of {space}", precision, tuple(DTYPES))
    check_choice("embed.prompts", prompts(suite), CHOICES)


def options_of(suite: Settings, space: str) -> dict[str, Any]:
    """The options of `extract` for a space."""
    section = suite.params["embed"]
    options = {**EXTRACTION, **section.get("extraction", {})}
    return {**options, "precision": section.get("precision", {}).get(space, options["precision"])}


def prompts(suite: Settings) -> str:
    return suite.params["embed"].get("prompts", "published")


def was_imported(suite: Settings, dataset: str, space: str) -> bool:
    """Whether all wanted splits of a space were. Raises ValueError for some: they would differ."""
    folder = suite.data / "embeddings"
    if is_imported(folder, dataset, space, suite.splits):
        return True
    for split in SPLITS:
        if is_imported(folder, dataset, space, [split]):
            raise ValueError(
                f"{dataset}: only the {split} split of {space} was imported; import the other "
                f"one too, or remove {embedding_path(folder, dataset, space, split).parent}"
            )
    return False


def encoder_name(suite: Settings, space: str) -> str:
    """The encoder of a space, which is called after it where `embed.encoders` names no other."""
    return suite.params["embed"].get("encoders", {}).get(space, space)


def encoder_of(suite: Settings, dataset: str, space: str) -> dict[str, Any]:
    """What `load_encoder` is given for a space: trained here, or of `embed.encoders`, or its name.

    `embed.checkpoints` names local files of weights; `embed.weights` may be "random", for trying,
    where there is no file.
    """
    section, trained = suite.params["embed"], suite.network_path(space, dataset)
    checkpoint = trained if trained.exists() else section.get("checkpoints", {}).get(space)
    return {
        "name": encoder_name(suite, space),
        "checkpoint": checkpoint,
        "weights": "pretrained" if checkpoint else section.get("weights", "pretrained"),
    }


def check_imported(suite: Settings, dataset: str, images: ImageDataset) -> None:
    """Raise ValueError where imported rows or labels of the split are not those of the images.

    Spaces count that params.yaml does not name, because they share the labels with the others.
    """
    root, split = suite.data / "embeddings", images.split
    spaces = [path.name for path in sorted((root / dataset).iterdir()) if path.is_dir()]
    imported = [space for space in spaces if is_imported(root, dataset, space, [split])]
    for space in imported:
        rows = load_sidecar(root, dataset, space, split)["rows"]
        if rows != len(images):
            raise ValueError(
                f"{dataset} {split}: {rows} rows of {space} were imported for {len(images)} images "
                f"here; remove {root / dataset / space}, or bring the images that it is of"
            )
    if not imported or images.labels is None:
        return
    try:
        labels = load_labels(suite.data / "labels", dataset, split)
    except FileNotFoundError:
        print(f"{dataset} {split}: imported without labels, so the order of its rows is trusted")
        return
    if not np.array_equal(labels, images.labels):
        raise ValueError(
            f"{dataset} {split}: the imported labels are not those of the images here, so "
            "rows of imported and computed embeddings would be of different images; name the "
            "imported spaces alone, or bring the images that they are of"
        )


def embed_space(suite: Settings, dataset: str, space: str, splits: list[ImageDataset]) -> None:
    """All splits in one space, and the text features of the classes where it has a text encoder."""
    options, resume = options_of(suite, space), suite.resumes
    encoder = replace(load_encoder(**encoder_of(suite, dataset, space)), name=space)
    if encoder.encode_text is not None and splits[0].class_names:
        # ImageNet's 80,000 prompts need the device too, and the images' precision as published.
        rounded = encoder.to(pick_device(options["device"]), DTYPES[options["precision"]])
        save_texts(suite, dataset, rounded, splits[0].class_names, resume)
    existing = "update" if resume else "replace"
    for images in splits:
        extract(images, encoder, suite.data / "embeddings", existing=existing, **options)


def save_texts(suite: Settings, dataset: str, encoder: Encoder, names, resume: bool) -> None:
    """The classes' text features, kept with `resume` where the same settings made them."""
    texts, choice = suite.data / "text", prompts(suite)
    if resume:
        cached_text_features(texts, dataset, encoder, names, choice)
    else:
        features = text_features(encoder, dataset, names, choice)
        save_text_features(texts, dataset, features, encoder, names, choice)


def save_true_labels(suite: Settings, dataset: str, images: ImageDataset) -> None:
    """The labels of the rows that were embedded, and the classes' names; nothing if unknown."""
    if images.labels is None:
        return
    folder, spaces = suite.data / "labels", suite.spaces_of(dataset)
    kept = kept_rows_of(suite.data / "embeddings", dataset, spaces, images.split)
    save_labels(folder, dataset, images.split, images.labels[kept])
    for kind, other in images.attributes.items():
        save_labels(folder, dataset, images.split, other[kept], kind)
    with atomic_write(folder / dataset / "classes.json", "w", encoding="utf-8") as file:
        file.write(json.dumps(images.class_names, ensure_ascii=False, indent=1) + "\n")
