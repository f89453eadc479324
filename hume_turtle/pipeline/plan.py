"""`hume-turtle plan`: what a suite has, what it lacks, how large that is and how long it takes.

Nothing is fetched, computed or written, and no dataset is opened.
"""

from __future__ import annotations

import math
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill

from hume_turtle.core.precision import pick_device
from hume_turtle.datasets.downloads import DOWNLOADS
from hume_turtle.datasets.registry import MANUAL
from hume_turtle.pipeline.embed import check_settings
from hume_turtle.pipeline.estimate import ASSUMED, Machine, measure
from hume_turtle.pipeline.hours import dimensions, hours_of_stages
from hume_turtle.pipeline.images import images_folder
from hume_turtle.pipeline.inventory import (
    Dataset,
    Space,
    download_of,
    faults,
    other_counts,
    size,
    survey_dataset,
    survey_space,
)
from hume_turtle.pipeline.machine import hardware, processor
from hume_turtle.pipeline.settings import Settings

WIDTH = 100


def plan(suite: Settings, device: str = "auto") -> int:
    """Print the plan of a suite. 0: it can start; 1: something is missing that nobody but the user
    can supply, said in one line each at the end.

    Raises ValueError for bad settings, unknown encoders and devices.
    """
    suite.check()
    check_settings(suite)
    pick_device(device)
    command = f"dvc repro {suite.folder / 'dvc.yaml'}"
    suite = Settings(Path(os.path.normpath(suite.root)), {**suite.params, "root": "."})
    spaces = [survey_space(suite, name) for name in suite.space_names]
    datasets = [survey_dataset(suite, name) for name in suite.datasets]
    print_spaces(suite, spaces, datasets)
    print_datasets(suite, spaces, datasets)
    print_manual(suite, datasets)
    missing = faults(suite, spaces, datasets) + print_disk(suite, spaces, datasets)
    machine = measure(device, {space.precision for space in spaces} | precisions_of_fits(suite))
    print_hours(suite, spaces, datasets, machine)
    if not missing:
        print(f"\nready: {command}")
        return 0
    print("\nnot ready, missing:")
    print(*(wrapped(line, "  ") for line in missing), sep="\n")
    return 1


def precisions_of_fits(suite: Settings) -> set[str]:
    """That a fit may run in."""
    stated = {
        suite.settings(key, dataset).get("precision", "fp32")
        for key in suite.methods
        for dataset in suite.datasets
    }
    return {"fp32"} if stated <= {"fp32"} else {"fp32", "bf16"}


