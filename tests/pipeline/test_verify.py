"""`hume-turtle verify` on a small suite in a git repository of its own, without DVC's stages."""

import json
import os
import subprocess
import sys
from hashlib import md5
from pathlib import Path

import pytest
import yaml

from hume_turtle.cli import main
from hume_turtle.pipeline import verify as module
from hume_turtle.pipeline.machine import installed_versions, pinned_versions
from hume_turtle.pipeline.verify import MACHINE, outputs, results_digest

ROOT = Path(__file__).parents[2]
SCORES = {"turtle": (0.90, 0.92, 0.94), "k-means": (0.80, 0.80, 0.80)}  # s = 0.02; none
BENCHMARK = "dataset,method,spaces,metric,mean,std,seeds\n"
BENCHMARK += "digits,turtle,letters,cluster_accuracy,92.00,2.00,3\n"
BENCHMARK += "digits,k-means,letters,cluster_accuracy,80.00,0.00,3\n"


def scores(values: dict[str, tuple[float, ...]]) -> str:
    lines = ["dataset,method,spaces,seed,split,metric,value"]
    for method, of_seeds in values.items():
        for seed, value in enumerate(of_seeds):
            lines.append(f"digits,{method},letters,{seed},test,cluster_accuracy,{value:.6f}")
    return "\n".join(lines) + "\n"


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def lock(folder: Path, digest: str = "1") -> None:
    stages = {"code": {"outs": [{"path": "code", "md5": digest}]}}  # no result
    stages["fit"] = {"outs": [{"path": "data/digits/fits", "md5": digest}]}
    write(folder, "dvc.lock", yaml.safe_dump({"stages": stages}))


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """The current directory: a committed suite with results, where DVC has nothing to do."""
    write(tmp_path, "params.yaml", (ROOT / "params.yaml").read_text())
    pins = [f"{name}=={version}\n" for name, version in installed_versions().items()]
    write(tmp_path, "constraints.txt", "# Versions\n" + "".join(pins))
    write(tmp_path, "hume_turtle/core.py", "x = 1\n")
    write(tmp_path, "figures/digits/turtle-benchmark.csv", BENCHMARK)
    write(tmp_path, "figures/digits/speed.csv", "case,method,seconds\nTURTLE,fp32,0.5\n")
    write(tmp_path, "data/scores/digits.csv", scores(SCORES))
    lock(tmp_path)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "results")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "check_fresh", lambda folder, changed=(): None)
    return tmp_path


def said(capsys, *options: str) -> tuple[int, str]:
    code = main(["verify", *options])
    shown = capsys.readouterr()
    return code, shown.out + shown.err


def change(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))


def test_the_same_bytes_are_said_in_one_line(suite, capsys):
    for options in ((), ("--brief",), ("--identical",)):
        code, text = said(capsys, *options)
        assert code == 0
        assert text.startswith("digits: identical, byte for byte, 3 files")
        assert text.count("\n") == 1


def test_numbers_within_the_spread_over_seeds_pass_unless_bytes_are_asked_for(suite, capsys):
    change(suite, "figures/digits/turtle-benchmark.csv", "92.00", "95.00")  # tolerance 6.5
    code, text = said(capsys)
    assert code == 0
    assert "all 7 numbers within their tolerance; the largest difference is 0.46" in text
    assert "figures/digits/turtle-benchmark.csv" in text
    assert said(capsys, "--identical")[0] == 1


def test_numbers_outside_are_listed_with_the_largest_difference_first(suite, capsys):
    change(suite, "figures/digits/turtle-benchmark.csv", "80.00,0", "50.00,0")  # tolerance 5.5
    change(suite, "data/scores/digits.csv", "0.90", "0.50")
    change(suite, "params.yaml", "gamma: 10", "gamma: 3")
    code, text = said(capsys)
    lines = text.splitlines()
    assert code == 1
    assert "2 of 7 numbers are outside their tolerance" in lines[0]
    assert "80" in lines[2]
    assert lines[2].endswith("turtle-benchmark: digits k-means letters cluster_accuracy 3 mean")
    assert lines[3].endswith("scores: digits turtle letters test cluster_accuracy value")
    assert "fit.turtle.settings.gamma: 10 -> 3" in text
    assert "processor: not recorded in git" in text
    code, text = said(capsys, "--brief")
    assert (code, text.count("\n")) == (1, 1)


@pytest.mark.parametrize("name", ["speed.csv", "turtle-benchmark.csv"])
def test_measured_times_and_missing_numbers_have_no_tolerance(suite, capsys, name):
    if name == "speed.csv":
        change(suite, "figures/digits/speed.csv", "0.5", "0.5001")
    else:
        text = BENCHMARK.replace("digits,k-means", "digits,other")  # one row less, one row more
        write(suite, "figures/digits/turtle-benchmark.csv", text)
    code, text = said(capsys)
    assert code == 1
    assert "inf" in text.splitlines()[2]


