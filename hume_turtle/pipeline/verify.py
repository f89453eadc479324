"""`hume-turtle verify`: what was made here, beside the results that are in git.

Where every byte is the same, that is all there is to say. Otherwise every number of the tables and
every mean score stands beside the one in git, in units of its tolerance (differences.py).
"""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from hume_turtle.pipeline.machine import installed_versions, machine, pinned_versions
from hume_turtle.pipeline.settings import Settings
from hume_turtle.storage.files import atomic_write

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 30  # numbers that moved
LISTED = 10  # files that differ, settings and versions
MACHINE = "machine.json"  # beside dvc.lock: what its results were made on


def verify(folder: Path, brief: bool = False, identical: bool = False) -> int:
    """Compare a suite's results with those in git (HEAD), print the verdict, return the exit code.

    Args:
        folder: where params.yaml is.
        brief: print the verdict alone, one line.
        identical: ask for the same bytes; to be within the tolerances does not suffice.

    Returns:
        0, or 1 where a number is outside its tolerance or, with `identical`, a byte differs.

    Raises:
        ValueError: there is no git checkout, nothing of the suite is in git, packages are missing,
            or results here are missing, stale or half made: nothing can be compared then.
    """
    commit, suite = git(folder, "rev-parse", "--short", "HEAD").strip(), Settings.open(folder)
    versions = check_environment(suite.root)
    results = result_paths(suite)
    committed = listed(git(suite.root, "ls-tree", "-rz", "--name-only", "HEAD", "--", *results))
    if not committed:
        raise ValueError(f"nothing to compare with: no results of {suite.name} are in git")
    changed, settings = uncommitted(suite.root), changed_settings(folder)
    check_fresh(folder, [*settings, *changed])

    edited = [path for path in changed if not path.startswith(results)]
    differ = [path for path in changed if path.startswith(results)] + moved_outputs(folder)
    verdict, outside = f"identical, byte for byte, {len(committed)} files", 0
    if differ:
        numbers = compare_tables(suite, committed)
        outside, largest = int((numbers["size"] > 1).sum()), numbers["size"].max()
        verdict = f"other bytes, and all {len(numbers)} numbers within their tolerance"
        verdict += f"; the largest difference is {largest:.2f} of its own"
        if outside:
            verdict = f"{outside} of {len(numbers)} numbers are outside their tolerance"
    print(f"{suite.name}: {verdict} (results in git: {commit})")
    if not brief:
        reasons = {
            "files and outputs that differ": differ,
            "params.yaml differs from the one in git": settings,
            "uncommitted changes": edited,
            "versions other than in git's constraints.txt": versions,
        }
        lines = [f"{what}: {shortened(names)}" for what, names in reasons.items() if names]
        if differ:
            lines = [*told_numbers(numbers), *lines, *told_machines(folder)]
        print("\n".join(lines), end="\n" if lines else "")
    return int(bool(outside or (identical and differ)))


def record(folder: Path) -> None:
    """Write MACHINE, this machine, unless it tells already what these same results were made on.

    For whoever is about to commit new results; a machine that made the same bytes changes nothing.
    """
    check_fresh(folder)
    path, results = Path(folder, MACHINE), results_digest(read(Path(folder, "dvc.lock")))
    if not path.exists() or json.loads(read(path))["results"] != results:
        with atomic_write(path, "w", encoding="utf-8") as file:
            file.write(json.dumps({"results": results, **machine()}, indent=1) + "\n")


