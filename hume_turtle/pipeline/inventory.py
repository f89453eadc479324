"""What a suite has and lacks: embeddings, images, weights. Nothing large is opened or fetched."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from hume_turtle.datasets.downloads import DOWNLOADS, Download, OnDisk, look
from hume_turtle.datasets.registry import BUILDERS, MANUAL, load_dataset, reported_sizes
from hume_turtle.encoders.footprint import cached_weights, footprint, is_trained_here
from hume_turtle.pipeline.embed import encoder_name, options_of
from hume_turtle.pipeline.images import images_folder
from hume_turtle.pipeline.settings import Settings
from hume_turtle.storage.embeddings import embedding_path, load_embedding, load_sidecar

WHOLE, IMPORTED, BEGUN, DAMAGED, MISSING, NONE = "#", "i", "b", "?", ".", "-"
PACKAGES = {"ucf101": "av", "kinetics700": "av", "pcam": "h5py"}  # to read the images
EXTRAS = {"av": "video", "h5py": "pcam", "gdown": "pcam"}  # of this package, that install them


class Space(NamedTuple):
    """A representation space of a suite.

    Attributes:
        encoder: its name; `weights` says in words where its weights are or come from.
        gb: of the download that is left, about.
        fault: what the user has to repair.
    """

    name: str
    encoder: str
    precision: str
    weights: str
    gb: float = 0.0
    fault: str = ""


class Dataset(NamedTuple):
    """A dataset of a suite.

    Attributes:
        rows: images of each split; None where that is not known without opening them.
        marks: of each space, a mark for each split.
        images: what is on disk; None where no stage needs the images.
    """

    name: str
    rows: dict[str, int | None]
    marks: dict[str, str]
    images: OnDisk | None

    def unmade(self, space: str) -> list[str]:
        """The splits that are to be embedded in a space."""
        marks = zip(self.rows, self.marks[space])
        return [split for split, mark in marks if mark in (MISSING, BEGUN)]


def survey_space(suite: Settings, name: str) -> Space:
    """Raises ValueError for an encoder that there is not."""
    section = suite.params["embed"]
    encoder = encoder_name(suite, name)
    precision = options_of(suite, name)["precision"]
    checkpoint = section.get("checkpoints", {}).get(name)
    if checkpoint:
        there = Path(checkpoint).is_file()
        fault = "" if there else f"{name}: no weight file at {checkpoint} (embed.checkpoints)"
        return Space(name, encoder, precision, f"{checkpoint}", 0.0, fault)
    if encoder == "pixels":
        return Space(name, encoder, precision, "none needed")
    if is_trained_here(encoder):
        return Space(name, encoder, precision, "trained here, or imported")
    cost = footprint(encoder)
    if section.get("weights") == "random":
        return Space(name, encoder, precision, "random")
    if cached_weights(encoder):
        return Space(name, encoder, precision, "at hand")
    text = f"download, about {size(cost.gb)} ({cost.library})"
    return Space(name, encoder, precision, text, cost.gb)


def survey_dataset(suite: Settings, name: str) -> Dataset:
    """What there is of a dataset."""
    marks = {
        space: "".join(mark_of(suite, name, space, split) for split in suite.splits)
        if space in suite.spaces_of(name)
        else NONE * len(suite.splits)
        for space in suite.space_names
    }
    rows = {split: rows_of(suite, name, split) for split in suite.splits}
    found = Dataset(name, rows, marks, None)
    wanted = any(found.unmade(s) for s in suite.space_names if can_make(suite, name, s))
    return found._replace(images=look(name, images_folder(suite))) if wanted else found


def mark_of(suite: Settings, dataset: str, space: str, split: str) -> str:
    """The state of one embedding, by its sidecar and the file's size."""
    folder = suite.data / "embeddings"
    path = embedding_path(folder, dataset, space, split)
    if not path.exists():
        return BEGUN if (path.with_suffix(".blocks") / "identity.json").exists() else MISSING
    try:
        load_embedding(folder, dataset, space, split, mmap=True)
        sidecar = load_sidecar(folder, dataset, space, split)
    except (ValueError, OSError):
        return DAMAGED
    return IMPORTED if "source" in sidecar.get("settings", {}) else WHOLE


