"""The process: the variables it runs with, and what it does with the memory that it frees."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from hume_turtle.runtime import AVX2, environment

# Page faults of making a tensor of 40 MB again, in a process of its own. The first few still grow
# the heap: small blocks come to lie between the large ones until there is room for both.
FAULTS = """
import resource, sys
import torch
from hume_turtle.runtime import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for repeat in range(40):
    if repeat == 30:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True)
    return int(done.stdout)


def glibc() -> bool:
    from platform import libc_ver

    return libc_ver()[0] == "glibc"


@pytest.mark.skipif(not glibc(), reason="a setting of glibc")
def test_kept_memory_is_not_faulted_in_again():
    assert faults("keep") < 100 < faults("leave")


def test_without_glibc_nothing_happens(monkeypatch):
    import ctypes

    from hume_turtle import runtime

    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert runtime.keep_freed_memory() is False
    monkeypatch.setattr(sys, "platform", "darwin")
    assert runtime.keep_freed_memory() is False


def test_only_x86_is_held_to_avx2(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    assert AVX2.items() <= environment(2).items()
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert not AVX2.keys() & environment(2).keys()
    assert not AVX2.keys() & environment(2, same_bits=False).keys()
    assert environment(3)["OMP_NUM_THREADS"] == environment(3)["MKL_NUM_THREADS"] == "3"


def test_a_command_starts_again_with_its_variables_once():
    """And keeps its arguments; `hash` shows that PYTHONHASHSEED was read at the start."""
    code = """
import json, os, sys
from hume_turtle.runtime import environment, restart
print("started", flush=True)
restart(environment(3))
print(json.dumps([sys.argv[1:], hash("a"), {name: os.environ[name] for name in environment(3)}]))
"""
    clean = {name: value for name, value in os.environ.items() if name not in environment(3)}
    printed = [
        subprocess.run(
            [sys.executable, "-c", code, "-x", "two words"],
            env=clean,
            capture_output=True,
            check=True,
        ).stdout.decode()
        for _ in range(2)
    ]
    assert printed[0] == printed[1]
    *starts, told = printed[0].splitlines()
    arguments, _, variables = json.loads(told)
    assert starts == ["started"] * 2
    assert arguments == ["-x", "two words"]
    assert variables == environment(3)


def test_the_library_changes_no_variable():
    """But for what scikit-learn sets for its OpenMP."""
    code = "import os; before = dict(os.environ); import hume_turtle, hume_turtle.runtime; "
    code += "hume_turtle.Turtle; names = hume_turtle.runtime.environment(2); "
    code += "assert all(os.environ.get(name) == before.get(name) for name in names)"
    subprocess.run([sys.executable, "-c", code], check=True)
