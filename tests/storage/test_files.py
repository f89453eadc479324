"""Files appear whole or not at all."""

import pytest

from hume_turtle.storage.files import atomic_write


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
