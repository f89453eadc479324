"""The command `assign`, and what `cluster` shares with it: photographs, spaces, rows' classes.

Like `embed`, both set up their process before they import what is heavy.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b, file_digest
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

import numpy as np

from hume_turtle.commands.arrays import open_spaces
from hume_turtle.datasets.folder import IMAGE_SUFFIXES, images_below
from hume_turtle.datasets.images import FileImages, ImageDataset
from hume_turtle.progress import progress
from hume_turtle.runtime import keep_freed_memory
from hume_turtle.storage.files import file_sha256, new_files, refuse_existing

DATASET = "photographs", "all"  # dataset and split in the cache of embeddings
SMALLER = "dinov2-vit-s-14"  # an encoder to be hinted at
STATED = ("encoder", "settings", "weights_sha256", "dimensions", "versions")  # by model.json
DRAFT = 32  # pixels that a JPEG is decoded to when it is only checked
MEGABITS = 100  # per second, of an ordinary connection


def assign(options: argparse.Namespace) -> None:
    """Label new rows by the model that `cluster` wrote, and write a table."""
    set_up_process()

    from hume_turtle.estimators.turtle import Turtle

    output, made = Path(options.output).absolute(), described(Path(options.groups))
    refuse_existing(output.parent, [output.name], options.overwrite)
    names = class_names(options.names) if options.names else None
    model = Turtle.load(Path(options.groups, "model.npz"), device=options.device)
    folder = photographs_folder(options.inputs)
    if folder is None and options.checkpoint:
        raise ValueError("--checkpoint goes with a folder of photographs")
    found = folder and photographs(folder, options.unreadable)
    sources = folder and recorded_sources(made, options.checkpoint, options.groups)
    with new_files(output.parent, [output.name], options.overwrite) as new:
        if folder is None:
            spaces, rows = open_spaces(options.inputs, constant=True)
        else:
            embed(found.paths, sources, new / "embeddings", options.device, made["spaces"])
            spaces, rows = embedded(new / "embeddings", [s.name for s in sources]), found.names
        check_widths(options.inputs if folder is None else None, spaces, made, options.groups)
        columns = answers(model, spaces).columns(rows)
        if names is not None:
            named = [names.get(c, "") for c in columns["class"]]
            columns = dict([*columns.items()][:2]) | {"name": named} | columns
        write_table(new / output.name, columns)
    if found and found.skipped:
        print(f"{len(found.skipped)} images cannot be read, {shown(found.skipped[0][0])} first")
    print(f"{shown(options.output)}: {len(columns['class'])} rows labelled")


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
        return {**made, "spaces": [dict(space) for space in made["spaces"]]}
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{shown(path)} is damaged: run `cluster` again") from None


def check_widths(
    paths: list[str] | None, spaces: list[np.ndarray], made: dict, groups: str
) -> None:
    """Raise ValueError unless the spaces have the widths of the fit; paths: of their files."""
    wanted = [space["dimensions"] for space in made["spaces"]]
    if len(spaces) != len(wanted):
        raise ValueError(
            f"{len(spaces)} spaces given, but {shown(groups)} was made of {len(wanted)}"
        )
    for k, (space, width) in enumerate(zip(spaces, wanted)):
        if space.shape[1] != width:
            where = f"{paths[k]} has" if paths else f"space {k} has"
            raise ValueError(f"{where} {space.shape[1]} dimensions, but the fit had {width} there")


def class_names(path: str) -> dict[int, str]:
    """What classes are called, from a table with the columns class and name."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}")
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        table = csv.DictReader(file)
        if not {"class", "name"} <= {*(table.fieldnames or ())}:
            raise ValueError(f"--names {path} must have the columns class and name")
        names: dict[int, str] = {}
        for line in table:
            if not (line["class"] or "").isdecimal():
                raise ValueError(f"--names {path}: {line['class']!r} is no class")
            names.setdefault(int(line["class"]), line["name"] or "")
    return names


# Photographs


class Photographs(NamedTuple):
    """The images below a folder that can be read, n of those listed.

    Attributes:
        names: (n,) relative to the folder.
        paths: (n,) of the files.
        digests: (n,) of their content.
        kept: (n,) which of those listed they are.
        listed: how many there are with those that cannot be read.
        skipped: name and error of these.
    """

    names: list[str]
    paths: list[str]
    digests: list[bytes]
    kept: np.ndarray
    listed: int
    skipped: list[tuple[str, str]]


def photographs_folder(inputs: Sequence[str]) -> Path | None:
    """The folder that is given; None for files. Raises ValueError for a mixture."""
    folders = [path for path in inputs if Path(path).is_dir()]
    if folders and len(inputs) == 1:
        return Path(folders[0])
    if folders:
        raise ValueError(
            f"{shown(folders[0])} is a folder: give one folder of photographs and nothing else, or "
            "files of embeddings"
        )
    for path in inputs:
        if not Path(path).exists() and not Path(path).suffix:
            raise FileNotFoundError(f"no file or folder {shown(path)}")
        if path.lower().endswith(IMAGE_SUFFIXES):
            raise ValueError(f"{shown(path)} is one image: give the folder of all of them")
    return None


