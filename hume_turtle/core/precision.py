"""Which precision matrix products run in: float32, or bfloat16 operands where the machine has them.

Only the operands of the products change. Weights, optimiser state, softmaxes and losses stay
float32.
"""

from __future__ import annotations

from functools import cache

import torch

PRECISIONS = ("auto", "fp32", "bf16")
TOLERANCE = 2e-2  # of a bf16 product of random operands; rounding alone gives about 4e-3


def check_precision(precision: str) -> None:
    """Raise ValueError unless it is "auto", "fp32" or "bf16"."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r} must be one of {', '.join(PRECISIONS)}")


def pick_precision(precision: str, device: torch.device) -> torch.dtype:
    """The operands' type: "auto" takes bfloat16 where `has_bf16` says that it is worth it.

    "bf16" is taken at its word anywhere; without the instructions it is slow, but not wrong.
    """
    check_precision(precision)
    if precision == "auto":
        precision = "bf16" if has_bf16(device) else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


def precision_name(precision: str, device: torch.device) -> str:
    """What "auto" stands for on the device: "fp32" or "bf16"."""
    return "bf16" if pick_precision(precision, device) is torch.bfloat16 else "fp32"


@cache
def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware, and rightly (a self-test).

    The rule looks at the device and never at a clock, so that the same machine gives the same
    bits.
    """
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        native = device.type == "cpu" and _cpu_has_bf16()
    return native and _passes_self_test(device)


def _cpu_has_bf16() -> bool:
    """AVX-512 with bf16 or AMX on x86; PyTorch tells by names that differ between versions."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name)() for name in names if hasattr(torch.cpu, name))


def _passes_self_test(device: torch.device) -> bool:
    """A thin product and its transpose in bfloat16 against float32."""
    stream = torch.Generator().manual_seed(0)
    head = torch.randn(2, 10, 96, generator=stream).to(device)
    space = torch.randn(2, 250, 96, generator=stream).to(device)
    try:
        for left, right in ((head, space.mT), (head @ space.mT, space)):
            exact = left @ right
            found = torch.bmm(left.bfloat16(), right.bfloat16()).float()
            if not (found - exact).norm() < TOLERANCE * exact.norm():
                return False
    except RuntimeError:  # no such kernel
        return False
    return True


def pick_device(device: str | torch.device) -> torch.device:
    """`"auto"` is the GPU where there is one, else the CPU."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device={device!r} is not a device: {error}") from None
