"""The process: what it does with the memory that it frees."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