def compare_tables(suite: Settings, committed: list[str]) -> pd.DataFrame:
    """Every number of the tables and every mean score, those that moved most first."""
    import pandas as pd

    from hume_turtle.pipeline.differences import differences, mean_scores

    def tables(path: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        known, here = at_head(suite.root, path), read(suite.root / path)
        texts = StringIO(known), StringIO(here or known.partition("\n")[0])  # or no rows
        return tuple(pd.read_csv(text, dtype=str, keep_default_na=False) for text in texts)

    (means, spread), (means_here, _) = map(mean_scores, tables(f"data/scores/{suite.name}.csv"))
    found = [differences("scores", means, means_here, spread)]
    grid, folder = suite.params["selection"].get("grid", {}), f"figures/{suite.name}/"
    for path in [path for path in committed if path.startswith(folder) and path.endswith(".csv")]:
        found.append(differences(Path(path).stem, *tables(path), spread, grid))
    return pd.concat(found).sort_values("size", ascending=False, kind="stable")


def told_numbers(numbers: pd.DataFrame) -> list[str]:
    """The numbers that moved most."""
    moved = numbers[numbers["size"] > 0][:SHOWN]
    return ["tolerances     in git       here" if len(moved) else "no number moved"] + [
        f"{size:10.2f} {committed:10.6g} {here:10.6g} {name}"
        for name, committed, here, size in moved.itertuples(index=False)
    ]


def told_machines(folder: Path) -> list[str]:
    """This machine beside the one that the results in git were made on."""
    known = listed(git(folder, "ls-tree", "-z", "--name-only", "HEAD", "--", MACHINE))
    told = json.loads(at_head(folder, MACHINE)) if known else {}
    return [
        f"{what}: {told.get(what, 'not recorded')} in git, {here} here"
        for what, here in machine().items()
    ]


def shortened(names: list[str]) -> str:
    more = f", and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


# What is in git and what is here


def git(folder: Path, *arguments: str) -> str:
    """What git prints in a folder; ValueError with its own words where it refuses."""
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise ValueError(f"nothing to compare with: {done.stderr.strip().splitlines()[0]}")
    return done.stdout


def at_head(folder: Path, name: str) -> str:
    return git(folder, "show", f"HEAD:./{name}")


def listed(text: str) -> list[str]:
    """The paths that git prints with -z."""
    return [path for path in text.split("\0") if path]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def result_paths(suite: Settings) -> tuple[str, ...]:
    """What the stage `report` publishes, relative to the repository's root."""
    name = suite.name
    tables = f"data/scores/{name}.csv", f"data/metrics/{name}.json"
    return f"figures/{name}/", f"notebooks/executed/{name}/", *tables


def uncommitted(root: Path) -> list[str]:
    """Files that are not as in git, new ones too, relative to the root."""
    changed = git(root, "diff", "--name-only", "--relative", "-z", "HEAD")
    return sorted(listed(changed + git(root, "ls-files", "--others", "--exclude-standard", "-z")))


def outputs(lock: str) -> dict[str, str]:
    """Path to digest of every output in dvc.lock, but for those of `code`: they are no result."""
    import yaml

    stages = yaml.safe_load(lock)["stages"]
    outs = [out for name, stage in stages.items() if name != "code" for out in stage["outs"]]
    return {out["path"]: out["md5"] for out in outs}


def results_digest(lock: str) -> str:
    """One digest of all outputs in dvc.lock."""
    return sha256(json.dumps(sorted(outputs(lock).items())).encode()).hexdigest()


def moved_outputs(folder: Path) -> list[str]:
    before, after = outputs(at_head(folder, "dvc.lock")), outputs(read(Path(folder, "dvc.lock")))
    return sorted(path for path in before | after if before.get(path) != after.get(path))


def changed_settings(folder: Path) -> list[str]:
    """What params.yaml sets otherwise than in git, as `section.key: before -> after`."""
    import yaml

    def flat(params: dict, prefix: str = "") -> dict[str, object]:
        found = {}
        for key, value in params.items():
            inner = flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {}
            found |= inner or {f"{prefix}{key}": value}
        return found

    texts = at_head(folder, "params.yaml"), read(Path(folder, "params.yaml"))
    before, after = (flat(yaml.safe_load(text)) for text in texts)
    keys = [key for key in before | after if before.get(key) != after.get(key)]
    return [f"{key}: {before.get(key, 'unset')} -> {after.get(key, 'unset')}" for key in keys]


def check_environment(root: Path) -> list[str]:
    """Packages in another version than in git's constraints.txt; ValueError for missing ones."""
    wanted, found = pinned_versions(at_head(root, "constraints.txt")), installed_versions()
    told = {
        name: f"{name} (wanted {wanted.get(name, 'this checkout')}, found {version or 'none'})"
        for name, version in sorted(found.items())
    }
    if missing := ", ".join(told[name] for name in told if found[name] is None):
        raise ValueError(f"half-installed environment: {missing}; the README has how to install")
    return [told[name] for name in told if found[name] != wanted.get(name, found[name])]


def check_fresh(folder: Path, changed: list[str] = ()) -> None:
    """Raise ValueError unless `dvc repro` has nothing left to do; `changed` is told with it."""
    command = [sys.executable, "-m", "dvc", "status", "--json", "dvc.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise ValueError(f"dvc status: {done.stderr.strip().splitlines()[0]}")
    if stale := list(json.loads(done.stdout or "{}")):
        since = f"; changed since the commit: {shortened(changed)}" if changed else ""
        raise ValueError(
            "the results here are missing, or were not made by this code and these settings: "
            f"{shortened(stale)} would run; dvc repro first{since}"
        )