def wrapped(text: str, indent: str = "") -> str:
    """In lines of at most `WIDTH` columns; paths and addresses stay whole."""
    return fill(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def table(rows: list[list[str]]) -> None:
    """Print rows with aligned columns: numbers to the right, all else to the left."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = (
            cell.rjust(width) if cell.replace(",", "").isdigit() else cell.ljust(width)
            for cell, width in zip(row, widths)
        )
        print("  ".join(cells).rstrip())


def print_spaces(suite: Settings, spaces: list[Space], datasets: list[Dataset]) -> None:
    counts = f"{len(datasets)} datasets, {len(spaces)} spaces"
    print(f"Suite {suite.name}: {counts}; data in {suite.data}\n")
    rows = [["", "space", "encoder", "precision", "weights"]]
    for number, space in enumerate(spaces, 1):
        rows.append([str(number), space.name, space.encoder, space.precision, space.weights])
    table(rows)


def print_datasets(suite: Settings, spaces: list[Space], datasets: list[Dataset]) -> None:
    numbers = " ".join(f"{n:<{len(suite.splits)}}" for n in range(1, len(spaces) + 1))
    rows = [["dataset", *suite.splits, numbers, "images"]]
    for each in datasets:
        counts = ["?" if n is None else f"{n:,}" for n in each.rows.values()]
        rows.append([each.name, *counts, " ".join(each.marks.values()), images_in_words(each)])
    print()
    table(rows)
    print(
        wrapped(
            f"Under a space's number: {', then '.join(suite.splits)}; # there, i imported, b begun "
            "(it is resumed), . missing, ? damaged, - not in this suite. Of images folders, key "
            "files, sizes of archives and unfinished downloads were looked at; none was opened or "
            "counted, which embed does."
        )
    )
    for line in (line for each in datasets for line in other_counts(suite, each)):
        print(wrapped(f"Other numbers than the papers': {line}."))


def images_in_words(dataset: Dataset) -> str:
    download = download_of(dataset)
    if dataset.images is None:
        return "not needed"
    if download is None:
        return "there"
    if dataset.images.state == "incomplete":
        return "incomplete, see below"
    if dataset.name in MANUAL:
        return f"by hand, {about(download.gb)}"
    return f"download, {about(download.gb)}" if download.host else "see below"


def about(gb: float | None) -> str:
    return "size unknown" if gb is None else f"about {size(gb)}"


def print_manual(suite: Settings, datasets: list[Dataset]) -> None:
    """From where, how large, to which folder, and what is then checked."""
    root, download = images_folder(suite), suite.params.get("images", {}).get("download", False)
    hosts = defaultdict(list)
    for each in datasets:
        found = download_of(each)
        if found and each.name not in MANUAL and found.host:
            hosts[found.host].append(each.name)
    if hosts:
        print(f"\nDownloaded by the suite to {root}:" if download else "\nCan be downloaded:")
        for host, names in hosts.items():
            print(wrapped(f"{host}: {', '.join(names)}", "  "))
    by_hand = [each for each in datasets if download_of(each) and each.name in MANUAL]
    if by_hand:
        print("\nTo be fetched by hand:")
    for each in by_hand:
        source = MANUAL[each.name]
        large = about(DOWNLOADS[each.name].gb)
        print(wrapped(f"{each.name}, {large}, from {source.source}.", "  "))
        print(wrapped(f"To {root / source.folder}: {source.layout}.", "    "))
        print(wrapped(f"Then checked: {source.checked}.", "    "))


def bytes_to_write(
    suite: Settings, spaces: list[Space], datasets: list[Dataset]
) -> Iterator[tuple[Path, float, str]]:
    """Folder, GB and what of everything that is to be written, by the suite or by hand."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folders = {}  # CIFAR-100 and its superclasses are one download
    for each in datasets:
        if found := download_of(each):
            folders[found.host or each.name, found.gb] = found.on_disk
    yield images_folder(suite), sum(folders.values()), "datasets and their archives"
    used = {s for d in datasets for s in suite.spaces_of(d.name) if d.unmade(s)}
    yield Path(HF_HUB_CACHE), sum(s.gb for s in spaces if s.name in used), "weights"
    sizes = [
        (each.rows[split] or 0)
        * dimensions(suite, each.name, space.name)
        * (4 if space.precision == "fp32" else 2)
        / 1e9
        for each in datasets
        for space in spaces
        if space.name in suite.spaces_of(each.name)
        for split in each.unmade(space.name)
    ]
    yield (
        suite.data,
        sum(sizes) + max(sizes, default=0),
        "embeddings, the largest twice for a while",
    )


def print_disk(suite: Settings, spaces: list[Space], datasets: list[Dataset]) -> list[str]:
    """What is to be written to each disk, and a line for each that has too little space."""
    print("\nDisk")
    needed, places, missing = defaultdict(float), {}, []
    rows = []
    for path, gb, what in bytes_to_write(suite, spaces, datasets):
        path = path.absolute()
        place = next(each for each in (path, *path.parents) if each.exists())
        disk = place.stat().st_dev
        needed[disk] += gb
        places.setdefault(disk, place)
        rows.append([f"  {size(gb) if gb else 'nothing'}", what])
    table(rows)
    for disk, place in places.items():
        free = shutil.disk_usage(place).free / 1e9
        print(wrapped(f"{size(needed[disk])} to write, {size(free)} free at {place}", "  "))
        if needed[disk] > free:
            missing.append(f"disk: {size(needed[disk])} to write, {size(free)} free at {place}")
    if unknown := [d.name for d in datasets if (found := download_of(d)) and found.gb is None]:
        print(f"  not counted, of unknown size: {', '.join(unknown)}")
    return missing


def print_hours(
    suite: Settings, spaces: list[Space], datasets: list[Dataset], machine: Machine
) -> None:
    name = hardware() if machine.device == "cuda" else processor()
    speeds = ", ".join(f"{p} {f / 1e9:,.0f}" for p, f in sorted(machine.flops.items()))
    print(f"\nHours on {name}, {machine.threads} threads")
    print(f"  measured: products {speeds} GFLOP/s; memory {machine.bandwidth / 1e9:,.0f} GB/s")
    hours, uncounted = hours_of_stages(suite, spaces, datasets, machine)
    rows = [[f"  {stage}", in_words(value)] for stage, value in hours.items()]
    table([*rows, ["  all", in_words(sum(hours.values()))]])
    if uncounted:
        print(wrapped(f"Not counted, of unknown size: {', '.join(uncounted)}.", "  "))
    print(*(wrapped(line, "  ") for line in ASSUMED), sep="\n")


def in_words(hours: float) -> str:
    """A duration, rounded up to two digits: it is good to a factor of two or three."""
    if hours == 0:
        return "-"
    if hours < 1 / 60:
        return "under a minute"
    for unit, length in (("days", 24), ("h", 1), ("min", 1 / 60)):
        if (count := hours / length) >= (2 if unit == "days" else 1):
            break
    step = 10 ** max(math.floor(math.log10(count)) - 1, 0)
    return f"about {math.ceil(count / step) * step:,} {unit}"
