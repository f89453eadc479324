"""Classes described in words: CLIP's published prompts, and the text features made of them.

A class's embedding is the mean of the unit-length embeddings of its prompts, brought to unit
length again (CLIP, Section 3.1.4). `evaluation.zero_shot` compares images with it.

Class names and templates are those that CLIP's authors published: for ImageNet open_clip's copy,
for every other dataset a file in `prompts/`, which states its source and what differs in it.
A file's classes stand in the order of our labels, each with the dataset's own name for it (`key`)
beside the names that the prompts use (`names`), so that prompts are matched to labels by name.

There are three choices of prompts; a dataset without published ones has `PLAIN_PROMPT` in each:

    published   CLIP's templates of the dataset, 1 to 80 of them, as an ensemble
    turtle      the same, but where a file states those of TURTLE's program: MNIST's template "{}",
                and names "doughnut" and "linear" for 0 and 1
    plain       `PLAIN_PROMPT` alone, with the same names of the classes, as TURTLE's program offers
                it ("default template only"); KITTI's names, whole sentences, are put into it too

Texts are embedded in the precision that the encoder has. A suite gives it that of the images, as
published; the ensemble's mean is taken in float64, where TURTLE's program takes it in fp16.

    <root>/<dataset>/<space>/text.npy     (C, d) float32, unit length
    <root>/<dataset>/<space>/text.json    encoder, settings, hash of what was encoded, checksum
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import normalize

from hume_turtle.checks import check_choice
from hume_turtle.encoders.encoder import Encoder
from hume_turtle.storage.embeddings import load_embedding, load_sidecar, save_embedding

CHOICES = ("published", "turtle", "plain")
PLAIN_PROMPT = "a photo of a {}."  # CLIP, Section 3.1.4
LIBRARIES = ("numpy", "open_clip_torch", "torch")  # whose versions can change a text embedding
SPLIT = "text"  # the place of a split in the cache
PROMPTS = files("hume_turtle.encoders") / "prompts"


class Prompts(NamedTuple):
    """What CLIP is told about a dataset.

    Attributes:
        source: where the names and templates were published.
        templates: texts with one `{}`, the place of a class's name.
        keys: the dataset's own names of its classes, in the order of the labels.
        names: for each class one or several names, as the prompts have them.
        aliases: for each class other names that the dataset's loader may give it.
    """

    source: str
    templates: list[str]
    keys: list[str]
    names: list[list[str]]
    aliases: list[list[str]]

    def of_class(self, label: int) -> list[str]:
        """Every name of a class in every template."""
        return [text.format(name) for text in self.templates for name in self.names[label]]


def prompt_datasets() -> tuple[str, ...]:
    """The datasets that have prompts."""
    stored = (Path(entry.name) for entry in PROMPTS.iterdir())
    return tuple(sorted({"imagenet", *(path.stem for path in stored if path.suffix == ".json")}))


@cache
def load_prompts(dataset: str, choice: str = "published") -> Prompts:
    """The prompts of a dataset. Raises ValueError where it has none, and for an unknown choice."""
    check_choice("prompts", choice, CHOICES)
    if dataset not in prompt_datasets():
        raise ValueError(f"no prompts for {dataset!r}; choose from {', '.join(prompt_datasets())}")
    if choice == "plain":
        return load_prompts(dataset)._replace(templates=[PLAIN_PROMPT])
    if dataset == "imagenet":
        return imagenet_prompts()
    content = json.loads((PROMPTS / f"{dataset}.json").read_text(encoding="utf-8"))
    classes, own = content["classes"], content.get(choice, {})  # another program may have its own
    return Prompts(
        content["source"],
        own.get("templates", content["templates"]),
        keys=[entry["key"] for entry in classes],
        names=own.get("names", [entry["names"] for entry in classes]),
        aliases=[entry.get("aliases", []) for entry in classes],
    )


def imagenet_prompts() -> Prompts:
    """open_clip's copy of the list, keyed by timm's list of WordNet numbers in sorted order.

    Aliases are the numbers' synonyms. Two names stand for two classes each: missile, sunglasses.
    """
    from open_clip import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return Prompts(
        "https://github.com/openai/CLIP/blob/main/notebooks/Prompt_Engineering_for_ImageNet.ipynb, "
        "in open_clip",
        [template("{}") for template in OPENAI_IMAGENET_TEMPLATES],
        keys=info.label_names(),
        names=[[name] for name in IMAGENET_CLASSNAMES],
        aliases=[[synonyms] for synonyms in info.label_descriptions(detailed=False)],
    )


def prompts_for(
    dataset: str, class_names: Sequence[str], choice: str = "published"
) -> list[list[str]]:
    """The prompts of classes in the order of `class_names`, found by name.

    class_names: as the dataset's loader gives them: keys, aliases or the prompts' own names,
        compared without case, spaces and punctuation. Some of the classes may be missing. Those of
        a dataset without published prompts get CLIP's plain one.
    choice: one of `CHOICES`.
    Raises ValueError for names that belong to no class, and for two of the same class.
    """
    check_choice("prompts", choice, CHOICES)
    if dataset not in prompt_datasets():
        return [[PLAIN_PROMPT.format(name.replace("_", " "))] for name in class_names]
    prompts = load_prompts(dataset, choice)
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
    encoder: Encoder, dataset: str, class_names: Sequence[str], choice: str = "published"
) -> np.ndarray:
    """The classes' embeddings, (C, d) float32 of unit length, in the order of `class_names`.

    choice: of prompts, one of `CHOICES`.
    Raises ValueError for an encoder without a text encoder, names that do not match the dataset's,
    and texts whose embedding is zero or not finite.
    """
    if encoder.encode_text is None:
        raise ValueError(f"encoder {encoder.name!r} has no text encoder: zero-shot needs CLIP")
    # open_clip's builder of such classifiers takes the same number of prompts for every class.
    means = [
        normalize(encoder.encode_text(prompts).cpu().double(), dim=1).mean(dim=0)
        for prompts in prompts_for(dataset, class_names, choice)
    ]
    features = normalize(torch.stack(means), dim=1).float().numpy()
    if not np.isfinite(features).all() or not features.any(axis=1).all():
        raise ValueError("a text embedding is zero, NaN or infinite: it has no direction")
    return features


def cached_text_features(
    root: str | Path,
    dataset: str,
    encoder: Encoder,
    class_names: Sequence[str],
    choice: str = "published",
) -> np.ndarray:
    """`text_features` from the cache, computed and saved where they are missing or stale."""
    wanted = (class_names, encoder.settings, choice)
    try:
        return load_text_features(root, dataset, encoder.name, *wanted)
    except (FileNotFoundError, ValueError):  # bad class names are raised again by the next line
        features = text_features(encoder, dataset, class_names, choice)
    save_text_features(root, dataset, features, encoder, class_names, choice)
    return features


def save_text_features(
    root: str | Path,
    dataset: str,
    features: np.ndarray,
    encoder: Encoder,
    class_names: Sequence[str],
    choice: str = "published",
) -> Path:
    """Write (C, d) text features and their sidecar atomically; the .npy's path."""
    published = dataset in prompt_datasets()
    return save_embedding(
        root,
        dataset,
        SPLIT,
        features,
        encoder,
        classes=list(class_names),
        prompts=choice,
        source=load_prompts(dataset).source if published else "CLIP, Section 3.1.4",
        fingerprint=fingerprint(dataset, class_names, encoder.settings, choice),
        versions={library: version(library) for library in LIBRARIES},
    )


