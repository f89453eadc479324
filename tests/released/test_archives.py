"""Hostile and damaged archives, arrays and checkpoints are refused, and none of them runs."""

import io
import os
import pickle
import stat
import struct
import warnings
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from hume_turtle.released import archives
from hume_turtle.released.archives import (
    as_matrix,
    open_archive,
    open_array,
    read_checkpoint,
    unpacked,
)


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def npy(array, **options) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def checkpoint(state) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def write_zip(path, members, compression=zipfile.ZIP_DEFLATED):
    """members: {name or ZipInfo: bytes}."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@contextmanager
def only_array(path):
    """The one member of an archive, unpacked and opened as a matrix of real numbers."""
    with open_archive(path) as archive:
        (info,) = archive.infolist()
        with unpacked(archive, info, path.parent) as member:
            yield open_array(member, info.filename, 2, "f")


def refused_array(path, match):
    with pytest.raises(ValueError, match=match), only_array(path):
        pytest.fail("it was opened")
    assert not list(path.parent.glob(".member"))


def refused(path, match):
    with pytest.raises(ValueError, match=match), open_archive(path):
        pytest.fail("it was opened")


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/etc/x", "a//x", "./x", "C:/x", "c:x", "..\\x", "a\\..\\x", "a\0/../x"],
)
def test_names_that_leave_the_archive(tmp_path, name):
    info = zipfile.ZipInfo("placeholder")
    info.filename = name  # past ZipInfo's own mending
    refused(write_zip(tmp_path / "x.zip", {"fine.npy": b"", info: b"out"}), "name|path")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices(tmp_path, kind):
    info = zipfile.ZipInfo("link")
    info.external_attr = (kind | 0o777) << 16
    refused(write_zip(tmp_path / "x.zip", {info: b"/etc/passwd"}), "link or a device")


def test_names_that_appear_twice(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("data/a.npy", b"1")
        archive.writestr("data/A.npy", b"2")
    refused(tmp_path / "x.zip", "appears twice")


def patched(path, signature: bytes, offset: int, content: bytes):
    """Overwrite a field of the last record with this signature."""
    data = bytearray(path.read_bytes())
    place = data.rindex(signature) + offset
    data[place : place + len(content)] = content
    path.write_bytes(data)
    return path


def test_an_encrypted_member_and_an_unknown_compression(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"a": b"1"})
    refused(patched(path, b"PK\1\2", 8, b"\1\0"), "encrypted")
    path = write_zip(tmp_path / "x.zip", {"a": b"1"}, zipfile.ZIP_LZMA)
    refused(path, "compression method 14")


def test_bombs(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "x.zip", {"zeros": bytes(archives.RATIO_FROM + 1)})
    refused(path, "declares .* compressed")
    path = write_zip(tmp_path / "x.zip", {"a": bytes(60), "b": bytes(60)}, zipfile.ZIP_STORED)
    monkeypatch.setattr(archives, "MAX_BYTES", 100)
    refused(path, "120 bytes; the limit is 100")


@pytest.mark.parametrize("declared", [10, 1000])
def test_a_size_that_the_stream_does_not_have(tmp_path, declared):
    array = np.arange(100, dtype=np.float32).reshape(10, 10)
    path = write_zip(tmp_path / "x.zip", {"a.npy": npy(array)})
    patched(path, b"PK\1\2", 24, struct.pack("<I", declared))
    refused_array(path, r"a\.npy")


def test_a_bomb_that_hides_its_size(tmp_path):
    """The header declares what the member declares; the stream would go on."""
    array = np.zeros((10, 10), np.float32)
    path = write_zip(tmp_path / "x.zip", {"a.npy": npy(array) + bytes(1 << 20)})
    patched(path, b"PK\1\2", 24, struct.pack("<I", len(npy(array))))
    refused_array(path, "damaged")


def test_cut_off_and_damaged_archives(tmp_path):
    rows = np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32)
    path = write_zip(tmp_path / "x.zip", {"a.npy": npy(rows)})
    whole = path.read_bytes()
    for content in (b"", b"no zip", whole[:200], whole[: len(whole) // 2], whole[:-10]):
        path.write_bytes(content)
        refused(path, "not a complete zip archive")
    path.write_bytes(whole[:1000] + bytes(50) + whole[1050:])
    refused_array(path, "damaged")
    with pytest.raises(FileNotFoundError), open_archive(tmp_path / "missing.zip"):
        pass


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_comes_back(tmp_path, dtype, order):
    array = np.random.default_rng(0).normal(size=(10, 5)).astype(dtype, order=order)
    with only_array(write_zip(tmp_path / "x.zip", {"a.npy": npy(array)})) as found:
        np.testing.assert_array_equal(found, array)


def test_an_array_of_objects_does_not_run(tmp_path):
    content = npy(np.array([[Payload(tmp_path / "ran")]], dtype=object), allow_pickle=True)
    assert pickle.dumps(Payload(tmp_path / "ran"))[:2] in content  # it is the real thing
    refused_array(write_zip(tmp_path / "x.zip", {"a.npy": content}), "Python objects")
    assert not (tmp_path / "ran").exists()


def made_header(text: str, version=b"\1\0") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"no array", "not an .npy"),
        (npy(np.ones((2, 2)))[:30], "not an .npy"),
        (made_header("(" * 5000), "not an .npy"),
        (made_header("{'descr': '<f4', 'fortran_order': False, 'shape': __import__('os')}"), "npy"),
        (made_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -2)}"), "not an .npy"),
        (made_header("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999, 9)}"), "an .npy"),
        (made_header("{}", version=b"\3\0"), "not an .npy"),
        (npy(np.ones((2, 2))) + b"more", "its header says"),
        (npy(np.ones((2, 2), int)), "dtype int64"),
        (npy(np.ones((2, 2), complex)), "dtype complex"),
        (npy(np.zeros((2, 2), [("a", "f4")])), "dtype"),
        (npy(np.ones(4)), "shape"),
        (npy(np.ones((0, 4))), "shape"),
    ],
)
def test_arrays_of_other_kinds(tmp_path, content, match):
    refused_array(write_zip(tmp_path / "x.zip", {"a.npy": content}), match)


def load(tmp_path, content):
    with open_archive(write_zip(tmp_path / "x.zip", {"a.pt": content})) as archive:
        return read_checkpoint(archive, archive.infolist()[0], tmp_path)


def test_a_checkpoint_comes_back(tmp_path):
    state = torch.nn.Linear(3, 2).state_dict()
    loaded = load(tmp_path, checkpoint({"phi1": state}))["phi1"]
    np.testing.assert_array_equal(as_matrix(loaded["weight"], "weight"), state["weight"])
    np.testing.assert_array_equal(as_matrix(loaded["bias"], "bias", 1), state["bias"])


def test_checkpoints_do_not_run(tmp_path):
    buffer = io.BytesIO()
    torch.save({"a": Payload(tmp_path / "ran")}, buffer, _use_new_zipfile_serialization=False)
    contents = {
        "more than tensors": checkpoint({"weight": Payload(tmp_path / "ran")}),
        "not a complete zip": buffer.getvalue(),
        "not a complete zip ": pickle.dumps(Payload(tmp_path / "ran")),
    }
    for match, content in contents.items():
        with pytest.raises(ValueError, match=match.strip()):
            load(tmp_path, content)
        assert not (tmp_path / "ran").exists()
    torch.load(io.BytesIO(contents["more than tensors"]), weights_only=False)
    assert (tmp_path / "ran").exists()  # unprotected, it does run


def test_checkpoints_of_other_kinds(tmp_path, monkeypatch):
    program = io.BytesIO(checkpoint({}))
    with zipfile.ZipFile(program, "a") as archive:
        archive.writestr("archive/constants.pkl", b"")
    whole = checkpoint({"a": torch.ones(100)})
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(archives.RATIO_FROM + 1))
    for content, match in [
        (program.getvalue(), "a program"),
        (whole[:-100], "not a complete zip"),
        (bomb.getvalue(), "compressed"),
        (checkpoint([torch.ones(2)]), "holds a list"),
    ]:
        with pytest.raises(ValueError, match=match):
            load(tmp_path, content)
    monkeypatch.setattr(archives, "MAX_CHECKPOINT", 100)
    with pytest.raises(ValueError, match=r"above 100"):
        load(tmp_path, whole)


def test_tensors_that_are_not_what_they_seem():
    huge = torch.ones(1).as_strided((1 << 20, 1 << 20), (0, 0))  # one number, claimed 2⁴⁰ times
    with pytest.raises(ValueError, match=r"claims more"):
        as_matrix(huge, "weight")
    for value in (
        [1.0],
        torch.ones(3),
        torch.ones(2, 2, dtype=torch.int64),
        torch.ones(2, 2).to_sparse(),
        torch.ones(2, 2, device="meta"),
        torch.ones(0, 2),
    ):
        with pytest.raises(ValueError, match=r"not a tensor of 2"):
            as_matrix(value, "weight")
    with pytest.raises(ValueError, match=r"NaN"):
        as_matrix(torch.full((2, 2), torch.nan), "weight")
    assert as_matrix(torch.ones(2, 3, dtype=torch.bfloat16).T, "weight").dtype == np.float32
