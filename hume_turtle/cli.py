"""The command `hume-turtle`: argument parsing only."""

from __future__ import annotations

import argparse
import os
import sys

DESCRIPTION = "Human labelings found with no labels: HUME and TURTLE."


def main(arguments: list[str] | None = None) -> int:
    """Run one command; bad input ends with one line on standard error and exit code 2."""
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, FileNotFoundError) as error:
        print(f"hume-turtle {options.command}: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="hume-turtle", description=DESCRIPTION)
    commands = top.add_subparsers(dest="command", required=True, metavar="command")

    def stage(name: str, help: str, *positional: str) -> None:
        command = commands.add_parser(name, help=f"stage: {help}", description=help)
        for argument in positional:
            command.add_argument(argument)
        command.set_defaults(run=lambda options: run_stage(name, options, positional))

    stage("pretrain", "pretrain the networks that know none of the datasets")
    stage("embed", "embed a dataset in every space of the suite", "dataset")
    stage("fit", "fit TURTLE and HUME on a dataset, without labels", "dataset")
    stage("select", "fit TURTLE with a grid of settings and score them, without labels")
    stage("baselines", "k-means, linear probes, and the scores of every method", "dataset")
    stage("notebooks", "execute the notebooks")
    stage("report", "publish notebooks, tables and figures")

    command = commands.add_parser(
        "bench",
        help="measure seconds and memory of every method beside a plain reference",
        description="Writes data/measured/<suite>.csv, speed.csv and growth.csv: under 15 minutes.",
    )
    command.add_argument("--dataset", default="digits", help="of data/measured/<suite>.csv")
    command.add_argument(
        "--full", action="store_true", help="ten seeds and long runs: an hour or more"
    )
    command.set_defaults(run=run_bench)

    command = commands.add_parser(
        "label", help="label the rows of your own embeddings", description="TURTLE on .npy files."
    )
    command.add_argument("spaces", nargs="+", help=".npy files (n, d_k) of the same rows")
    command.add_argument("--classes", type=int, required=True, help="number of classes")
    command.add_argument("--output", required=True, help=".npy file for the labels (n,)")
    command.add_argument("--warm-start", action="store_true", help="keep the inner heads")
    command.add_argument("--recipe", default="published", help="published, or fast")
    command.add_argument("--gamma", type=float, default=10.0, help="weight of the entropy")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    command.set_defaults(run=run_label)
    return top


def run_stage(name: str, options: argparse.Namespace, positional: tuple[str, ...]) -> None:
    """Run a stage of the suite in the current directory."""
    set_environment()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads starve busy machines

    from hume_turtle import pipeline
    from hume_turtle.suite import Suite

    getattr(pipeline, name)(Suite.open(), *(getattr(options, argument) for argument in positional))


def run_bench(options: argparse.Namespace) -> None:
    set_environment()
    os.environ.pop("OMP_WAIT_POLICY", None)  # threads wait as they do for the library's users

    from hume_turtle.bench import measure
    from hume_turtle.suite import Suite

    measure(Suite.open(), options.dataset, options.full)


def set_environment() -> None:
    """As many threads as params.yaml names, before torch is imported: they change the last bits.

    And no progress bars, which the workers of a stage would draw over each other.
    """
    import yaml

    with open("params.yaml", encoding="utf-8") as file:
        threads = str(yaml.safe_load(file)["threads"])
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = threads
    os.environ["TQDM_DISABLE"] = "1"


def run_label(options: argparse.Namespace) -> None:
    import numpy as np

    from hume_turtle.files import atomic_write
    from hume_turtle.turtle import Turtle

    model = Turtle(
        options.classes,
        gamma=options.gamma,
        warm_start=options.warm_start,
        recipe=options.recipe,
        seed=options.seed,
        device=options.device,
    )
    spaces = [np.load(path, mmap_mode="r", allow_pickle=False) for path in options.spaces]
    labels = model.fit(spaces).labels_
    with atomic_write(options.output) as file:
        np.save(file, labels)
    counts = np.bincount(labels, minlength=options.classes)
    print(f"{len(labels)} rows labelled; rows in each class: {' '.join(map(str, counts))}")


if __name__ == "__main__":
    sys.exit(main())