def load_text_features(
    root: str | Path,
    dataset: str,
    space: str,
    class_names: Sequence[str],
    settings: dict | None = None,
    choice: str | None = None,
) -> np.ndarray:
    """The saved text embeddings, (C, d) float32, of these classes in this order.

    settings: the encoder's, to be sure that it made them; None trusts the file's own.
    choice: of prompts, likewise.
    Raises FileNotFoundError where a file is missing; ValueError where other prompts or settings
    made it, and where it is not the file that its sidecar describes.
    """
    sidecar = load_sidecar(root, dataset, space, SPLIT)
    settings = sidecar.get("settings") if settings is None else settings
    choice = sidecar.get("prompts", "published") if choice is None else choice
    if sidecar.get("fingerprint") != fingerprint(dataset, class_names, settings, choice):
        raise ValueError(
            f"the text features of {dataset} in {space} under {root} are stale: "
            "they were made of other prompts or with other settings of the encoder"
        )
    return load_embedding(root, dataset, space, SPLIT, verify=True)


def fingerprint(dataset: str, class_names: Sequence[str], settings: dict, choice: str) -> str:
    """SHA-256 of what text features follow from: the prompts and the encoder's settings."""
    prompts = prompts_for(dataset, class_names, choice)
    content = json.dumps([choice, prompts, settings], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