def rows_of(suite: Settings, dataset: str, split: str) -> int | None:
    """Images of a split: as reported, else as embedded, else as in the folder of images."""
    reported = reported_sizes().get(dataset.removesuffix("-20"))
    if reported:
        return reported[split]
    for space in suite.spaces_of(dataset):
        if (rows := embedded_rows(suite, dataset, space, split)) is not None:
            return rows
    try:  # the digits, or a folder of images, whose files are listed
        return len(load_dataset(dataset, split, images_folder(suite)))
    except (ValueError, OSError):
        return None


def embedded_rows(suite: Settings, dataset: str, space: str, split: str) -> int | None:
    """Images that an embedding was made of, those that could not be read among them."""
    try:
        sidecar = load_sidecar(suite.data / "embeddings", dataset, space, split)
    except (ValueError, OSError):
        return None
    return sidecar["rows"] + len(sidecar["skipped"])


def other_counts(suite: Settings, dataset: Dataset) -> list[str]:
    """Embeddings of another number of images than reported, one sentence each."""
    found = []
    for space in suite.spaces_of(dataset.name):
        for split, expected in dataset.rows.items():
            rows = embedded_rows(suite, dataset.name, space, split)
            if rows is not None and rows != expected:
                found.append(f"{dataset.name} {split}, {space}: {rows} images, not {expected}")
    return found


def is_pretrained(suite: Settings, dataset: str, space: str) -> bool:
    """Whether the stage `pretrain` trains the network of a space, or has trained it."""
    if suite.network_path(space, dataset).exists():
        return True
    section = suite.params["pretrain"]
    return space in section and (
        space == "letters" or dataset in section.get("datasets", suite.datasets)
    )


def can_make(suite: Settings, dataset: str, space: str) -> bool:
    """Whether the suite can embed a dataset in a space; else it must be imported."""
    given = space in suite.params["embed"].get("checkpoints", {})
    published = not is_trained_here(encoder_name(suite, space))
    return given or published or is_pretrained(suite, dataset, space)


def faults(suite: Settings, spaces: list[Space], datasets: list[Dataset]) -> list[str]:
    """What nobody but the user can supply, one line each, but for the disk's space."""
    used = {s for d in datasets for s in suite.spaces_of(d.name) if d.unmade(s)}
    lines = [space.fault for space in spaces if space.fault and space.name in used]
    download = suite.params.get("images", {}).get("download", False)
    for each in datasets:
        folder = suite.data / "embeddings" / each.name
        for space, mark in each.marks.items():
            if DAMAGED in mark:
                lines.append(f"{each.name}: {folder / space} is damaged; remove it or import again")
            elif IMPORTED in mark and each.unmade(space):
                lines.append(f"{each.name}: of {space} only one split was imported: import both")
            elif each.unmade(space) and not can_make(suite, each.name, space):
                lines.append(
                    f"{each.name}: {space} is not trained here: "
                    f"hume-turtle import hume-embeddings <archive.zip> --output {suite.data}"
                )
        if each.images and each.images.state != "there":
            lines += fault_of_images(each, download)
        lines += faults_of_packages(each, download)
    return list(dict.fromkeys(lines))


def fault_of_images(dataset: Dataset, download: bool) -> list[str]:
    """What the user has to do about images that are not there; nothing where the suite does it."""
    state, fault = dataset.images
    if dataset.name in MANUAL:
        return [f"{dataset.name}: {fault}; see above for how"]
    if dataset.name not in BUILDERS:
        return [f"{dataset.name}: {fault}; put its images there"]
    if state == "incomplete":
        return [f"{dataset.name}: {fault}; remove its folder, so that it is downloaded again"]
    return [] if download else [f"{dataset.name}: {fault}; images.download: true fetches it"]


def faults_of_packages(dataset: Dataset, download: bool) -> list[str]:
    """Optional packages that are needed for the images and not installed."""
    if dataset.images is None or dataset.name not in PACKAGES:
        return []
    needed = [PACKAGES[dataset.name]]
    if dataset.name == "pcam" and download and dataset.images.state != "there":
        needed.append("gdown")
    return [
        f'{dataset.name}: package {name} is missing: pip install "hume-turtle[{EXTRAS[name]}]"'
        for name in needed
        if find_spec(name) is None
    ]


def download_of(dataset: Dataset) -> Download | None:
    """What is to be fetched of a dataset, by the suite or by hand."""
    if dataset.images is None or dataset.images.state == "there":
        return None
    return DOWNLOADS.get(dataset.name, Download(None))


def size(gb: float) -> str:
    """A size for people."""
    if gb < 0.095:
        return f"{max(1000 * gb, 1):.0f} MB"
    return f"{gb:.1f} GB" if gb < 9.95 else f"{gb:.0f} GB"
