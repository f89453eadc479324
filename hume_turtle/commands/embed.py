"""The command `embed`: the images of a dataset through a frozen encoder."""

from __future__ import annotations

import argparse
import os

from hume_turtle.runtime import keep_freed_memory


def embed(options: argparse.Namespace) -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads starve the workers
    keep_freed_memory()

    from hume_turtle.benchmarks.extraction import benchmark
    from hume_turtle.commands.photographs import load, sources_of
    from hume_turtle.core.precision import pick_device
    from hume_turtle.datasets.registry import load_dataset
    from hume_turtle.extraction.extract import extract
    from hume_turtle.storage.embeddings import kept_rows_of, load_sidecar, save_labels

    shared = int(os.environ.get("WORLD_SIZE", 1)) > 1  # under torchrun
    if shared and options.download:
        raise ValueError("--download is not possible under torchrun: download in one process first")
    pick_device(options.device)  # before any image is looked for
    (source,) = sources_of([options.encoder], [options.checkpoint], options.weights)
    loaded = [
        load_dataset(options.dataset, split, options.images, options.download)
        for split in options.splits
    ]
    encoder = load(source)
    names = ("precision", "batch_size", "workers", "device")
    settings = {name: getattr(options, name) for name in names}
    for images in loaded:
        if options.benchmark:
            print("three rounds of 20 seconds for each of three, and start-ups: some minutes")
            print(benchmark(images, encoder, **settings))
            continue
        existing = "update" if options.overwrite else "resume"
        policy = {"unreadable": options.unreadable, "existing": existing}
        path = extract(images, encoder, options.output, **policy, **settings)
        if shared and os.environ["RANK"] != "0":
            continue
        print(path)
        skipped = load_sidecar(options.output, images.name, encoder.name, images.split)["skipped"]
        if skipped:
            print(f"{len(skipped)} images could not be read; {path.stem}.json lists them")
        if options.labels and images.labels is None:
            print(f"no labels are known for {images.name}, so none are written")
        elif options.labels:
            kept = kept_rows_of(options.output, images.name, [encoder.name], images.split)
            save_labels(options.labels, images.name, images.split, images.labels[kept])
