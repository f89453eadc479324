"""The device, and the precision of matrix products: float32, or operands in bfloat16.

Only the operands of the products change. Weights, optimiser state, softmaxes and losses stay
float32.
"""

from __future__ import annotations

import torch

PRECISIONS = ("auto", "fp32", "bf16")


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


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware.

    On x86 that is AVX-512 with bf16 or AMX; PyTorch tells by names that differ between versions.
    They tell what the processor has; where the environment holds PyTorch to less, it is not used.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    flags = [getattr(torch.cpu, name)() for name in names if hasattr(torch.cpu, name)]
    allowed = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return device.type == "cpu" and allowed and any(flags)


def pick_device(device: str | torch.device) -> torch.device:
    """`"auto"` is the GPU where there is one, else the CPU.

    Raises ValueError for what is no device, and for a GPU where there is none.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        picked = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device={device!r} is not a device: {error}") from None
    if picked.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={str(device)!r}: PyTorch finds no GPU here; take auto or cpu")
    return picked
