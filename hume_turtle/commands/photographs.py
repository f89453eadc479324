"""What `cluster` and `assign` share about photographs: their files, and encoders to embed them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b, file_digest
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

import numpy as np

from hume_turtle.datasets.folder import IMAGE_SUFFIXES, READ, images_below
from hume_turtle.datasets.images import FileImages, ImageDataset
from hume_turtle.progress import progress

DATASET = "photographs", "all"  # dataset and split in the cache of embeddings
STATED = ("encoder", "settings", "weights_sha256", "dimensions", "versions")  # by model.json
NOT_READ = (".heic", ".heif", ".avif", ".jxl", ".dng", ".cr2", ".nef", ".arw")  # photographs too
DRAFT = 32  # pixels that a JPEG is decoded to when it is only checked


class Rows(NamedTuple):
    """What is to be labelled: photographs that can be read, or rows of files.

    Attributes:
        names: (n,) of photographs relative to their folder, or as a file has them; or None.
        first: (n,) for each row the first one that is the same.
        paths: (n,) of photographs; None for rows of files.
        kept: (n,) which of the listed photographs they are.
        skipped: name and error of those that cannot be read.
        other: names of photographs in formats that are not read.
    """

    names: list[str] | None
    first: np.ndarray
    paths: list[str] | None
    kept: list[int]
    skipped: list[tuple[str, str]]
    other: Sequence[str] = ()

    @property
    def n(self) -> int:
        return len(self.first)

    @property
    def different(self) -> int:
        return len(np.unique(self.first))

    @property
    def kind(self) -> str:
        return "rows" if self.paths is None else "images"


def photographs_folder(inputs: Sequence[str]) -> Path | None:
    """The folder that is given; None for files. Raises ValueError for a mixture."""
    for path in inputs:
        if Path(path).is_dir() and len(inputs) > 1:
            raise ValueError(
                f"{shown(path)} is a folder: give one folder of photographs and nothing else, or "
                "files of embeddings"
            )
        if not Path(path).exists() and not Path(path).suffix:
            raise FileNotFoundError(f"no file or folder {shown(path)}")
        if path.lower().endswith(IMAGE_SUFFIXES) and not Path(path).is_dir():
            raise ValueError(f"{shown(path)} is one image: give the folder of all of them")
    return Path(inputs[0]) if Path(inputs[0]).is_dir() else None


def photographs(folder: Path, unreadable: str) -> Rows:
    """The images below a folder, each opened once, so that damage is known before the work.

    unreadable: "stop" with an error, or "skip" those that cannot be read.
    """
    found = images_below(folder, IMAGE_SUFFIXES + NOT_READ)
    paths = [path for path in found if path.lower().endswith(IMAGE_SUFFIXES)]
    if not paths:
        raise FileNotFoundError(f"{shown(folder)}: no images{READ}")
    errors, digests = zip(*check_images(paths))
    kept = [i for i, error in enumerate(errors) if not error]
    bad = [i for i, error in enumerate(errors) if error]
    if bad and (unreadable == "stop" or not kept):
        what = "it" if len(bad) == 1 else f"all {len(bad)} images that cannot be read"
        raise ValueError(
            f"cannot read {shown(paths[bad[0]])} ({shown(errors[bad[0]])}): remove {what}, or pass "
            "--unreadable skip"
        )
    names = [os.path.relpath(path, folder) for path in paths]
    return Rows(
        names=[names[i] for i in kept],
        first=first_of_equal([digests[i] for i in kept]),
        paths=[paths[i] for i in kept],
        kept=kept,
        skipped=[(names[i], errors[i]) for i in bad],
        other=[os.path.relpath(path, folder) for path in found if path.lower().endswith(NOT_READ)],
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
        with open(path, "rb") as file:
            return "", file_digest(file, lambda: blake2b(digest_size=16)).digest()
    except (MemoryError, ImportError):  # the machine's fault, not the image's
        raise
    except Exception as error:  # decoders raise nearly anything on corrupt files
        fault = str(error).partition(" '")[0] or "damaged"  # without the file's name
        return " ".join(f"{type(error).__name__}: {fault}".split()), b""


def first_of_equal(keys: Sequence[bytes]) -> np.ndarray:
    """For each row the first one with the same key, (n,)."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(key, i) for i, key in enumerate(keys)])


def shown(text: str | Path) -> str:
    """A file's name as any terminal can print it, in one line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def counted(count: int, what: str) -> str:
    """A number and what it counts: 1 image, 2 images."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def left_out(rows: Rows) -> list[str]:
    """Sentences about photographs that are in no class."""
    lines = []
    if rows.skipped:
        first = shown(rows.skipped[0][0])
        lines.append(f"{counted(len(rows.skipped), 'image')} cannot be read ({first} first).")
    if rows.other:
        kinds = " ".join(sorted({Path(name).suffix.lower() for name in rows.other}))
        first = shown(rows.other[0])
        lines.append(f"Left out: {len(rows.other)} of kinds not read, {kinds} ({first} first).")
    return lines


