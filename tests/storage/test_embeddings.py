"""The embedding cache: what is written, that it repeats, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from hume_turtle.datasets.registry import load_dataset
from hume_turtle.encoders.registry import load_encoder
from hume_turtle.storage.embeddings import (
    embedding_path,
    is_imported,
    kept_rows,
    kept_rows_of,
    load_embedding,
    load_labels,
    load_sidecar,
    load_spaces,
    save_embedding,
    save_labels,
)
from tests.helpers.embed import embed

PIXELS = load_encoder("pixels")
WHERE = ("digits", "pixels", "train")


def test_spaces_are_loaded_at_the_scale_of_the_training_split(tmp_path):
    for split in ("test", "train"):
        raw = embed(load_dataset("digits", split), PIXELS)
        save_embedding(tmp_path, "digits", split, raw, PIXELS)
        np.testing.assert_array_equal(load_embedding(tmp_path, "digits", "pixels", split), raw)
    (train,), (test,) = (load_spaces(tmp_path, "digits", ["pixels"], s) for s in ("train", "test"))
    assert np.sqrt(np.mean(train.astype(float) ** 2)) == pytest.approx(1, abs=1e-6)
    scale = 1 / np.sqrt(load_sidecar(tmp_path, *WHERE)["mean_square"])
    assert scale != 1
    assert test.tobytes() == (raw_test(tmp_path) * np.float32(scale)).tobytes()
    (mapped,) = load_spaces(tmp_path, "digits", ["pixels"], "test", scale="none")
    assert isinstance(mapped, np.memmap)
    assert mapped.tobytes() == raw_test(tmp_path).tobytes()
    with pytest.raises(ValueError, match="scale"):
        load_spaces(tmp_path, "digits", ["pixels"], "test", scale="unit")


def test_a_test_split_alone_has_its_own_scale_and_no_other_split_does(tmp_path):
    rows = np.random.default_rng(0).normal(3, 2, (40, 3)).astype(np.float32)
    for split in ("all", "test"):
        save_embedding(tmp_path, "digits", split, rows, PIXELS)
    (scaled,) = load_spaces(tmp_path, "digits", ["pixels"], "test")
    assert np.mean(scaled.astype(float) ** 2) == pytest.approx(1, rel=1e-6)
    save_embedding(tmp_path, "digits", "train", rows / 2, PIXELS)
    (scaled,) = load_spaces(tmp_path, "digits", ["pixels"], "test")
    assert np.mean(scaled.astype(float) ** 2) == pytest.approx(4, rel=1e-6)
    save_embedding(tmp_path, "other", "validation", rows, PIXELS)
    with pytest.raises(FileNotFoundError, match=r"no sidecar at .*train\.json"):
        load_spaces(tmp_path, "other", ["pixels"], "validation")


def test_imported_is_what_all_wanted_splits_are(tmp_path):
    imported = replace(PIXELS, settings={"source": "data.zip"})
    save_embedding(tmp_path, "digits", "test", np.ones((2, 2)), imported)
    assert is_imported(tmp_path, "digits", "pixels", ["test"])
    assert not is_imported(tmp_path, "digits", "pixels")
    save_embedding(tmp_path, "digits", "train", np.ones((2, 2)), PIXELS)
    assert not is_imported(tmp_path, "digits", "pixels")
    save_embedding(tmp_path, "digits", "train", np.ones((2, 2)), imported)
    assert is_imported(tmp_path, "digits", "pixels")


def raw_test(root) -> np.ndarray:
    return load_embedding(root, "digits", "pixels", "test")


def test_the_mean_square_is_that_of_all_rows(tmp_path):
    """However many pieces they are read in; the last one is smaller."""
    rows = np.random.default_rng(0).normal(2, 3, (2500, 3)).astype(np.float32)
    save_embedding(tmp_path, "digits", "train", rows, PIXELS)
    expected = np.mean(rows.astype(np.float64) ** 2)
    assert load_sidecar(tmp_path, *WHERE)["mean_square"] == pytest.approx(expected, rel=1e-13)


def test_float16_rows_are_scaled_in_float32(tmp_path):
    path = save_embedding(tmp_path, "digits", "train", np.full((4, 3), 2.0), PIXELS)
    np.save(path, np.full((4, 3), 2, np.float16))
    (rows,) = load_spaces(tmp_path, "digits", ["pixels"], "train")
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, np.ones((4, 3)))


def test_spaces_that_lack_other_images_are_not_loaded_together(tmp_path):
    other = replace(PIXELS, name="other")
    for encoder, skipped in ((PIXELS, [2]), (other, [3])):
        path = save_embedding(tmp_path, "digits", "train", np.ones((4, 3)), encoder)
        path = path.with_suffix(".json")
        sidecar = json.loads(path.read_text())
        sidecar["skipped"] = [{"row": row, "path": "", "error": ""} for row in skipped]
        path.write_text(json.dumps(sidecar))
    np.testing.assert_array_equal(kept_rows(sidecar), [0, 1, 2, 4])
    kept = kept_rows_of(tmp_path, "digits", ["pixels", "pixels"], "train")
    np.testing.assert_array_equal(kept, [0, 1, 3, 4])
    for scale in ("unit-rms", "none"):
        with pytest.raises(ValueError, match=r"pixels and other.*image 2"):
            load_spaces(tmp_path, "digits", ["pixels", "other"], "train", scale)


def test_sidecar_states_the_file_and_both_repeat_byte_for_byte(tmp_path):
    rows = np.arange(12, dtype=np.float64).reshape(4, 3)
    first = save_embedding(tmp_path / "a", "digits", "train", rows, PIXELS, made_by="a test")
    second = save_embedding(tmp_path / "b", "digits", "train", rows, PIXELS, made_by="a test")
    assert first == embedding_path(tmp_path / "a", *WHERE)
    sidecar = json.loads(first.with_suffix(".json").read_text())
    assert (sidecar["rows"], sidecar["dimensions"]) == (4, 3)
    assert (sidecar["encoder"], sidecar["dataset"], sidecar["split"]) == WHERE[1::-1] + WHERE[2:]
    assert sidecar["made_by"] == "a test"
    for suffix in (".npy", ".json"):
        assert first.with_suffix(suffix).read_bytes() == second.with_suffix(suffix).read_bytes()
    assert sorted(p.name for p in first.parent.iterdir()) == ["train.json", "train.npy"]


def test_memory_map_gives_the_same_rows_read_only(tmp_path):
    rows = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    save_embedding(tmp_path, "digits", "train", rows, PIXELS)
    mapped = load_embedding(tmp_path, *WHERE, mmap=True, verify=True)
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    np.testing.assert_array_equal(mapped, rows)
    np.testing.assert_array_equal(load_embedding(tmp_path, *WHERE), rows)


def test_a_file_that_is_not_the_sidecars_is_refused(tmp_path):
    path = save_embedding(tmp_path, "digits", "train", np.ones((4, 3)), PIXELS)
    np.save(path, np.zeros((4, 3), np.float32))
    load_embedding(tmp_path, *WHERE)  # the shape alone cannot tell
    with pytest.raises(ValueError, match=r"checksum"):
        load_embedding(tmp_path, *WHERE, verify=True)
    np.save(path, np.zeros((4, 2), np.float32))
    with pytest.raises(ValueError, match=r"\(4, 2\).*\(4, 3\)"):
        load_embedding(tmp_path, *WHERE)
    path.with_suffix(".json").write_text('{"rows": 4}')
    with pytest.raises(ValueError, match=r"dimensions, mean_square, skipped, sha256"):
        load_embedding(tmp_path, *WHERE)


def test_missing_files_and_names_that_leave_the_root(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"sidecar"):
        load_embedding(tmp_path, *WHERE)
    save_embedding(tmp_path, "digits", "train", np.ones((4, 3)), PIXELS).unlink()
    with pytest.raises(FileNotFoundError, match=r"train.npy"):
        load_embedding(tmp_path, *WHERE)
    for name in ("..", "a/b", ""):
        with pytest.raises(ValueError, match=r"part of a path"):
            embedding_path(tmp_path, name, "pixels", "train")
    with pytest.raises(ValueError, match=r"\(n, d\)"):
        save_embedding(tmp_path, "digits", "train", np.ones(4), PIXELS)


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = save_embedding(tmp_path, "digits", "train", np.ones((4, 3)), PIXELS)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match=r"disk full"):
        save_embedding(tmp_path, "digits", "train", np.zeros((4, 3)), PIXELS)
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 2


def test_labels_come_back_as_they_went(tmp_path):
    dataset = load_dataset("coloured-digits", "test")
    path = save_labels(tmp_path, dataset.name, "test", dataset.labels.astype(np.int32))
    assert path == tmp_path / "coloured-digits" / "test.npy"
    save_labels(tmp_path, dataset.name, "test", dataset.attributes["background"], kind="background")
    labels = load_labels(tmp_path, dataset.name, "test")
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, dataset.labels)
    background = load_labels(tmp_path, dataset.name, "test", kind="background")
    np.testing.assert_array_equal(background, dataset.attributes["background"])
    with pytest.raises(ValueError, match=r"integers"):
        save_labels(tmp_path, dataset.name, "test", np.ones((3, 2)))
    with pytest.raises(FileNotFoundError):
        load_labels(tmp_path, dataset.name, "train")