def photographs(folder: Path, unreadable: str, output: Path | None = None) -> Photographs:
    """The images below a folder, each opened once, so that damage is known before the work.

    unreadable: "stop" with an error, or "skip" those that cannot be read.
    output: a folder whose images are results, not photographs.
    """
    paths = images_below(folder, apart_from=output)
    if not paths:
        suffixes = " ".join(IMAGE_SUFFIXES)
        raise FileNotFoundError(f"{shown(folder)}: no images (suffixes read: {suffixes})")
    checked = check_images(paths)
    bad = [i for i, (error, _) in enumerate(checked) if error]
    kept = [i for i, (error, _) in enumerate(checked) if not error]
    if bad and (unreadable == "stop" or not kept):
        what = "it" if len(bad) == 1 else f"all {len(bad)} images that cannot be read"
        raise ValueError(
            f"cannot read {shown(paths[bad[0]])} ({shown(checked[bad[0]][0])}): remove {what}, or "
            "pass --unreadable skip"
        )
    names = [os.path.relpath(path, folder) for path in paths]
    return Photographs(
        names=[names[i] for i in kept],
        paths=[paths[i] for i in kept],
        digests=[checked[i][1] for i in kept],
        kept=np.array(kept),
        listed=len(paths),
        skipped=[(names[i], checked[i][0]) for i in bad],
    )


def check_images(paths: Sequence[str]) -> list[tuple[str, bytes]]:
    """For each file what is wrong with it, or nothing, and a digest of its content."""
    pool = ThreadPoolExecutor(min(16, os.cpu_count() or 1))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd files that can be read
            checked = pool.map(check_image, paths)
            return list(progress(checked, len(paths), "checking images", unit="img"))
    finally:
        pool.shutdown(cancel_futures=True)


def check_image(path: str) -> tuple[str, bytes]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.draft("L", (DRAFT, DRAFT))  # a JPEG is decoded small, which is faster
            image.load()
            if image.mode not in ("L", "RGB"):
                image.convert("RGB")
        with open(path, "rb") as file:
            return "", file_digest(file, lambda: blake2b(digest_size=16)).digest()
    except (MemoryError, ImportError):  # the machine's fault, not the image's
        raise
    except Exception as error:  # decoders raise nearly anything on corrupt files
        fault = str(error).partition(" '")[0] or "damaged"  # without the file's name
        return " ".join(f"{type(error).__name__}: {fault}".split()), b""


def shown(text: str | Path) -> str:
    """A file's name as any terminal can print it, in one line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


# Encoders, and the spaces that they make


class Source(NamedTuple):
    """An encoder's name, and where its weights come from."""

    name: str
    checkpoint: str | None = None
    weights: str = "pretrained"  # or random


def sources_of(names: list[str], checkpoints: list[str] | None, weights: str) -> list[Source]:
    """The encoders to embed with, checkpoints in their order. Raises what `check_encoder` does."""
    from hume_turtle.encoders.registry import check_encoder

    checkpoints = checkpoints or []
    if len(checkpoints) > len(names):
        raise ValueError(f"{len(checkpoints)} checkpoints for {len(names)} encoders")
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise ValueError(f"--encoder {twice[0]} is given twice: give each encoder once")
    files = [*checkpoints, *[None] * (len(names) - len(checkpoints))]
    sources = [Source(name, file, weights) for name, file in zip(names, files)]
    for source in sources:
        check_encoder(source.name, checkpoint=source.checkpoint, weights=weights)
    return sources


def recorded_sources(made: dict, checkpoints: list[str] | None, groups: str) -> list[Source]:
    """The encoders that model.json names, with the files given or those recorded.

    Raises ValueError where there are none and for another checkpoint; FileNotFoundError for one
    that is not where it was.
    """
    spaces, given = made["spaces"], checkpoints or []
    if "encoder" not in spaces[0]:
        raise ValueError(f"{shown(groups)} was made of files of embeddings: give files, no folder")
    if len(given) > len(spaces):
        raise ValueError(f"{len(given)} checkpoints for {len(spaces)} encoders")
    sources = []
    for space, file in zip(spaces, [*given, *[None] * (len(spaces) - len(given))]):
        path = file or space["checkpoint"]
        if path and not Path(path).is_file():
            advice = "" if file else f": {shown(groups)} was made with it; pass --checkpoint FILE"
            raise FileNotFoundError(f"no weight file at {shown(path)}{advice}")
        known = space["settings"].get("sha256")
        if path and known and file_sha256(Path(path)) != known:
            raise ValueError(
                f"{shown(path)} is not the checkpoint that {shown(groups)} was made with: its "
                f"SHA-256 is not {known[:8]}..."
            )
        random = space["settings"].get("weights") == "random" and not file
        sources.append(Source(space["encoder"], path, "random" if random else "pretrained"))
    return sources


