"""The command `hume-turtle`: argument parsing only."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import traceback
from importlib import import_module
from pathlib import Path
from urllib.error import URLError

from hume_turtle.pipeline.settings import STAGES, Settings
from hume_turtle.runtime import (
    environment,
    is_x86,
    keep_freed_memory,
    restart,
    threads_of_libraries,
)

EXTRAS = {"av": "video", "h5py": "pcam", "gdown": "pcam"}  # optional packages (pyproject.toml)
EXPECTED = (ValueError, OSError, RuntimeError, ImportError, MemoryError, EOFError)
EXPECTED += (FloatingPointError,)  # a training that diverged


def main(arguments: list[str] | None = None) -> int:
    """Run one command; an expected failure ends with one line on standard error and exit code 2.

    Expected are bad input, what the system refuses (a full disk, no permission, no network, too
    little memory), a missing optional package, a notebook's error and a lost process; `--traceback`
    before the command shows where it was raised. Ctrl-C exits with 130. Any other exception is a
    bug and passes through.
    """
    options = parser().parse_args(arguments)
    options.own_process = arguments is None  # not called from Python
    try:
        return options.run(options) or 0
    except KeyboardInterrupt:
        print(f"hume-turtle {options.command}: interrupted", file=sys.stderr)
        return 130
    except EXPECTED as error:
        if isinstance(error, ImportError) and (error.name or "").startswith("hume_turtle"):
            raise
        if options.traceback:
            traceback.print_exception(error)
        print(f"hume-turtle {options.command}: {explain(error, options)}", file=sys.stderr)
        return 2


def explain(error: BaseException, options: argparse.Namespace) -> str:
    """What to tell the user about an expected failure: one line, a notebook's with its cell."""
    text = str(error).strip() or type(error).__name__
    if isinstance(error, URLError):
        what = getattr(options, "dataset", None) or "what is missing"
        return f"cannot download {what}: {error.reason}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        extra = EXTRAS.get(error.name.split(".")[0])
        package = f"hume-turtle[{extra}]" if extra else error.name
        return f'{text}: pip install "{package}"'
    if type(error).__name__ == "NotebookError":
        return text
    return text.splitlines()[0] if isinstance(error, RuntimeError) else " ".join(text.split())


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("hume-turtle", description="Find labelings without labels.")
    top.add_argument("--traceback", action="store_true", help="show where a failure was raised")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    for add in (add_stage, add_verify, add_bench, add_label, add_embed, add_import, add_evaluate):
        add(commands)
    return top


def add_stage(commands) -> None:
    command = commands.add_parser("stage", help="run a stage of the suite in the current directory")
    command.add_argument("stage", choices=STAGES)
    command.add_argument("item", nargs="?", help="a dataset for embed, fit, baselines; a notebook")
    command.set_defaults(run=run_stage)


def add_verify(commands) -> None:
    command = commands.add_parser(
        "verify",
        help="compare the results of the suite in the current directory with those in git",
        description="Exit code 0: every byte is the same, or every number within its tolerance; "
        "1: a number is outside; 2: there is nothing to compare.",
    )
    command.add_argument("--brief", action="store_true", help="one line")
    command.add_argument("--identical", action="store_true", help="exit code 1 for any other byte")
    command.add_argument(
        "--record", action="store_true", help="before a commit of new results: on which machine"
    )
    command.set_defaults(run=run_verify)


def add_bench(commands) -> None:
    command = commands.add_parser(
        "bench",
        help="measure seconds and memory of every method beside a plain reference",
        description="Writes data/measured/<suite>.csv, speed.csv and growth.csv: under 15 minutes.",
    )
    command.add_argument("--dataset", default="digits", help="of data/measured/<suite>.csv")
    command.add_argument("--full", action="store_true", help="ten seeds, long runs: over an hour")
    command.set_defaults(run=run_bench)


