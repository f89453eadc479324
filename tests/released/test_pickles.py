"""One number is read from a pickle; whatever else a pickle can do does not happen."""

import contextlib
import pickle
import pickletools

import numpy as np
import pytest

from hume_turtle.released.pickles import MAX_PICKLE, Refused, read_number
from tests.released.test_archives import Payload

KEY = "CV_Score"
# As NumPy 1.26 wrote it: {"CV_Score": np.float64(0.5)} in protocol 4.
OF_NUMPY_1 = (
    b"\x80\x04\x95w\0\0\0\0\0\0\0}\x94\x8c\x08CV_Score\x94\x8c\x15numpy.core.multiarray\x94"
    b"\x8c\x06scalar\x94\x93\x94\x8c\x05numpy\x94\x8c\x05dtype\x94\x93\x94\x8c\x02f8\x94\x89\x88\x87"
    b"\x94R\x94(K\x03\x8c\x01<\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0t\x94b"
    b"C\x08\0\0\0\0\0\0\xe0?\x94\x86\x94R\x94s."
)


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("number", [np.float64(0.1), 0.1, np.float32(0.5), np.int64(7), 7])
def test_the_number_comes_back(protocol, number):
    for stated in ({KEY: number}, {"a": np.float64(3), "b": "x", KEY: number, "c": {"d": None}}):
        assert read_number(pickle.dumps(stated, protocol), KEY) == number


def test_pickles_of_another_numpy():
    assert read_number(OF_NUMPY_1, KEY) == 0.5


def test_pickles_do_not_run(tmp_path):
    content = pickle.dumps({KEY: Payload(tmp_path / "ran")})
    with pytest.raises(Refused, match=r"holds '(posix|nt)\.mkdir', which is not a number"):
        read_number(content, KEY)
    assert not (tmp_path / "ran").exists()
    pickle.loads(content)
    assert (tmp_path / "ran").exists()  # unprotected, it does run


@pytest.mark.parametrize("name", ["builtins eval", "numpy load", "numpy.core.multiarray _recon"])
def test_names_other_than_those_of_numbers(name):
    module, attribute = name.split()
    old = f"c{module}\n{attribute}\n.".encode()
    new = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(t)]) + t.encode() for t in name.split())
    for content in (old, new + b"\x93."):
        with pytest.raises(Refused, match=r"which is not a number"):
            read_number(content, KEY)


def nested(levels: int, pair: bytes) -> bytes:
    return b"\x80\x04K\x01" + pair * levels


BOMBS = {
    "deep": nested(60_000, b"\x85") + b".",
    "a deep key": b"\x80\x04}" + nested(60_000, b"\x85")[2:] + b"K\x01s.",
    "wide": nested(60, b"\x94h\0\x86")[:-3] + b".",
    "a wide key": b"\x80\x04}K\x01" + b"q\0h\0\x86" * 60 + b"K\x01s.",
    "a wide name": b"\x80\x04K\x01" + b"q\0h\0\x86" * 60 + b"\x8c\x01x\x93.",
    "a far memo": b"\x80\x04K\x01r\xff\xff\xff\xff.",
    "long bytes": b"\x80\x04B\xff\xff\xff\x7fxx.",
    "a long frame": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "a huge number": b"\x80\x04}\x8c\x08CV_Score\x8a\xff" + b"\x7f" * 255 + b"s.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name):
    import tracemalloc

    assert len(BOMBS[name]) < MAX_PICKLE
    tracemalloc.start()
    with pytest.raises(Refused, match=r"^it "):
        read_number(BOMBS[name], KEY)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


@pytest.mark.parametrize(
    ("stated", "match"),
    [
        ({KEY: "0.5"}, "finite number 'CV_Score'"),
        ({KEY: np.float64("nan")}, "finite number"),
        ({"score": 0.5}, "finite number"),
        ([0.5], "instruction EMPTY_LIST"),
        ({KEY: np.ones(2)}, "_reconstruct', which is not a number"),
        ({1: 0.5}, "under names"),
        ({KEY: 0.5, "x": bytes(MAX_PICKLE)}, "above"),
    ],
)
def test_pickles_of_other_things(stated, match):
    with pytest.raises(Refused, match=match):
        read_number(pickle.dumps(stated), KEY)


def test_numbers_in_another_byte_order():
    with pytest.raises(Refused, match=r"little-endian"):
        read_number(OF_NUMPY_1.replace(b"\x8c\x01<", b"\x8c\x01>"), KEY)


def test_cut_off_and_damaged_pickles():
    content = pickle.dumps({KEY: np.float64(0.5)})
    assert next(pickletools.genops(content))[0].name == "PROTO"
    for length in range(len(content)):
        with pytest.raises(Refused, match=r"^it "):
            read_number(content[:length], KEY)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        damaged = bytearray(content)
        for place in rng.integers(len(content), size=3):
            damaged[place] = rng.integers(256)
        with contextlib.suppress(Refused):
            assert isinstance(read_number(bytes(damaged), KEY), float)