def embed(
    paths: list[str],
    sources: list[Source],
    root: Path,
    device: str,
    wanted: Sequence[Mapping] | None = None,
    existing: str = "resume",
) -> list[dict[str, Any]]:
    """Embed photographs by each encoder into the cache at `root`; what made each space.

    What is there already is not made again; existing: as of `extract`. wanted: what made the
    spaces of a fit. Raises ValueError where the weights are others, before embedding.
    """
    from hume_turtle.extraction.extract import extract
    from hume_turtle.extraction.identity import weights_sha256
    from hume_turtle.storage.embeddings import embedding_path, load_sidecar

    images, made = ImageDataset(*DATASET, FileImages(paths), None, ()), []
    for k, source in enumerate(sources):
        if not embedding_path(root, DATASET[0], source.name, DATASET[1]).exists():
            announce(source, len(images), device)
        encoder = load(source)
        if wanted and weights_sha256(encoder.network) != wanted[k]["weights_sha256"]:
            raise ValueError(f"the weights of {source.name} are not those of the fit")
        extract(images, encoder, root, device=device, existing=existing)
        sidecar = load_sidecar(root, DATASET[0], encoder.name, DATASET[1])
        checkpoint = source.checkpoint and os.path.abspath(source.checkpoint)
        made.append({key: sidecar[key] for key in STATED} | {"checkpoint": checkpoint})
    return made


def embedded(root: Path, names: list[str]) -> list[np.ndarray]:
    """The spaces (n, d_k) of encoders, as memory maps, unscaled."""
    from hume_turtle.storage.embeddings import load_spaces

    return load_spaces(root, DATASET[0], names, DATASET[1], scale="none")


def announce(source: Source, count: int, device: str) -> None:
    """Say what is to be downloaded, and about how long it takes to embed `count` images."""
    from hume_turtle.encoders.footprint import cached_weights, footprint
    from hume_turtle.encoders.registry import BUILDERS
    from hume_turtle.pipeline.estimate import measure

    if source.name in BUILDERS:
        return
    cost = footprint(source.name)
    if is_fetched(source) and cached_weights(source.name) is None:
        small, minutes = footprint(SMALLER).gb, 8000 * cost.gb / MEGABITS / 60
        hint = f"; {SMALLER} has {small:.2f} GB" if small < cost.gb / 2 else ""
        size = f"{cost.gb:.2f} GB, {about(minutes)} at {MEGABITS} Mbit/s{hint}"
        print(f"{source.name}: downloading {size}", flush=True)
    minutes = measure(device, set(), 0.1).embedding_seconds(count, cost.flops, "fp32") / 60
    print(f"{source.name}: embedding {count} images, {about(minutes)}", flush=True)


def about(minutes: float) -> str:
    """A duration, roughly."""
    if minutes < 1:
        return "less than a minute"
    return f"about {minutes:.0f} minutes" if minutes < 90 else f"about {minutes / 60:.0f} hours"


def is_fetched(source: Source) -> bool:
    """Whether the encoder's weights come from the web, or from an earlier download."""
    from hume_turtle.encoders.registry import BUILDERS

    own = source.checkpoint is not None or source.weights == "random"
    return not own and source.name not in BUILDERS


def load(source: Source):
    """The encoder. Raises FileNotFoundError, with what to fetch, where there are no weights."""
    from hume_turtle.encoders.footprint import cached_weights
    from hume_turtle.encoders.registry import load_encoder

    if not is_fetched(source):
        return load_encoder(source.name, checkpoint=source.checkpoint, weights=source.weights)
    fault = cached_weights(source.name) is None and unreachable(source.name)
    if not fault:
        try:
            return load_encoder(source.name)
        except FileNotFoundError as error:
            fault = shorten(str(error).partition(" With the file")[0], 300)
    raise FileNotFoundError(
        f"cannot fetch the weights of {source.name} ({fault}): fetch {address(source.name)} where "
        "there is a network and pass the file by --checkpoint, or try without by --weights random"
    )


def unreachable(name: str) -> str:
    """Why the host of an encoder's weights does not answer; empty if it does.

    The libraries would try for a minute and print a line for every attempt.
    """
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    try:
        urlopen(Request(address(name), method="HEAD"), timeout=20).close()
    except HTTPError:  # it answers, and the libraries know how to ask
        return ""
    except (OSError, HTTPException, ValueError) as error:
        return str(getattr(error, "reason", error))
    return ""


def address(name: str) -> str:
    """Where an encoder's weights are on the web."""
    from huggingface_hub.constants import ENDPOINT

    from hume_turtle.encoders import clip
    from hume_turtle.encoders.footprint import clip_address, timm_address
    from hume_turtle.encoders.registry import library_of

    stated = clip_address(name) if library_of(name) is clip else timm_address(name)
    repository, files, url = stated
    return f"{ENDPOINT}/{repository}/resolve/main/{files[0]}" if repository else url


# What a model says of each row


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
    """Write a .csv file; names of files keep every byte."""
    text = [value for values in columns.values() for value in values if isinstance(value, str)]
    quoting = csv.QUOTE_NONNUMERIC if any("\r" in each for each in text) else csv.QUOTE_MINIMAL
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, quoting=quoting, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values()))