def add_label(commands) -> None:
    command = commands.add_parser("label", help="label your own embeddings by TURTLE")
    command.add_argument("spaces", nargs="+", help=".npy files (n, d_k) of the same rows")
    command.add_argument("--classes", type=int, required=True, help="number of classes")
    command.add_argument("--output", required=True, help=".npy file for the labels (n,)")
    command.add_argument("--warm-start", action="store_true", help="keep the inner heads")
    command.add_argument("--recipe", default="published", help="published, or fast")
    command.add_argument("--gamma", type=float, default=10.0, help="weight of the entropy")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    command.set_defaults(run=run_label)


def add_embed(commands) -> None:
    command = commands.add_parser(
        "embed",
        help="embed the images of a dataset with a frozen encoder",
        description="Writes <output>/<dataset>/<encoder>/<split>.npy and a JSON sidecar; a killed "
        "run resumes. Under torchrun each process takes its share.",
    )
    command.add_argument("--dataset", required=True, help="a name, or folder:<path>")
    command.add_argument("--encoder", required=True, help="clip-vit-l-14, timm:<name>, ...")
    command.add_argument("--output", default="data/embeddings", help="folder of the embeddings")
    command.add_argument("--labels", help="folder for the true labels, which only scores may see")
    command.add_argument("--images", default="data/images", help="folder where datasets lie")
    command.add_argument("--download", action="store_true", help="fetch a missing dataset")
    splits = {"nargs": "+", "default": ["train", "test"]}
    command.add_argument("--splits", **splits, help="train alone for a folder without these two")
    command.add_argument("--checkpoint", help="local file of the encoder's weights")
    command.add_argument("--weights", default="pretrained", help="pretrained, or random")
    command.add_argument("--precision", default="fp32", help="fp32, fp16 or bf16")
    command.add_argument("--batch-size", default="auto", type=auto_or_int)
    command.add_argument("--workers", default="auto", type=auto_or_int, help="loader processes")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    command.add_argument(
        "--unreadable", default="stop", choices=("stop", "skip"), help="images that cannot be read"
    )
    command.add_argument("--overwrite", action="store_true", help="replace other settings' files")
    command.add_argument("--benchmark", action="store_true", help="only measure images per second")
    command.set_defaults(run=run_embed)


def add_import(commands) -> None:
    command = commands.add_parser(
        "import",
        help="import an archive that the papers' authors released",
        description="Nothing in it is executed; a failed import changes no file.",
    )
    command.add_argument("kind", choices=("hume-embeddings", "hume-tasks", "turtle-tasks"))
    command.add_argument("archive", help=".zip file")
    command.add_argument("--output", required=True, help="folder; data/<suite> for embeddings")
    command.add_argument("--overwrite", action="store_true", help="replace an earlier import")
    command.add_argument(
        "--rename",
        action="append",
        default=[],
        metavar="THEIRS=OURS",
        help="a dataset or space that has another name in the archive; may be repeated",
    )
    command.set_defaults(run=run_import)


def add_evaluate(commands) -> None:
    command = commands.add_parser(
        "evaluate", help="score imported tasks in your own embeddings, against true labels"
    )
    command.add_argument("tasks", help="folder that `import` wrote")
    command.add_argument("--embeddings", required=True, help="<dataset>/<space>/<split>.npy below")
    command.add_argument("--labels", required=True, help="<dataset>/<split>.npy below")
    command.add_argument("--split", default="test")
    command.add_argument("--output", help=".csv file; by default the table is printed only")
    command.set_defaults(run=run_evaluate)


def auto_or_int(text: str) -> int | str:
    return text if text == "auto" else int(text)


def run_stage(options: argparse.Namespace) -> None:
    suite, listed = Settings.open(), STAGES[options.stage]
    suite.check()
    if listed is None and options.item is not None:
        raise ValueError(f"{options.stage} takes no further argument")
    if listed is not None and options.item not in suite.params[listed]:
        problem = f"{options.stage} needs" if options.item is None else f"{options.item} is not"
        known = ", ".join(suite.params[listed]) or "none"
        raise ValueError(f"{problem} one of the {listed} in params.yaml: {known}")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads starve busy machines
    if options.own_process:
        restart(environment(suite.params["threads"]))
    if not is_x86():
        own = "its own instructions, and last bits other than in git"
        print(f"{platform.machine()}, not x86-64: {own}", file=sys.stderr)
    stage = import_module(f"hume_turtle.pipeline.{options.stage}")
    stage.run(suite, *([options.item] if listed else []))