def test_other_outputs_count_as_bytes_and_code_does_not(suite, capsys):
    lock(suite, "2")
    code, text = said(capsys, "--identical")
    assert code == 1
    assert "data/digits/fits" in text
    assert "code," not in text


def test_uncommitted_changes_are_said(suite, capsys):
    change(suite, "hume_turtle/core.py", "1", "2")
    write(suite, "hume_turtle/new.py", "")
    code, text = said(capsys)
    assert code == 0
    assert "uncommitted changes: hume_turtle/core.py, hume_turtle/new.py" in text


def test_a_wrong_version_is_named(suite, capsys):
    change(suite, "constraints.txt", f"numpy=={installed_versions()['numpy']}", "numpy==0.1")
    git(suite, "commit", "-qam", "another version")
    found = installed_versions()["numpy"]
    assert f"numpy (wanted 0.1, found {found})" in said(capsys)[1]


def test_a_half_installed_environment_is_named(suite, capsys, monkeypatch):
    found = {**installed_versions(), "scipy": None}
    monkeypatch.setattr(module, "installed_versions", lambda: found)
    code, text = said(capsys)
    assert code == 2
    assert "scipy (wanted 1." in text
    assert "found none" in text


def test_no_git_no_commit_and_no_results_are_refused(suite, capsys, tmp_path_factory, monkeypatch):
    git(suite, "rm", "-rq", "--cached", "figures", "data")
    git(suite, "commit", "-qm", "no results")
    code, text = said(capsys)
    assert (code, text) == (
        2,
        "hume-turtle verify: nothing to compare with: no results of digits are in git\n",
    )
    elsewhere = tmp_path_factory.mktemp("no-git")
    write(elsewhere, "params.yaml", (ROOT / "params.yaml").read_text())
    monkeypatch.chdir(elsewhere)
    assert "not a git repository" in said(capsys)[1]
    git(elsewhere, "init", "-q")
    assert said(capsys)[0] == 2


def test_what_dvc_would_run_again_is_refused(tmp_path, monkeypatch, capsys):
    """A real stage of DVC: not run, run, and its input edited."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    git(tmp_path, "init", "-q")
    dvc = (sys.executable, "-m", "dvc")
    subprocess.run([*dvc, "init", "-q"], cwd=tmp_path, check=True)
    stage = {"cmd": "cp source made", "deps": ["source"], "outs": ["made"]}
    write(tmp_path, "dvc.yaml", yaml.safe_dump({"stages": {"make": stage}}))
    write(tmp_path, "source", "1")
    with pytest.raises(ValueError, match="make would run; dvc repro first"):
        module.check_fresh(tmp_path)
    subprocess.run([*dvc, "repro", "-q"], cwd=tmp_path, check=True)
    module.check_fresh(tmp_path)
    write(tmp_path, "source", "2")
    with pytest.raises(ValueError, match=r"make would run; .* since the commit: source"):
        module.check_fresh(tmp_path, ["source"])
    write(tmp_path, "dvc.yaml", "stages: [")
    with pytest.raises(ValueError, match=r"dvc status: .*dvc\.yaml"):
        module.check_fresh(tmp_path)


def test_the_machine_is_recorded_for_new_results_only(suite, capsys):
    assert said(capsys, "--record") == (0, "")
    recorded = json.loads((suite / MACHINE).read_text())
    assert recorded["results"] == results_digest((suite / "dvc.lock").read_text())
    write(suite, MACHINE, json.dumps({**recorded, "processor": "another"}))
    said(capsys, "--record")  # the same results: still the machine that made them first
    assert json.loads((suite / MACHINE).read_text())["processor"] == "another"
    lock(suite, "2")
    said(capsys, "--record")
    assert json.loads((suite / MACHINE).read_text())["processor"] == recorded["processor"]


def test_the_lock_was_made_with_these_versions_and_the_machine_is_told():
    """New versions, new results and the machine that they were made on are committed together."""
    text = (ROOT / "dvc.lock").read_text()
    deps = {dep["path"]: dep for dep in yaml.safe_load(text)["stages"]["code"]["deps"]}
    constraints = (ROOT / "constraints.txt").read_bytes()
    assert deps["./constraints.txt"]["md5"] == md5(constraints).hexdigest()
    assert len(outputs(text)) > 10
    assert json.loads((ROOT / MACHINE).read_text())["results"] == results_digest(text)


def test_every_needed_package_is_pinned():
    pinned = pinned_versions((ROOT / "constraints.txt").read_text())
    assert installed_versions("hume-turtle[test]").keys() - pinned.keys() == {"hume-turtle"}
