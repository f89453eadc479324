"""HUME's archive of embeddings becomes an embedding cache, bit for bit, or changes nothing."""

import json
import zipfile

import numpy as np
import pytest

from hume_turtle.released import embeddings
from hume_turtle.released.embeddings import import_hume_embeddings
from hume_turtle.storage.embeddings import load_embedding, load_labels, load_sidecar
from tests.helpers.trees import tree
from tests.released.test_archives import Payload, npy, write_zip

ROWS = {"train": 12, "test": 5, "traintest": 17}


def member(space, dataset, split, suffix=""):
    return f"data/representations/{space}/{dataset}{split}{suffix}.npy"


def targets(dataset, split):
    return f"data/labels/{dataset}{split}_targets.npy"


@pytest.fixture
def arrays():
    """The layout of data.zip: MoCo in both variants, DINO raw only, CIFAR-10 joined only."""
    rng = np.random.default_rng(0)
    made = {}
    for split, rows in ROWS.items():
        moco = rng.normal(size=(rows, 4))
        made[member("mocov2", "cifar10020", split)] = moco.astype(np.float32)
        unit = moco / np.linalg.norm(moco, axis=1, keepdims=True)
        made[member("mocov2", "cifar10020", split, "_l2")] = unit.astype(np.float32)
        made[member("dino", "cifar10020", split)] = rng.normal(size=(rows, 6))  # float64
        made[targets("cifar10020", split)] = rng.integers(20, size=rows)
    made[member("mocov2", "imagenet1000", "train", "_l2")] = np.ones((3, 2), np.float16)
    made[member("clip", "cifar10", "traintest")] = rng.normal(size=(17, 3)).astype(np.float32)
    made[targets("cifar10", "traintest")] = rng.integers(10, size=17).astype(np.int32)
    return made


def archive_of(tmp_path, arrays):
    contents = {"data/": b"", "data/README": b"hello"}
    contents |= {name: npy(array) for name, array in arrays.items()}
    contents["__MACOSX/" + member("dino", "cifar10", "train")] = b"added by macOS"
    return write_zip(tmp_path / "data.zip", contents)


def test_arrays_arrive_in_our_names(tmp_path, arrays):
    output = tmp_path / "out"
    found = import_hume_embeddings(archive_of(tmp_path, arrays), output)
    for space, theirs in (("moco", "mocov2"), ("dino", "dino")):
        for split in ("train", "test"):
            where = output / "embeddings", "cifar100-20", space, split
            source = member(theirs, "cifar10020", split)
            expected = arrays[source].astype(np.float32)
            np.testing.assert_array_equal(load_embedding(*where, verify=True), expected)
            path = output / "embeddings" / "cifar100-20" / space / f"{split}.npy"
            assert path.read_bytes() == npy(expected)  # the bytes that save_embedding writes
            sidecar = load_sidecar(*where)
            assert sidecar["settings"] == {"source": source, "unit_length": False}
            assert sidecar["encoder"] == space
            assert sidecar["mean_square"] == pytest.approx(np.square(expected).mean())
    for split in ("train", "test"):
        labels = load_labels(output / "labels", "cifar100-20", split)
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(labels, arrays[targets("cifar10020", split)])
    assert not (output / "embeddings/cifar100-20/moco/all.npy").exists()
    assert set(found.paths) == {path for path in output.rglob("*") if path.is_file()}
    assert any("README" in note for note in found.notes)
    assert any(note.startswith("skipped 6 arrays") for note in found.notes)  # 3 joined, 3 unit


def test_what_has_no_raw_rows_or_no_parts(tmp_path, arrays):
    output = tmp_path / "out"
    import_hume_embeddings(archive_of(tmp_path, arrays), output)
    assert load_sidecar(output / "embeddings", "imagenet", "moco", "train")["settings"][
        "unit_length"
    ]
    joined = load_embedding(output / "embeddings", "cifar10", "clip", "all")
    np.testing.assert_array_equal(joined, arrays[member("clip", "cifar10", "traintest")])
    assert len(load_labels(output / "labels", "cifar10", "all")) == 17


def renamed(arrays, old, new):
    for name in [name for name in arrays if old in name]:
        arrays[name.replace(old, new)] = arrays.pop(name)


def test_undocumented_names_are_renamed_or_refused(tmp_path, arrays):
    import_hume_embeddings(archive_of(tmp_path, arrays), tmp_path / "expected")
    renamed(arrays, "cifar10020", "cifar100_coarse")
    renamed(arrays, "dino", "dinov2_vitg14")
    archive = archive_of(tmp_path, arrays)
    with pytest.raises(ValueError, match=r"--rename 'cifar100_coarse'=OURS .* 'dinov2_vitg14'="):
        import_hume_embeddings(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    rename = {"cifar100_coarse": "cifar100-20", "dinov2_vitg14": "dino"}
    import_hume_embeddings(archive, tmp_path / "out", rename=rename)
    expected, found = tree(tmp_path / "expected"), tree(tmp_path / "out")
    assert found.keys() == expected.keys()
    for name, content in expected.items():
        assert found[name] == content or name.endswith(".json")  # which names the source
    renaming = {**rename, "dinov2_vitg14": "moco"}  # as mocov2 is called here
    with pytest.raises(ValueError, match=r"more than one file"):
        import_hume_embeddings(archive, tmp_path / "twice", rename=renaming)
    assert not (tmp_path / "twice").exists()


def test_unit_rows_serve_where_the_raw_ones_lack_a_split(tmp_path, arrays):
    del arrays[member("mocov2", "cifar10020", "test")]
    import_hume_embeddings(archive_of(tmp_path, arrays), tmp_path)
    for split in ("train", "test"):  # never one split of each variant
        rows = load_embedding(tmp_path / "embeddings", "cifar100-20", "moco", split)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)


