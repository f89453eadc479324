"""Files appear whole or not at all."""

from pathlib import Path

import pytest

from hume_turtle.storage.files import atomic_write, new_files
from tests.helpers.trees import tree


def test_writes_text_and_bytes_and_makes_folders(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    with atomic_write(path, "w", encoding="utf-8") as file:
        file.write("τ")
    assert path.read_text(encoding="utf-8") == "τ"
    with atomic_write(str(path)) as file:
        file.write(b"\x00")
    assert path.read_bytes() == b"\x00"
    assert list(path.parent.iterdir()) == [path]


def write_half(path, error):
    with atomic_write(path, "w") as file:
        file.write("half")
        file.flush()
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(error):
        write_half(path, error)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with atomic_write(path, "w") as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_an_error_leaves_no_file_where_there_was_none(tmp_path):
    with pytest.raises(ValueError, match="stop"):
        write_half(tmp_path / "file", ValueError("stop"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "name").mkdir()
    with pytest.raises(OSError), atomic_write(tmp_path / "name") as file:  # noqa: PT011
        file.write(b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["name"]


PLACES = [Path("a/x.npy"), Path("b/c/y.npy"), Path("z.npy")]


def write(folder: Path, text: str = "new") -> None:
    for place in PLACES:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text)


def test_files_appear_in_their_places_and_nothing_else(tmp_path):
    root = tmp_path / "deep" / "root"
    with new_files(root, PLACES) as folder:
        assert folder.is_relative_to(tmp_path)  # the same disk: moves, no copies
        write(folder)
        assert not root.exists()
    assert {k for k, v in tree(root).items() if v == b"new"} == set(map(str, PLACES))
    assert not list(tmp_path.glob(".new*"))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_or_interrupt_leaves_nothing(tmp_path, error):
    (tmp_path / "kept").write_text("old")
    before = tree(tmp_path)

    def interrupted():
        with new_files(tmp_path / "new" / "root", PLACES) as folder:
            write(folder)
            raise error

    with pytest.raises(error):
        interrupted()
    assert tree(tmp_path) == before


def test_what_is_there_is_refused_before_the_block_or_replaced(tmp_path):
    (tmp_path / "z.npy").write_text("old")
    before = tree(tmp_path)
    with pytest.raises(ValueError, match=r"z\.npy already exists"), new_files(tmp_path, PLACES):
        pytest.fail("the block ran")
    assert tree(tmp_path) == before
    with new_files(tmp_path, PLACES, overwrite=True) as folder:
        write(folder)
    assert (tmp_path / "z.npy").read_text() == "new"
    assert not list(tmp_path.glob(".new*"))


def test_a_folder_in_the_way_is_never_replaced(tmp_path):
    (tmp_path / "z.npy").mkdir()
    with (
        pytest.raises(ValueError, match=r"is a folder"),
        new_files(tmp_path, PLACES, overwrite=True),
    ):
        pytest.fail("the block ran")


def test_two_files_of_one_place_and_too_little_room(tmp_path):
    with pytest.raises(ValueError, match=r"more than one"), new_files(tmp_path, PLACES * 2):
        pytest.fail("the block ran")
    with (
        pytest.raises(ValueError, match=r"free"),
        new_files(tmp_path / "new", PLACES, size=1 << 62),
    ):
        pytest.fail("the block ran")
    assert tree(tmp_path) == {}


def test_what_came_during_the_block_is_kept(tmp_path):
    def overtaken():
        with new_files(tmp_path, PLACES) as folder:
            write(folder)
            (tmp_path / "z.npy").write_text("somebody else's")

    with pytest.raises(ValueError, match=r"already exists"):
        overtaken()
    assert tree(tmp_path) == {"z.npy": b"somebody else's"}
