"""Many files appear together or not at all."""

import os
from pathlib import Path

import pytest

from hume_turtle.released.staging import staging
from tests.helpers.trees import tree

PLACES = [Path("a/x.npy"), Path("b/c/y.npy"), Path("z.npy")]


def write(folder: Path, text: str = "new") -> None:
    for place in PLACES:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text)


def test_files_appear_in_their_places_and_nothing_else(tmp_path):
    root = tmp_path / "deep" / "root"
    with staging(root, PLACES) as folder:
        assert folder.is_relative_to(root)  # the same disk: moves, no copies
        write(folder)
        assert not (root / PLACES[0]).exists()
    assert {k for k, v in tree(root).items() if v == b"new"} == set(map(str, PLACES))
    assert not list(root.glob(".staging*"))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_or_interrupt_leaves_nothing(tmp_path, error):
    (tmp_path / "kept").write_text("old")
    before = tree(tmp_path)

    def interrupted():
        with staging(tmp_path / "new" / "root", PLACES) as folder:
            write(folder)
            raise error

    with pytest.raises(error):
        interrupted()
    assert tree(tmp_path) == before


def test_what_is_there_is_refused_before_the_block_or_replaced(tmp_path):
    (tmp_path / "z.npy").write_text("old")
    before = tree(tmp_path)
    with pytest.raises(ValueError, match=r"z\.npy is there already"), staging(tmp_path, PLACES):
        pytest.fail("the block ran")
    assert tree(tmp_path) == before
    with staging(tmp_path, PLACES, overwrite=True) as folder:
        write(folder)
    assert (tmp_path / "z.npy").read_text() == "new"
    assert not list(tmp_path.glob(".staging*"))


def test_a_folder_in_the_way_is_never_replaced(tmp_path):
    (tmp_path / "z.npy").mkdir()
    with (
        pytest.raises(ValueError, match=r"there already"),
        staging(tmp_path, PLACES, overwrite=True),
    ):
        pytest.fail("the block ran")


def test_what_came_during_the_block_is_kept(tmp_path):
    def overtaken():
        with staging(tmp_path, PLACES) as folder:
            write(folder)
            (tmp_path / "z.npy").write_text("somebody else's")

    with pytest.raises(ValueError, match=r"there already"):
        overtaken()
    assert tree(tmp_path) == {"z.npy": b"somebody else's"}


@pytest.mark.parametrize("calls", range(6))
def test_a_failure_in_the_middle_of_the_moves_restores_every_file(tmp_path, monkeypatch, calls):
    write(tmp_path, "old")
    before, replace, count = tree(tmp_path), os.replace, 0

    def fails_once(*arguments):
        nonlocal count
        count += 1
        if count == calls + 1:
            raise KeyboardInterrupt
        replace(*arguments)

    monkeypatch.setattr("os.replace", fails_once)
    with pytest.raises(KeyboardInterrupt), staging(tmp_path, PLACES, overwrite=True) as folder:
        write(folder)
    assert tree(tmp_path) == before


def test_two_files_of_one_place_and_too_little_room(tmp_path):
    with pytest.raises(ValueError, match=r"more than one"), staging(tmp_path, PLACES * 2):
        pytest.fail("the block ran")
    with pytest.raises(ValueError, match=r"free"), staging(tmp_path / "new", PLACES, size=1 << 62):
        pytest.fail("the block ran")
    assert tree(tmp_path) == {}