def test_existing_files_are_refused_or_replaced(tmp_path, arrays):
    archive, output = archive_of(tmp_path, arrays), tmp_path / "out"
    kept = output / "embeddings" / "cifar100-20" / "moco" / "other.npy"
    import_hume_embeddings(archive, output)
    kept.write_text("mine")
    before = tree(output)
    with pytest.raises(ValueError, match=r"already exists; pass --overwrite"):
        import_hume_embeddings(archive, output)
    assert tree(output) == before
    import_hume_embeddings(archive, output, overwrite=True)
    assert tree(output) == before  # the same bytes again, the other file kept


def bad(name, array):
    return lambda arrays: arrays.__setitem__(name, array)


NAN = np.full((5, 4), np.nan, np.float32)
HUGE = np.full((5, 4), 1e300)  # not finite in float32


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (bad(member("mocov2", "cifar10020", "test"), NAN), "NaN"),
        (bad(member("mocov2", "cifar10020", "test"), HUGE), "infinite"),
        (bad(member("mocov2", "cifar10020", "test"), np.ones((6, 4))), "has (5|6) rows, another"),
        (bad(targets("cifar10020", "test"), np.ones(6, int)), "6"),
        (bad(targets("cifar10020", "test"), np.ones(5)), "dtype float64"),
        (bad(member("dino", "cifar10020", "test"), np.ones((5, 4), int)), "dtype int64"),
        (bad(member("moco", "cifar10020", "test"), np.ones((5, 4))), "more than one file"),
        (bad("b/" + member("dino", "cifar10020", "test"), np.ones((5, 4))), "different folders"),
        (lambda arrays: arrays.clear(), "no member of the layout"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_refusal_leaves_everything_as_it_was(tmp_path, arrays, change, match, overwrite):
    output = tmp_path / "out"
    if overwrite:
        import_hume_embeddings(archive_of(tmp_path, arrays), output)
    change(arrays)
    archive = archive_of(tmp_path, arrays)
    before = tree(tmp_path)
    with pytest.raises(ValueError, match=match):
        import_hume_embeddings(archive, output, overwrite=overwrite)
    assert tree(tmp_path) == before


def hostile(tmp_path, arrays):
    """Archives of the right layout with one thing wrong."""
    link = zipfile.ZipInfo(member("bit", "stl10", "train"))
    link.external_attr = 0o120777 << 16
    objects = np.array([[Payload(tmp_path / "ran")]], dtype=object)
    good = {name: npy(array) for name, array in arrays.items()}
    extra = {
        "escape": {"../x.npy": b""},
        "absolute": {"/x.npy": b""},
        "twin": {member("..", "stl10", "train"): npy(np.ones((2, 2)))},
        "link": {link: b"/etc/passwd"},
        "objects": {member("bit", "stl10", "train"): npy(objects, allow_pickle=True)},
        "bomb": {member("bit", "stl10", "train"): npy(np.zeros((3_000_000, 2)))},
    }
    for name, members in extra.items():
        yield write_zip(tmp_path / f"{name}.zip", good | members)
    whole = write_zip(tmp_path / "cut.zip", good)
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) - 40])
    yield whole
    damaged = write_zip(tmp_path / "damaged.zip", good, zipfile.ZIP_STORED)
    data, name = bytearray(damaged.read_bytes()), member("mocov2", "cifar10020", "test").encode()
    data[data.index(name) + len(name) + 140] ^= 1  # in its elements: a wrong checksum
    damaged.write_bytes(data)
    yield damaged


def test_hostile_archives_leave_everything_as_it_was(tmp_path, arrays):
    archives = list(hostile(tmp_path, arrays))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    before = tree(tmp_path)
    for archive in archives:
        with pytest.raises(ValueError):  # noqa: PT011  the messages are test_archives.py's
            import_hume_embeddings(archive, tmp_path / "out")
        assert tree(tmp_path) == before, archive.name
        assert not (tmp_path / "ran").exists()


def test_an_interrupt_leaves_nothing(tmp_path, arrays, monkeypatch):
    archive = archive_of(tmp_path, arrays)
    before = tree(tmp_path)
    open_array, calls = embeddings.open_array, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return open_array(*arguments)

    monkeypatch.setattr(embeddings, "open_array", interrupted)
    with pytest.raises(KeyboardInterrupt):
        import_hume_embeddings(archive, tmp_path / "out")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_does_not_grow_with_the_array(tmp_path, dtype, order):
    """32 MB go through small buffers, and columns become rows on the way."""
    import tracemalloc

    rows = np.random.default_rng(0).normal(size=(1 << 15, 256)).astype(dtype, order=order)
    path = tmp_path / "data.zip"
    write_zip(path, {member("dino", "stl10", "train"): npy(rows)}, zipfile.ZIP_STORED)
    tracemalloc.start()
    import_hume_embeddings(path, tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < rows.nbytes / 4
    stated = json.loads((tmp_path / "out/embeddings/stl10/dino/train.json").read_text())
    assert stated["rows"] == len(rows)
    found = load_embedding(tmp_path / "out" / "embeddings", "stl10", "dino", "train", verify=True)
    np.testing.assert_array_equal(found, rows.astype(np.float32))
    assert found.flags.c_contiguous


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
def test_columns_become_rows(tmp_path, arrays, dtype):
    name = member("dino", "cifar10020", "train")
    arrays[name] = np.asfortranarray(arrays[name].astype(dtype))
    assert b"'fortran_order': True" in npy(arrays[name])
    import_hume_embeddings(archive_of(tmp_path, arrays), tmp_path / "out")
    path = tmp_path / "out/embeddings/cifar100-20/dino/train.npy"
    assert path.read_bytes() == npy(arrays[name].astype(np.float32, order="C"))
