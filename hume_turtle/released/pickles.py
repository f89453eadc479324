"""One number out of a pickle from elsewhere, which is never unpickled.

HUME's program leaves `{"CV_Score": <NumPy float64>}` beside each task. The few instructions that
write such dicts are followed here by hand, and any other ends the reading: no name that a pickle
holds is imported, nothing in it is called, and nothing grows beyond the pickle's own size.
"""

from __future__ import annotations

import math
import pickletools
import re

import numpy as np

MAX_PICKLE = 64 << 10  # bytes; the program's have about 150

CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
LITERALS = (
    *("BINFLOAT", "BININT", "BININT1", "BININT2", "LONG1"),
    *("SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES"),
)
DTYPE = "numpy dtype"
SCALARS = ("numpy.core.multiarray scalar", "numpy._core.multiarray scalar")  # NumPy 1 and 2
MARK = object()


class Refused(ValueError):
    """What a pickle holds that is not read."""


def read_number(content: bytes, key: str) -> float:
    """The finite number under a key of the dict of numbers that a pickle (protocol 3 to 5) holds.

    Raises Refused for everything else.
    """
    if len(content) > MAX_PICKLE:
        raise Refused(f"it has {len(content)} bytes, above {MAX_PICKLE}")
    try:
        value = _follow(content)
        number = value.get(key) if isinstance(value, dict) else None
        if not isinstance(number, (int, float)) or not math.isfinite(number):
            raise Refused(f"it is not a dict with a finite number {key!r}")
        return float(number)
    except Refused:
        raise
    except Exception as error:  # a malicious stream underflows the stack in a dozen ways
        raise Refused(f"it is damaged: {type(error).__name__}") from error


def _follow(content: bytes):
    """What a pickle of dicts, tuples, strings and numbers holds.

    Values are never hashed, compared with each other or printed unless they are strings: a few
    bytes can nest tuples so deep, or so often, that it would not end.
    """
    stack, memo = [], {}
    for opcode, argument, _ in pickletools.genops(content):
        name = opcode.name
        if name in LITERALS:
            stack.append(argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
            memo[len(memo) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            stack.append(MARK)
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name in ("SETITEM", "SETITEMS"):
            items = _popped(stack, 2 if name == "SETITEM" else None)
            stack[-1].update((_text(k), v) for k, v in zip(items[::2], items[1::2], strict=True))
        elif name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
            stack.append(tuple(_popped(stack, int(name[5:]) if name[5:] else None)))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            stack.append(_numpy_name(argument or " ".join(map(_text, _popped(stack, 2)))))
        elif name == "REDUCE":
            stack.append(_made(*_popped(stack, 2)))
        elif name == "BUILD":  # the state of a dtype; the second element is the byte order
            dtype, state = _popped(stack, 2)
            if not isinstance(dtype, np.dtype) or _text(state[1]) not in ("<", "|"):
                raise Refused("it holds more than numbers in little-endian order")
            stack.append(dtype)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise Refused(f"it holds more than numbers (instruction {name})")
    (value,) = stack
    return value


def _popped(stack: list, count: int | None) -> list:
    """The last `count` values, or those after the last mark, taken from the stack."""
    if count is None:
        mark = max(i for i, value in enumerate(stack) if value is MARK)
        values = stack[mark + 1 :]
        del stack[mark:]
    else:
        values = stack[-count:]
        del stack[-count:]
    return values


def _text(value) -> str:
    if not isinstance(value, str):
        raise Refused("it holds more than numbers under names")
    return value


def _numpy_name(name: str) -> str:
    """The name of what a NumPy number is made by, which stands for it on the stack."""
    if name not in (DTYPE, *SCALARS):
        raise Refused(f"it holds {name[:80].replace(' ', '.')!r}, which is not a number")
    return name


def _made(function, arguments: tuple):
    """NumPy's dtype of a code such as "f8", or a Python number from a dtype and bytes."""
    if function == DTYPE and re.fullmatch("[fiu][248]|[iub]1", _text(arguments[0])):
        return np.dtype("<" + arguments[0])
    if function in SCALARS and isinstance(arguments[0], np.dtype):
        return np.frombuffer(arguments[1], arguments[0]).item()
    raise Refused("it holds more than numbers")