def run_verify(options: argparse.Namespace) -> int | None:
    if options.own_process:
        restart(environment(Settings.open().params["threads"]))

    from hume_turtle.pipeline.verify import record, verify

    if options.record:
        return record(Path())
    return verify(Path(), options.brief, options.identical)


def run_embed(options: argparse.Namespace) -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads starve the workers
    keep_freed_memory()

    from hume_turtle.benchmarks.extraction import benchmark
    from hume_turtle.datasets.registry import load_dataset
    from hume_turtle.encoders.registry import load_encoder
    from hume_turtle.extraction.extract import extract
    from hume_turtle.storage.embeddings import kept_rows_of, load_sidecar, save_labels

    shared = int(os.environ.get("WORLD_SIZE", 1)) > 1  # under torchrun
    if shared and options.download:
        raise ValueError("--download is not possible under torchrun: download in one process first")
    loaded = [
        load_dataset(options.dataset, split, options.images, options.download)
        for split in options.splits
    ]
    encoder = load_encoder(options.encoder, checkpoint=options.checkpoint, weights=options.weights)
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


def run_import(options: argparse.Namespace) -> None:
    from hume_turtle.released.importers import import_released

    rename = {}
    for text in options.rename:
        theirs, equals, ours = text.partition("=")
        if not (theirs and equals and ours) or theirs in rename:
            raise ValueError(f"--rename {text!r} must be THEIRS=OURS, each of theirs once")
        rename[theirs] = ours
    settings = {"overwrite": options.overwrite, "rename": rename}
    imported = import_released(options.kind, options.archive, options.output, **settings)
    print(*imported.notes, f"{len(imported.paths)} files imported to {options.output}", sep="\n")


def run_evaluate(options: argparse.Namespace) -> None:
    from hume_turtle.released.tasks import evaluate_tasks
    from hume_turtle.storage.files import atomic_write

    scores, skipped, votes = evaluate_tasks(
        options.tasks, options.embeddings, options.labels, options.split
    )
    if options.output:
        with atomic_write(options.output, "w", encoding="utf-8") as file:
            scores.to_csv(file, index=False, lineterminator="\n")
    keys = ["dataset", "method", "spaces", "seed"]
    if len(scores):
        print(scores.pivot(index=keys, columns="metric", values="value").round(4).to_string())
    if len(votes):
        print("votes, matched to:", votes.to_string(index=False), sep="\n")
    if len(skipped):
        print("not evaluated:", skipped.to_string(index=False), sep="\n")
    if not len(scores):
        raise ValueError("no task could be evaluated")


def run_bench(options: argparse.Namespace) -> None:
    settings = Settings.open()
    settings.check()
    os.environ.update(threads_of_libraries(settings.params["threads"]))
    os.environ["TQDM_DISABLE"] = "1"  # nothing but the methods is to be measured
    os.environ.pop("OMP_WAIT_POLICY", None)  # threads wait as they do for the library's users

    from hume_turtle.benchmarks.run import measure
    from hume_turtle.pipeline.suite import Suite

    measure(Suite(settings.folder, settings.params), options.dataset, options.full)


def run_label(options: argparse.Namespace) -> None:
    import numpy as np

    from hume_turtle.estimators.turtle import Turtle
    from hume_turtle.storage.files import atomic_write

    names = ("gamma", "warm_start", "recipe", "seed", "device")
    model = Turtle(options.classes, **{name: getattr(options, name) for name in names})
    spaces = [np.load(path, mmap_mode="r", allow_pickle=False) for path in options.spaces]
    labels = model.fit(spaces).labels_
    with atomic_write(options.output) as file:
        np.save(file, labels)
    counts = np.bincount(labels, minlength=options.classes)
    print(f"{len(labels)} rows labelled; rows in each class: {' '.join(map(str, counts))}")


if __name__ == "__main__":
    sys.exit(main())
