"""What a result was made on: the machine, and the packages of the environment."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def machine() -> dict[str, str]:
    """Processor, instruction set, system and Python: what may change the last bits of a result."""
    import torch

    return {
        "processor": processor(),
        "instruction set": torch.backends.cpu.get_cpu_capability(),
        "system": " ".join([platform.system(), platform.machine(), *platform.libc_ver()]).strip(),
        "python": platform.python_version(),
    }


def hardware() -> str:
    """The GPU's name where there is one, else the processor's and its instruction set."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{processor()}, {torch.backends.cpu.get_cpu_capability()}"


def processor() -> str:
    """The processor's name, where the system tells."""
    cpuinfo = Path("/proc/cpuinfo")  # platform.processor() gives "x86_64" on Linux
    if cpuinfo.exists() and (found := re.search(r"model name\s*: (.*)", cpuinfo.read_text())):
        return found[1].strip()
    return platform.processor() or platform.machine()


def pinned_versions(text: str) -> dict[str, str]:
    """The lines `name==version` of constraints.txt: normalised name to version."""
    from packaging.utils import canonicalize_name

    lines = [line.strip().split("==") for line in text.splitlines() if not line.startswith("#")]
    return {canonicalize_name(line[0]): line[1] for line in lines if len(line) == 2}


def installed_versions(package: str = "hume-turtle") -> dict[str, str | None]:
    """The versions of a package and of all that it needs here; None for what is not installed.

    Without local parts: 2.15.0+cpu is 2.15.0.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found, seen, todo = {}, set(), [Requirement(package)]
    while todo:
        needed = todo.pop()
        key = name, _ = canonicalize_name(needed.name), frozenset(needed.extras)
        if key in seen:
            continue
        seen.add(key)
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            found[name] = None
            continue
        found[name] = installed.version.partition("+")[0]
        for requirement in map(Requirement, installed.requires or ()):
            extras = ("", *needed.extras)
            if not (mark := requirement.marker) or any(mark.evaluate({"extra": e}) for e in extras):
                todo.append(requirement)
    return found
