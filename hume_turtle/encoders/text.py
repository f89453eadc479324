"""Zero-shot transfer: classes described in words, images named by CLIP with no training at all.

A class's embedding is the mean of the unit-length embeddings of its prompts, brought to unit
length again; an image goes to the class of the largest cosine (CLIP, Section 3.1).

Class names and templates are those that CLIP's authors published: for ImageNet open_clip's copy,
for every other dataset a file in `prompts/`, which states its source and what differs in it.
A file's classes stand in the order of our labels, each with the dataset's own name for it (`key`)
beside the names that the prompts use (`names`), so that prompts are matched to labels by name.

    <root>/<dataset>/<space>/text.npy     (C, d) float32, unit length
    <root>/<dataset>/<space>/text.json    encoder, settings, hash of what was encoded, checksum
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import numpy as np

from hume_turtle.encoders.encoder import Encoder
from hume_turtle.storage.embeddings import (
    embedding_path,
    load_embedding,
    load_sidecar,
    save_embedding,
)

PLAIN_PROMPT = "a photo of a {}."  # for classes without published prompts (CLIP, Section 3.1.4)
LOGIT_SCALE = 100.0  # CLIP's temperature 1/100: its training stopped there (CLIP, Section 2.5)
LIBRARIES = ("numpy", "open_clip_torch", "torch")  # whose versions can change a text embedding
SPLIT = "text"  # the place of a split in the cache
BLOCK = 2**22  # numbers held at a time, 16 MB in float32
PROMPTS = files("hume_turtle.encoders") / "prompts"


@dataclass(frozen=True)
class Prompts:
    """What CLIP is told about a dataset.

    Attributes:
        source: where the names and templates were published.
        note: what differs from there, and what the keys are.
        templates: texts with one `{}`, the place of a class's name.
        keys: the dataset's own names of its classes, in the order of the labels.
        names: for each class one or several names, as the prompts have them.
        aliases: for each class other names that the dataset's loader may give it.
    """

    source: str
    note: str
    templates: tuple[str, ...]
    keys: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    aliases: tuple[tuple[str, ...], ...]

    def of_class(self, label: int) -> list[str]:
        """Every name of a class in every template."""
        return [text.format(name) for text in self.templates for name in self.names[label]]


def prompt_datasets() -> tuple[str, ...]:
    """The datasets that have prompts."""
    stored = (Path(entry.name) for entry in PROMPTS.iterdir())
    return tuple(sorted({"imagenet", *(path.stem for path in stored if path.suffix == ".json")}))


@cache
def load_prompts(dataset: str) -> Prompts:
    """The prompts of a dataset. Raises ValueError where it has none."""
    if dataset not in prompt_datasets():
        raise ValueError(f"no prompts for {dataset!r}; there are {', '.join(prompt_datasets())}")
    if dataset == "imagenet":
        return imagenet_prompts()
    content = json.loads((PROMPTS / f"{dataset}.json").read_text(encoding="utf-8"))
    classes = content["classes"]
    return Prompts(
        content["source"],
        content["note"],
        tuple(content["templates"]),
        tuple(entry["key"] for entry in classes),
        tuple(tuple(entry["names"]) for entry in classes),
        tuple(tuple(entry.get("aliases", ())) for entry in classes),
    )


def imagenet_prompts() -> Prompts:
    """open_clip's copy of the list, keyed by timm's list of WordNet numbers in sorted order."""
    from open_clip import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return Prompts(
        "https://github.com/openai/CLIP/blob/main/notebooks/Prompt_Engineering_for_ImageNet.ipynb, "
        "in open_clip",
        "Keys are WordNet numbers, aliases their synonyms. Two names stand for two classes each: "
        "missile and sunglasses.",
        tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES),
        tuple(info.label_names()),
        tuple((name,) for name in IMAGENET_CLASSNAMES),
        tuple((synonyms,) for synonyms in info.label_descriptions(detailed=False)),
    )


def class_prompts(dataset: str) -> list[list[str]]:
    """For each class, in the order of the labels, its prompts: every name in every template."""
    prompts = load_prompts(dataset)
    return [prompts.of_class(label) for label in range(len(prompts.keys))]


def prompts_for(dataset: str, class_names: Sequence[str]) -> list[list[str]]:
    """The prompts of classes in the order of `class_names`, found by name.

    class_names: as the dataset's loader gives them: keys, aliases or the prompts' own names,
        compared without case, spaces and punctuation. Some of the classes may be missing. Those of
        a dataset without published prompts get CLIP's plain one.
    Raises ValueError for names that belong to no class, and for two of the same class.
    """
    if dataset not in prompt_datasets():
        return [[PLAIN_PROMPT.format(name.replace("_", " "))] for name in class_names]
    prompts = load_prompts(dataset)
    known = classes_by_name(prompts)
    # ImageNet has two classes of the synonyms "crane": names shared so are told apart by order.
    count = Counter(map(plain, class_names))
    free = {name: iter(known[name]) for name in count if len(known.get(name, ())) == count[name]}
    labels = [next(free.get(plain(name), iter(())), None) for name in class_names]
    strange = [name for name, label in zip(class_names, labels) if label is None]
    if strange:
        raise ValueError(
            f"{len(strange)} of {len(class_names)} class names of {dataset!r} belong to none or to "
            f"several of its {len(prompts.keys)} classes: {', '.join(map(repr, strange[:20]))}"
        )
    twice = [prompts.keys[label] for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise ValueError(f"several class names of {dataset!r} mean the same: {', '.join(twice)}")
    return [prompts.of_class(label) for label in labels]


def classes_by_name(prompts: Prompts) -> dict[str, list[int]]:
    """Labels by plain name: of a key if it is one, else of an alias, else of the prompts' names."""
    known: dict[str, list[int]] = {}
    for layer in ([(key,) for key in prompts.keys], prompts.aliases, prompts.names):
        found: dict[str, list[int]] = {}
        for label, names in enumerate(layer):
            for name in {plain(name) for name in names}:
                found.setdefault(name, []).append(label)
        known = {**found, **known}
    return known