# Encoders, and the spaces that they make


class Source(NamedTuple):
    """An encoder's name, and where its weights come from."""

    name: str
    checkpoint: str | None
    weights: str  # pretrained or random


def sources_of(names: list[str], checkpoints: Sequence, weights: str) -> list[Source]:
    """The encoders to embed with, checkpoints in their order. Raises what `check_encoder` does."""
    from hume_turtle.encoders.registry import check_encoder

    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise ValueError(f"--encoder {twice[0]} is given twice: give each encoder once")
    if len(checkpoints) > len(names):
        raise ValueError(f"{len(checkpoints)} checkpoints for {len(names)} encoders")
    files = [*checkpoints, *[None] * (len(names) - len(checkpoints))]
    for name, file in zip(names, files):
        check_encoder(name, checkpoint=file, weights=weights)
    return [Source(name, file, weights) for name, file in zip(names, files)]


def recorded_sources(spaces: list[dict], given: Sequence[str], groups: str) -> list[Source]:
    """The encoders that model.json names, with the files given before those recorded.

    Raises ValueError where there are none; FileNotFoundError for a file that is not there.
    """
    if "encoder" not in spaces[0]:
        raise ValueError(f"{shown(groups)} was made of files of embeddings: give files, no folder")
    files = [*given, *[space["checkpoint"] for space in spaces[len(given) :]]]
    random = not given and spaces[0]["settings"].get("weights") == "random"
    names = [space["encoder"] for space in spaces]
    try:
        return sources_of(names, files, "random" if random else "pretrained")
    except FileNotFoundError as error:
        advice = "" if given else f": {shown(groups)} was made with it; pass --checkpoint FILE"
        raise FileNotFoundError(f"{error}{advice}") from None


def embed(
    paths: list[str],
    sources: list[Source],
    root: Path,
    device: str,
    wanted: Sequence[Mapping] | None = None,
    existing: str = "resume",
) -> tuple[list[np.ndarray], list[dict[str, Any]]]:
    """The spaces (n, d_k) of photographs, memory maps of the cache at `root`, and what made each.

    What exists in the cache is not made again; existing: as of `extract`. wanted: what made the
    spaces of a fit. Raises ValueError where the weights are others, before embedding.
    """
    from hume_turtle.extraction.extract import extract
    from hume_turtle.extraction.identity import weights_sha256
    from hume_turtle.storage.embeddings import load_sidecar, load_spaces

    images, made = ImageDataset(*DATASET, FileImages(paths), None, ()), []
    for k, source in enumerate(sources):
        encoder = load(source)
        if wanted and weights_sha256(encoder.network) != wanted[k]["weights_sha256"]:
            raise ValueError(f"the weights of {source.name} are not those of the fit")
        extract(images, encoder, root, device=device, existing=existing)
        sidecar = load_sidecar(root, DATASET[0], encoder.name, DATASET[1])
        checkpoint = source.checkpoint and os.path.abspath(source.checkpoint)
        made.append({key: sidecar[key] for key in STATED} | {"checkpoint": checkpoint})
    names = [source.name for source in sources]
    return load_spaces(root, DATASET[0], names, DATASET[1], scale="none"), made


def load(source: Source):
    """The encoder; what is downloaded is said before.

    Raises FileNotFoundError, with what to fetch, where there are no weights.
    """
    from hume_turtle.encoders.footprint import cached_weights, footprint
    from hume_turtle.encoders.registry import BUILDERS, load_encoder

    name, checkpoint, weights = source
    if checkpoint or weights == "random" or name in BUILDERS:
        return load_encoder(name, checkpoint=checkpoint, weights=weights)
    try:
        if cached_weights(name) is None:
            print(f"{name}: downloading {footprint(name).gb:.2f} GB", flush=True)
            check_reachable(address(name))
        return load_encoder(name)
    except FileNotFoundError as error:
        fault = shorten(str(error).partition(" With the file")[0], 300)
        raise FileNotFoundError(
            f"cannot fetch the weights of {name} ({fault}): fetch {address(name)} where there is a "
            "network and pass the file by --checkpoint, or try without by --weights random"
        ) from error


def check_reachable(url: str) -> None:
    """Raise FileNotFoundError, with the reason, if the host of a file does not answer.

    The libraries would try for a minute and print a line for every attempt.
    """
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    try:
        urlopen(Request(url, method="HEAD"), timeout=20).close()
    except HTTPError:  # it answers, and the libraries know how to ask
        return
    except OSError as error:
        raise FileNotFoundError(str(getattr(error, "reason", error))) from None


def address(name: str) -> str:
    """Where an encoder's weights are on the web."""
    from huggingface_hub.constants import ENDPOINT

    from hume_turtle.encoders import clip
    from hume_turtle.encoders.footprint import clip_address, timm_address
    from hume_turtle.encoders.registry import library_of

    stated = clip_address(name) if library_of(name) is clip else timm_address(name)
    repository, files, url = stated
    return f"{ENDPOINT}/{repository}/resolve/main/{files[0]}" if repository else url
