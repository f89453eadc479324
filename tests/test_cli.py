import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hume_turtle.cli import main
from hume_turtle.commands import embed, released

ROOT = Path(__file__).parents[1]


@pytest.fixture
def suite(tmp_path, monkeypatch) -> Path:
    """The current directory, with the default suite's params.yaml; returns that file."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    monkeypatch.setenv("TQDM_DISABLE", "1")
    return tmp_path / "params.yaml"


def test_help_and_parsing_import_nothing_heavy():
    command = "import sys; from hume_turtle.cli import parser; parser().format_help(); "
    command += "parser().parse_args('kmeans a.npy --classes 3 --save b.npy'.split()); "
    command += "sys.exit(bool({'torch', 'numpy', 'yaml'} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", command], cwd=ROOT, check=True)


def test_a_stage_takes_an_item_of_its_list_in_params(suite, capsys):
    for stage in (["baselines", "nosuch"], ["notebooks", "07"], ["fit"], ["select", "digits"]):
        assert main(["stage", *stage]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == (
        "hume-turtle stage: nosuch is not one of the datasets in params.yaml: "
        "digits, coloured-digits, unbalanced-digits"
    )
    assert lines[1] == "hume-turtle stage: notebooks takes no further argument"
    assert "fit needs one of the datasets" in lines[2]
    assert lines[3] == "hume-turtle stage: select takes no further argument"
    assert not (suite.parent / "data").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("fit:", "fits:", "unknown fits"),
        ("  seeds: [0, 1, 2, 3, 4]\n  turtle", "  seed: [0]\n  turtle", "fit: unknown seed;"),
        ("phi2:", "phi3:", "fit.hume: unknown phi3;"),
        ("  scale: unit-rms", "  scaling: none", "embed: unknown scaling;"),
        ("threads: 2", "", "missing threads"),
        ("coloured-digits: 10, ", "", "classes: missing coloured-digits"),
        ("suite: digits", "suite: [digits", "params.yaml: while parsing"),
    ],
)
def test_params_that_would_be_ignored_or_are_missing_are_named(suite, capsys, old, new, message):
    text = suite.read_text()
    assert old in text
    suite.write_text(text.replace(old, new))
    assert main(["stage", "report"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_other_processors_are_told_that_their_last_bits_differ(suite, capsys, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    main(["stage", "report"])  # which fails: nothing has run
    first = capsys.readouterr().err.splitlines()[0]
    assert first == "aarch64, not x86-64: its own instructions, and last bits other than in git"


@pytest.mark.parametrize(
    ("section", "stage", "message"),
    [
        ("pretrain: {seed: 0, step: 1}", ["pretrain"], "pretrain: unknown step;"),
        ("embed: {spaces: [], extraction: {batch: 1}}", ["embed"], "embed.extraction: unknown"),
        ("fit: {seeds: [0], split: all, turtle: {choices: [], settings: {steps: 1}}, hume: "
         "{phi1: moco, phi2: []}}", ["fit"], "fit.turtle.settings: unknown steps;"),
        ("selection: {datasets: [dtd], spaces: [], grid: {}}", ["select"],
         "selection.datasets: unknown dtd;"),
        ("selection: {datasets: [], spaces: [], grid: {inner: [1]}}", ["select"],
         "selection.grid: unknown inner;"),
    ],
)  # fmt: skip
def test_a_stage_names_unknown_settings(suite, capsys, section, stage, message):
    import yaml

    params = {**yaml.safe_load(suite.read_text()), **yaml.safe_load(section)}
    suite.write_text(yaml.safe_dump(params))
    assert main(["stage", *stage, *["digits"] * (stage[0] in ("embed", "fit"))]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"hume-turtle stage: {message}")


def failures():
    from urllib.error import URLError

    from hume_turtle.reporting.run_notebook import NotebookError

    notebook = "01.ipynb: cell 2 failed, ValueError: no\n    x = 1"
    missing = ModuleNotFoundError("No module named 'h5py'", name="h5py")
    return [
        (NotebookError(notebook), notebook),
        (missing, "No module named 'h5py': pip install \"hume-turtle[pcam]\""),
        (ModuleNotFoundError("No faiss", name="faiss"), 'No faiss: pip install "faiss"'),
        (RuntimeError("CUDA out of memory.\nException raised from ..."), "CUDA out of memory."),
        (ValueError("two\n  lines"), "two lines"),
        (MemoryError(), "MemoryError"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (URLError("no network"), "cannot download what is missing: no network"),
    ]


@pytest.mark.parametrize(("error", "text"), failures(), ids=lambda value: type(value).__name__)
def test_expected_failures_end_with_a_line_and_their_traceback_on_demand(
    error, text, monkeypatch, capsys
):
    def fail(options):
        raise error

    monkeypatch.setattr(released, "import_archive", fail)
    command = ["import", "hume-tasks", "a.zip", "--output", "b"]
    assert main(command) == 2
    assert capsys.readouterr().err == f"hume-turtle import: {text}\n"
    assert main(["--traceback", *command]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback")
    assert shown.endswith(f"hume-turtle import: {text}\n")


def test_an_interrupt_exits_with_130_and_a_bug_passes_through(monkeypatch, capsys):
    def fail(options):
        bug = ImportError("a bug", name="hume_turtle.core")
        raise {"b": KeyboardInterrupt, "c": TypeError("a bug"), "d": bug}[options.output]

    monkeypatch.setattr(released, "import_archive", fail)
    assert main(["import", "hume-tasks", "a.zip", "--output", "b"]) == 130
    assert capsys.readouterr().err == "hume-turtle import: interrupted\n"
    for output, error in (("c", TypeError), ("d", ImportError)):
        with pytest.raises(error, match="a bug"):
            main(["import", "hume-tasks", "a.zip", "--output", output])


def test_a_stage_outside_a_suite_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["stage", "report"]) == 2
    assert "params.yaml" in capsys.readouterr().err


def test_bench_measures_the_suite_here(suite, monkeypatch):
    from hume_turtle.benchmarks import run

    seen = []
    monkeypatch.setattr(run, "measure", lambda suite, *rest: seen.append((suite.name, *rest)))
    assert main(["bench"]) == main(["bench", "--dataset", "stl10", "--full"]) == 0
    assert seen == [("digits", "digits", False), ("digits", "stl10", True)]


def test_embed_extracts_a_folder_of_images_and_resumes(tmp_path, capsys, monkeypatch):
    from PIL import Image

    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(3):
            pixels = random.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{i}.png")
    arguments = ["embed", "--dataset", f"folder:{tmp_path / 'pets'}", "--splits", "train"]
    arguments += ["--encoder", "timm:test_resnet.r160_in1k", "--weights", "random"]
    arguments += ["--batch-size", "4", "--workers", "0", "--device", "cpu"]
    arguments += ["--output", str(tmp_path / "out"), "--labels", str(tmp_path / "labels")]
    kept = []
    monkeypatch.setattr(embed, "keep_freed_memory", lambda: kept.append(True))
    assert main(arguments) == 0
    assert kept == [True]  # the command's process is its own
    path = capsys.readouterr().out.strip()
    rows = np.load(path)
    assert len(rows) == 6
    assert np.load(tmp_path / "labels/pets/train.npy").tolist() == [0, 0, 0, 1, 1, 1]
    assert main(arguments) == 0  # finished: at once
    np.testing.assert_array_equal(np.load(path), rows)
    assert main([*arguments, "--precision", "bf16"]) == 2  # other settings are in the way
    assert "bf16" in capsys.readouterr().err
    assert main([*arguments, "--precision", "bf16", "--overwrite"]) == 0
    assert np.load(path).dtype == np.float16


def test_under_torchrun_nobody_downloads(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    arguments = ["embed", "--dataset", "dtd", "--encoder", "pixels", "--download"]
    assert main([*arguments, "--images", str(tmp_path)]) == 2
    assert "torchrun" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_embed_measures_its_throughput(tmp_path, capsys, monkeypatch):
    from hume_turtle.benchmarks import extraction

    seen = []
    monkeypatch.setattr(extraction, "benchmark", lambda *a, **k: seen.append(k) or "ratio 1")
    arguments = ["embed", "--dataset", "digits", "--encoder", "pixels", "--benchmark"]
    assert main([*arguments, "--splits", "test", "--output", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith("ratio 1\n")
    assert seen == [
        {"precision": "fp32", "batch_size": "auto", "workers": "auto", "device": "auto"}
    ]
    assert not list(tmp_path.iterdir())


def test_without_a_network_a_download_ends_with_one_line(tmp_path, capsys, monkeypatch):
    from urllib.error import URLError

    from hume_turtle.datasets import registry as datasets

    def fetch(*arguments):
        raise URLError("Name or service not known")

    monkeypatch.setitem(datasets.BUILDERS, "dtd", fetch)
    assert main(["embed", "--dataset", "dtd", "--encoder", "pixels", "--download"]) == 2
    assert capsys.readouterr().err == (
        "hume-turtle embed: cannot download dtd: Name or service not known\n"
    )


def test_an_unknown_option_names_the_command(capsys):
    assert main(["cluster", "photos", "--outptu", "groups"]) == 2
    assert capsys.readouterr().err == (
        "hume-turtle cluster: unknown: --outptu; hume-turtle cluster --help lists what there is\n"
    )


def test_a_missing_file_or_suite_is_named(tmp_path, capsys):
    export = ["export", "no.npz", "--dataset", "a", "--spaces", "b", "--output", "c"]
    assert main(export) == 2
    assert main(["plan", str(tmp_path)]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == "hume-turtle export: no file no.npz"
    assert second.startswith(f"hume-turtle plan: no {tmp_path}/params.yaml: this needs a suite")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--encoder nonsense", "unknown encoder 'nonsense'"),
        ("--encoder pixels --device cuda:99", "device='cuda:99': PyTorch finds no GPU here"),
    ],
)
def test_embed_checks_its_settings_before_it_looks_for_images(
    options, message, capsys, monkeypatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["embed", "--dataset", "folder:nowhere", *options.split()]) == 2
    assert message in capsys.readouterr().err


def test_unreadable_images_and_unknown_labels_are_said(tmp_path, capsys):
    from PIL import Image

    (tmp_path / "flat").mkdir()
    for i in range(3):
        Image.new("L", (8, 8), 60 * i).save(tmp_path / "flat" / f"{i}.png")
    (tmp_path / "flat" / "1.png").write_bytes(b"no image")
    arguments = ["embed", "--dataset", f"folder:{tmp_path / 'flat'}", "--encoder", "pixels"]
    arguments += ["--splits", "train", "--workers", "0", "--unreadable", "skip"]
    folders = ["--output", str(tmp_path / "out"), "--labels", str(tmp_path / "labels")]
    assert main([*arguments, *folders]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "1 images could not be read; train.json lists them"
    assert lines[2].startswith("no labels are known for flat")
    assert not (tmp_path / "labels").exists()


def test_names_in_an_archive_are_renamed_and_unknown_ones_listed(tmp_path, capsys):
    from tests.released.test_archives import npy, write_zip

    name = "data/representations/{}/cifar20test.npy"
    members = {name.format(space): npy(np.ones((3, 2))) for space in ("mocov2", "big")}
    archive, output = str(write_zip(tmp_path / "a.zip", members)), tmp_path / "out"
    command = ["import", "hume-embeddings", archive, "--output", str(output)]
    assert main(command) == 2
    for wrong in (["big"], ["big="], ["=bit"], ["big=bit", "big=clip"], ["none=bit"]):
        assert main([*command, *(f"--rename={each}" for each in wrong)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6
    assert "--rename 'cifar20'=OURS" in lines[0]
    assert "--rename 'big'=OURS" in lines[0]
    assert all("must be THEIRS=OURS" in line for line in lines[1:5])
    assert "has no 'none' to rename" in lines[5]
    assert not output.exists()
    assert main([*command, "--rename", "cifar20=cifar100-20", "--rename", "big=bit"]) == 0
    assert {path.name for path in output.glob("embeddings/cifar100-20/*")} == {"bit", "moco"}


def test_evaluate_tasks_says_which_run_a_vote_follows(tmp_path, capsys):
    from tests.released import test_tasks

    test_tasks.cache(tmp_path, "stl10", "moco", "test", test_tasks.SPACES[0])
    (tmp_path / "labels" / "stl10").mkdir(parents=True)
    np.save(tmp_path / "labels" / "stl10" / "test.npy", np.arange(50) % 3)
    for seed in "12":
        test_tasks.save(tmp_path, test_tasks.hume_task(), seed)
    folders = (str(tmp_path / name) for name in ("tasks", "embeddings", "labels"))
    tasks, embeddings, labels = folders
    assert main(["evaluate-tasks", tasks, "--embeddings", embeddings, "--labels", labels]) == 0
    assert "lowest seed; 2 of 2 runs have no released score" in capsys.readouterr().out


def test_what_is_missing_is_said_in_one_line(tmp_path, capsys):
    missing = str(tmp_path / "no")
    assert main(["import", "hume-tasks", f"{missing}.zip", "--output", missing]) == 2
    assert main(["evaluate-tasks", missing, "--embeddings", missing, "--labels", missing]) == 2
    embed = ["embed", "--encoder", "pixels", "--images", missing, "--output", missing]
    assert main([*embed, "--dataset", "dtd"]) == 2
    assert main([*embed, "--dataset", "nonsense"]) == 2
    assert main(["stage", "fit"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        *("hume-turtle import", "hume-turtle evaluate-tasks"),
        *["hume-turtle embed"] * 2,
        "hume-turtle stage",
    ]
    assert "--download" in lines[2]
    assert list(tmp_path.iterdir()) == []