def plain(name: str) -> str:
    """A name without case, spaces, underscores and punctuation."""
    return re.sub(r"[\W_]+", "", name.casefold())


def text_features(
    encoder: Encoder, dataset: str, class_names: Sequence[str], batch_size: int = 256
) -> np.ndarray:
    """The classes' embeddings, (C, d) float32 of unit length, in the order of `class_names`.

    Raises ValueError for an encoder without a text encoder, a batch size below 1, names that do
    not match the dataset's, and texts whose embedding is zero or not finite.
    """
    if getattr(encoder, "encode_text", None) is None:
        raise ValueError(f"encoder {encoder.name!r} has no text encoder: zero-shot needs CLIP")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    prompts = prompts_for(dataset, class_names)
    texts = [text for group in prompts for text in group]
    owner = np.repeat(np.arange(len(prompts)), [len(group) for group in prompts])
    sums = None  # (C, d)
    for start in range(0, len(texts), batch_size):
        rows = slice(start, start + batch_size)
        batch = encoder.encode_text(texts[rows]).detach().cpu().numpy().astype(np.float64)
        sums = np.zeros((len(prompts), batch.shape[1])) if sums is None else sums
        np.add.at(sums, owner[rows], unit_rows(batch))
    return unit_rows(sums).astype(np.float32)  # the mean's length does not matter


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows (n, d) of unit length. Raises ValueError for zeros, NaN and infinite values."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)  # (n, 1)
    if not (np.isfinite(norms) & (norms > 0)).all():
        raise ValueError("an embedding is zero, NaN or infinite: it has no direction")
    return rows / norms


