"""The process that computes: what gives the suites the same bits on every x86-64 machine.

The numerical libraries choose their code by the processor's instructions, vendor, number of cores
and caches, and every choice rounds differently. The suites therefore run with `environment()`,
which leaves one choice on all processors since 2013 with AVX2 (Haswell, Zen). It costs speed: a
fifth on the small matrices of the default suite, up to nine tenths on large products. So nothing
else does: not the library, not the commands that embed, fit and measure, and not the larger suites,
whose params.yaml says `same_bits: false`.

Two things the variables cannot hold still. The instructions that approximate 1/x and 1/√x differ
between vendors; of what makes the suites' results only Adam would use them, through MKL's square
roots, and is therefore fused. And threads share sums between them, so params.yaml names how many.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys

AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",  # PyTorch's own kernels
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # its convolutions and thin products
    "MKL_CBWR": "COMPATIBLE",  # its other products; MKL shares no other branch between vendors
    "MKL_DYNAMIC": "FALSE",  # MKL may not take fewer threads than it is told
    "OPENBLAS_CORETYPE": "Haswell",  # products of NumPy, SciPy and scikit-learn
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",  # NumPy's exp, log and powers
}

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h


def environment(threads: int, same_bits: bool = True) -> dict[str, str]:
    """The variables of a suite's processes; they must be set before Python starts.

    Without `same_bits`, and on machines other than x86-64, the libraries' own choices stay, and so
    do their last bits.
    """
    limits = AVX2 if same_bits and is_x86() else {}
    return {"PYTHONHASHSEED": "0", **threads_of_libraries(threads), **limits}


def threads_of_libraries(threads: int) -> dict[str, str]:
    return {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")}


def is_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")


def restart(variables: dict[str, str]) -> None:
    """Start this very command again with these variables, unless they are set already."""
    if any(os.environ.get(name) != value for name, value in variables.items()):
        os.environ.update(variables)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees for what it allocates next; whether it does.

    By itself glibc returns every large freed block to the system. Each tensor of a convolutional
    network then begins with page faults: half of the time, on a CPU. The process may keep up to
    the most that it has held at once; processes that it forks inherit the setting. Results do
    not change.

    A setting of the whole process and for good: the commands that embed call this, the library
    itself never does. It has an effect with glibc alone, and returns False elsewhere.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return False
    # No block is mapped by itself, and the heap never shrinks. M_MMAP_THRESHOLD would not do: an
    # int, and in older versions 32 MiB at most.
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))
