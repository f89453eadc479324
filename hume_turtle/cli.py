"""The command `hume-turtle`: argument parsing only.

What a command does is a function in commands/, named by its `run` and imported when it runs.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from importlib import import_module
from urllib.error import URLError

from hume_turtle.pipeline.settings import STAGES

# Optional packages, and which extra of pyproject.toml has them.
EXTRAS = {"av": "video", "h5py": "pcam", "gdown": "pcam", "pyarrow": "parquet"}
EXPECTED = (ValueError, OSError, RuntimeError, ImportError, MemoryError, EOFError)
EXPECTED += (FloatingPointError,)  # a training that diverged
SPACES = "files (n, d_k) of the same rows: .npy, .npz, .pt, .parquet, .csv"
DEVICE = "auto, cpu, cuda, ..."


def main(arguments: list[str] | None = None) -> int:
    """Run one command; an expected failure ends with one line on standard error and exit code 2.

    Expected are bad input, what the system refuses (a full disk, no permission, no network, too
    little memory), a missing optional package, a notebook's error and a lost process; `--traceback`
    before the command shows where it was raised. Ctrl-C exits with 130. Any other exception is a
    bug and passes through.
    """
    options, unknown = parser().parse_known_args(arguments)
    if unknown:
        known = f"hume-turtle {options.command} --help lists what there is"
        print(f"hume-turtle {options.command}: unknown: {unknown[0]}; {known}", file=sys.stderr)
        return 2
    options.own_process = arguments is None  # not called from Python
    try:
        module, function = options.run.split(".")
        run = getattr(import_module(f"hume_turtle.commands.{module}"), function)
        return run(options) or 0
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
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return f"no file {error.filename}"
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
    for add in (add_cluster, add_assign):
        add(commands)  # photographs, or embeddings, to groups
    for add in (add_fit, add_kmeans, add_probe, add_zero_shot, add_evaluate, add_embed):
        add(commands)  # files of one's own
    for add in (add_import, add_export, add_evaluate_tasks):
        add(commands)  # the authors' files
    for add in (add_plan, add_stage, add_verify, add_bench):
        add(commands)  # suites
    return top


def add_cluster(commands) -> None:
    command = commands.add_parser(
        "cluster",
        help="group photographs, or rows of embeddings, without labels",
        description="Writes a report, a table of classes and the model into the output folder. "
        "Sub-folders are not read as classes.",
    )
    command.add_argument("inputs", nargs="+", help=f"a folder of photographs, or {SPACES}")
    command.add_argument("--output", default="groups", help="folder (default groups)")
    command.add_argument(
        "--encoder",
        nargs="+",
        metavar="NAME",
        help="by default dinov2-vit-b-14; two that see different things are often better than one",
    )
    command.add_argument(
        "--checkpoint",
        nargs="+",
        default=[],
        metavar="FILE",
        help="local weights of the encoders, in order",
    )
    command.add_argument("--weights", default="pretrained", help="pretrained, or random to try")
    command.add_argument("--classes", default="auto", help="12, 2-40 or auto, the default")
    command.add_argument(
        "--gamma",
        default="auto",
        help="a number, larger for classes of similar size, or auto, the default",
    )
    command.add_argument(
        "--labels",
        metavar="FILE",
        help=".npy or .csv file of true classes, or folders: for the report, never for the fit",
    )
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--reliable",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="of each class, its most confident rows, that goes to pseudo-labels.csv (default 0.2)",
    )
    add_unreadable(command)
    command.add_argument("--device", default="auto", help=DEVICE)
    command.add_argument("--overwrite", action="store_true", help="replace earlier results there")
    command.set_defaults(run="cluster.cluster")


def add_assign(commands) -> None:
    command = commands.add_parser(
        "assign", help="find the groups of new photographs, or of new rows of embeddings"
    )
    command.add_argument("groups", help="folder that `cluster` wrote")
    command.add_argument(
        "inputs", nargs="+", help="a folder of photographs, or files of the same spaces in order"
    )
    command.add_argument("--output", required=True, help=".csv file: file or row, class, ...")
    command.add_argument(
        "--names", metavar="FILE", help="assignments-renamed.csv that the report saves"
    )
    command.add_argument(
        "--checkpoint",
        nargs="+",
        default=[],
        metavar="FILE",
        help="the encoders' weights, if they were moved",
    )
    add_unreadable(command)
    command.add_argument("--device", default="auto", help=DEVICE)
    command.add_argument("--overwrite", action="store_true", help="replace an existing file")
    command.set_defaults(run="assign.assign")


def add_unreadable(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--unreadable", default="stop", choices=("stop", "skip"), help="images that cannot be read"
    )


class EstimatorParser(argparse.ArgumentParser):
    """Takes every setting of an estimator as an option; what is not given stays its default.

    The options are read from the estimator when they are needed: importing it takes seconds.
    """

    estimator = ""

    def parse_known_args(self, args=None, namespace=None):
        from hume_turtle.commands.fit import settings_of, value

        for name, default, text in settings_of(self.estimator):
            flag = isinstance(default, bool)
            kind = {"action": argparse.BooleanOptionalAction} if flag else {"type": value}
            self.add_argument(
                f"--{name.replace('_', '-')}",
                **kind,
                default=argparse.SUPPRESS,
                help=f"{text.rstrip('.')} (default {default})".replace("%", "%%"),
            )
        return super().parse_known_args(args, namespace)


def add_fit(commands) -> None:
    command = commands.add_parser(
        "fit",
        help="label your own embeddings by TURTLE or HUME",
        description="No label is read. Writes labels-<seed>.npy (n,), model-<seed>.npz and "
        "results.csv: one row per fit with its settings, score, objective, seconds (of all fits "
        "together) and files.",
    )
    estimators = command.add_subparsers(
        dest="estimator", required=True, metavar="turtle|hume", parser_class=EstimatorParser
    )
    for name, what in (("turtle", "in any number of spaces"), ("hume", "in two: φ1 φ2")):
        each = estimators.add_parser(name, help=f"{name.upper()}, {what}")
        each.estimator = name
        each.add_argument("spaces", nargs="+", help=SPACES)
        each.add_argument("--classes", type=int, required=True, help="number of classes")
        each.add_argument("--seeds", type=int, nargs="+", default=[0], help="one labeling for each")
        each.add_argument(
            "--scale",
            choices=("none", "unit-rms"),
            default="none",
            help="unit-rms: fit each space at unit root mean square, by one factor; the saved "
            "model is of the rows as they are in the files (default none, as published)",
        )
        each.add_argument(
            "--select",
            action="append",
            default=[],
            metavar="NAME=V1,V2",
            help="values of a setting to choose from, by TURTLE's generalization score or HUME's "
            "cross-validation score in φ2; repeat it for a grid. Each seed keeps its best fit",
        )
        each.add_argument("--save", required=True, help="folder for the results")
        each.add_argument("--overwrite", action="store_true", help="replace earlier results there")
        each.set_defaults(run="fit.fit")


def add_kmeans(commands) -> None:
    command = commands.add_parser("kmeans", help="cluster your own embeddings by k-means")
    command.add_argument("spaces", nargs="+", help=SPACES)
    command.add_argument("--classes", type=int, required=True, help="number of classes")
    optional = {"type": int, "default": argparse.SUPPRESS}
    command.add_argument("--seed", **optional)
    command.add_argument("--n-init", **optional, help="starts, of which the best is kept")
    command.add_argument("--max-iter", **optional, help="iterations of a start at most")
    command.add_argument("--device", default=argparse.SUPPRESS, help="by default cpu; auto, cuda")
    add_save(command)
    command.set_defaults(run="baselines.kmeans")


def add_probe(commands) -> None:
    command = commands.add_parser("probe", help="label rows by a linear probe of labelled ones")
    command.add_argument("spaces", nargs="+", help=f"{SPACES}, to learn from")
    command.add_argument("--labels", required=True, help=".npy file (n,) of their labels")
    command.add_argument("--test", nargs="+", required=True, help="the same spaces of other rows")
    command.add_argument(
        "--grid", help="values of C to choose from on held-out rows: published, quick, or C1,C2,..."
    )
    command.add_argument("--device", default="auto", help=DEVICE)
    add_save(command)
    command.set_defaults(run="baselines.probe")


def add_zero_shot(commands) -> None:
    command = commands.add_parser(
        "zero-shot", help="label embeddings of CLIP by the names of the classes"
    )
    command.add_argument("space", help=".npy file (n, d) of image embeddings")
    text = command.add_mutually_exclusive_group(required=True)
    text.add_argument("--encoder", help="that embedded the images, such as clip-vit-l-14")
    text.add_argument("--text", help=".npy file (C, d) of the classes' embeddings")
    command.add_argument("--class-names", help="text file, one name a line; with --encoder")
    command.add_argument(
        "--dataset",
        dest="prompts",
        help="take CLIP's published prompts for it; by default 'a photo of a {}.'",
    )
    command.add_argument("--checkpoint", help="local file of the encoder's weights")
    command.add_argument("--weights", default="pretrained", help="pretrained, or random")
    command.add_argument("--device", default="auto", help=DEVICE)
    add_save(command)
    command.set_defaults(run="baselines.zero_shot")


def add_save(command: argparse.ArgumentParser) -> None:
    command.add_argument("--save", required=True, help=".npy file for the labels (n,)")
    command.add_argument("--overwrite", action="store_true", help="replace an existing file")


def add_evaluate(commands) -> None:
    command = commands.add_parser(
        "evaluate",
        help="score labels against true labels",
        description="Cluster accuracy, its mean per class, ARI and NMI, as fractions.",
    )
    command.add_argument("labels", nargs="+", help=".npy files (n,)")
    command.add_argument("--true", required=True, help=".npy file (n,) of the true labels")
    command.add_argument(
        "--named", action="store_true", help="labels of a probe or zero-shot: do not match classes"
    )
    command.add_argument("--output", help=".csv file; by default the table is printed only")
    command.set_defaults(run="evaluate.evaluate")


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
    command.add_argument("--precision", choices=("fp32", "fp16", "bf16"), default="fp32")
    command.add_argument("--batch-size", default="auto", type=auto_or_int)
    command.add_argument("--workers", default="auto", type=auto_or_int, help="loader processes")
    command.add_argument("--device", default="auto", help=DEVICE)
    add_unreadable(command)
    command.add_argument("--overwrite", action="store_true", help="replace other settings' files")
    command.add_argument("--benchmark", action="store_true", help="only measure images per second")
    command.set_defaults(run="embed.embed")


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
    command.set_defaults(run="released.import_archive")


def add_export(commands) -> None:
    command = commands.add_parser(
        "export",
        help="write a fit in the format of the papers' authors",
        description="Writes <K>space/<phi1>_<phi2>/<dataset>.pt for TURTLE; for HUME "
        "<phi1>_<phi2>/<dataset>/linear_task_<seed>.pt, and results_<seed>.pickle beside each of "
        "several runs. The labeling is of rows as they were fitted, and those of `fit` of rows as "
        "they are in the files.",
    )
    command.add_argument("model", help=".npz file that `fit` wrote, or `save`")
    command.add_argument("--dataset", required=True, help="its name there, such as cifar10")
    command.add_argument(
        "--spaces", nargs="+", required=True, help="their names there, such as clipvitL14 dinov2"
    )
    command.add_argument("--output", required=True, help="folder")
    command.add_argument("--overwrite", action="store_true", help="replace existing files")
    command.set_defaults(run="released.export_fit")


def add_evaluate_tasks(commands) -> None:
    command = commands.add_parser(
        "evaluate-tasks", help="score imported tasks in your own embeddings, against true labels"
    )
    command.add_argument("tasks", help="folder that `import` wrote")
    command.add_argument("--embeddings", required=True, help="<dataset>/<space>/<split>.npy below")
    command.add_argument("--labels", required=True, help="<dataset>/<split>.npy below")
    command.add_argument("--split", default="test")
    command.add_argument("--output", help=".csv file; by default the table is printed only")
    command.set_defaults(run="released.score_tasks")


def add_plan(commands) -> None:
    command = commands.add_parser("plan", help="what a suite has and lacks, and how long it takes")
    command.add_argument("suite", nargs="?", default=".", help="folder of its params.yaml")
    command.add_argument("--device", default="auto", help=DEVICE)
    command.set_defaults(run="suites.plan")


def add_stage(commands) -> None:
    command = commands.add_parser("stage", help="run a stage of the suite in the current directory")
    command.add_argument("stage", choices=STAGES)
    command.add_argument("item", nargs="?", help="a dataset for embed, fit, baselines; a notebook")
    command.set_defaults(run="suites.stage")


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
    command.set_defaults(run="suites.verify")


def add_bench(commands) -> None:
    command = commands.add_parser(
        "bench",
        help="measure seconds and memory of every method beside a plain reference",
        description="Writes data/measured/<suite>.csv, speed.csv and growth.csv: under 15 minutes.",
    )
    command.add_argument("--dataset", default="digits", help="of data/measured/<suite>.csv")
    kinds = command.add_mutually_exclusive_group()
    kinds.add_argument("--full", action="store_true", help="ten seeds, long runs: over an hour")
    kinds.add_argument(
        "--choices",
        action="store_true",
        help="instead score what is chosen without labels, the number and sizes of classes: half "
        "an hour, number-of-classes.csv and class-sizes.csv",
    )
    command.set_defaults(run="suites.bench")


def auto_or_int(text: str) -> int | str:
    return text if text == "auto" else int(text)


if __name__ == "__main__":
    sys.exit(main())