def fingerprint(prompts: list[list[str]], settings: dict) -> str:
    """SHA-256 of what text embeddings follow from: the prompts and the encoder's settings."""
    content = json.dumps([prompts, settings], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def save_text_features(
    root: str | Path,
    dataset: str,
    features: np.ndarray,
    encoder: Encoder,
    class_names: Sequence[str],
) -> Path:
    """Write (C, d) text embeddings and their sidecar, whole or not at all; the .npy's path."""
    if features.ndim != 2 or len(features) != len(class_names):
        raise ValueError(f"features of {len(class_names)} classes, got shape {features.shape}")
    published = dataset in prompt_datasets()
    return save_embedding(
        root,
        dataset,
        SPLIT,
        features,
        encoder,
        classes=list(class_names),
        source=load_prompts(dataset).source if published else "CLIP, Section 3.1.4",
        fingerprint=fingerprint(prompts_for(dataset, class_names), encoder.settings),
        versions={library: version(library) for library in LIBRARIES},
    )


def load_text_features(
    root: str | Path,
    dataset: str,
    space: str,
    class_names: Sequence[str],
    settings: dict | None = None,
) -> np.ndarray:
    """The saved text embeddings, (C, d) float32, of these classes in this order.

    settings: the encoder's, to be sure that it made them; None trusts the file's own.
    Raises FileNotFoundError where a file is missing; ValueError where other prompts or settings
    made it, and where it is not the file that its sidecar describes.
    """
    prompts = prompts_for(dataset, class_names)
    sidecar = load_sidecar(root, dataset, space, SPLIT)
    settings = sidecar.get("settings") if settings is None else settings
    if sidecar.get("fingerprint") != fingerprint(prompts, settings):
        path = embedding_path(root, dataset, space, SPLIT)
        raise ValueError(f"{path} is stale: its prompts or its encoder's settings were others")
    return load_embedding(root, dataset, space, SPLIT, verify=True)


def cached_text_features(
    root: str | Path,
    dataset: str,
    encoder: Encoder,
    class_names: Sequence[str],
    batch_size: int = 256,
) -> np.ndarray:
    """The text embeddings from the cache; where they are not there or stale, made and saved."""
    try:
        return load_text_features(root, dataset, encoder.name, class_names, encoder.settings)
    except (FileNotFoundError, ValueError):  # bad class names are raised again by the next line
        features = text_features(encoder, dataset, class_names, batch_size)
    save_text_features(root, dataset, features, encoder, class_names)
    return features


class ZeroShot:
    """The class whose text embedding has the largest cosine with an image's embedding.

    text_features: (C, d), as `text_features` makes them. Images are embedded by the same CLIP
    model; a common factor of their space, as the cache applies one, changes nothing.
    """

    def __init__(self, text_features: np.ndarray) -> None:
        if text_features.ndim != 2 or len(text_features) == 0:
            raise ValueError(f"text features are (C, d), got shape {text_features.shape}")
        self.text_features = unit_rows(np.asarray(text_features, np.float32))

    def predict(self, features) -> np.ndarray:
        """Labels (n,) int64 of image embeddings (n, d); of equal cosines the first class.

        features: an array, or a list of one, as the other models take spaces.
        """
        (features,) = features if isinstance(features, (list, tuple)) else (features,)
        labels = np.empty(len(features), np.int64)
        for rows, cosines in self._cosines(features):
            labels[rows] = cosines.argmax(axis=1)
        return labels

    def predict_proba(self, features: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Probabilities (n, C) float32: softmax of the cosines times CLIP's logit scale, 100.

        out: where to write them, such as a memory map where n × C is too much to hold.
        """
        shape = (len(features), len(self.text_features))
        out = np.empty(shape, np.float32) if out is None else out
        if out.shape != shape:
            raise ValueError(f"out has shape {out.shape}, the probabilities are {shape}")
        for rows, cosines in self._cosines(features):
            logits = LOGIT_SCALE * (cosines - cosines.max(axis=1, keepdims=True))
            np.exp(logits, out=logits)
            out[rows] = logits / logits.sum(axis=1, keepdims=True)
        return out

    def _cosines(self, features: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Blocks of rows and their cosines (rows, C), so that memory does not grow with n."""
        n_classes, dim = self.text_features.shape
        if features.ndim != 2 or features.shape[1] != dim:
            raise ValueError(f"image features are (n, {dim}), got shape {features.shape}")
        size = max(1, BLOCK // max(n_classes, dim))
        for start in range(0, len(features), size):
            rows = slice(start, min(start + size, len(features)))
            block = unit_rows(np.asarray(features[rows], np.float32))
            yield rows, block @ self.text_features.T
