"""Files of embeddings in every format that is read, and what is refused in one line."""

from __future__ import annotations

import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
import torch

from hume_turtle.commands.arrays import open_arrays, open_spaces

NAMES = ["a.jpg", "b, c.jpg", 'd "e".jpg', "f\ng.jpg", "NA"]


@pytest.fixture
def rows(tmp_path, monkeypatch) -> np.ndarray:
    """Five rows (5, 3) float32; the current directory is empty."""
    monkeypatch.chdir(tmp_path)
    return np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def frame(rows, names=None) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=[f"x{i}" for i in range(rows.shape[1])])
    if names is not None:
        table.insert(0, "file", names)
    return table


def opened(path: str):
    (space,), names = open_spaces([path])
    return space, names


def test_npz_of_one_array_and_of_several(rows):
    np.savez("one.npz", z=rows)
    np.savez_compressed("two.npz", z=rows, y=np.arange(5))
    np.testing.assert_array_equal(opened("one.npz")[0], rows)
    np.testing.assert_array_equal(opened("two.npz:z")[0], rows)
    np.testing.assert_array_equal(open_arrays(["two.npz:y"], 1)[0], range(5))
    with pytest.raises(ValueError, match=r"two.npz holds several arrays \(z, y\).*two.npz:z"):
        opened("two.npz")
    with pytest.raises(ValueError, match=r"two.npz has no array 'x'; it has z, y"):
        opened("two.npz:x")


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors(rows, zipped):
    def save(content, name):
        torch.save(content, name, _use_new_zipfile_serialization=zipped)

    tensor = torch.from_numpy(rows)
    save(torch.nn.Parameter(tensor), "a.pt")
    save({"z": tensor.bfloat16(), "epoch": 3}, "b.pth")
    save({"z": tensor, "w": tensor.half()}, "c.pt")
    np.testing.assert_array_equal(opened("a.pt")[0], rows)
    np.testing.assert_array_equal(opened("b.pth")[0], tensor.bfloat16().float())
    np.testing.assert_array_equal(opened("c.pt:w")[0], rows.astype(np.float16))
    torch.save(tensor.to_sparse(), "d.pt")
    np.testing.assert_array_equal(opened("d.pt")[0], tensor)
    with pytest.raises(ValueError, match=r"several arrays \(z, w\)"):
        opened("c.pt")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables_with_and_without_names(rows, suffix):
    def save(table, name, **options):
        getattr(table, f"to_{suffix}")(f"{name}.{suffix}", **options)

    save(frame(rows), "plain", index=False)
    save(frame(rows, NAMES), "named", index=False)
    save(frame(rows), "counted")  # pandas' own first column
    save(frame(rows).set_index(pd.Index(NAMES)), "indexed")
    for name in ("plain", "named", "counted", "indexed"):
        space, names = opened(f"{name}.{suffix}")
        np.testing.assert_allclose(space, rows, rtol=1e-6)
        assert space.dtype == np.float32
        wanted = NAMES if suffix == "parquet" else [*NAMES[:4], ""]  # pandas reads NA as nothing
        assert names == (None if name in ("plain", "counted") else wanted)


@pytest.mark.parametrize(
    "text",
    [
        "0.5,1,2\n3,4,5\n",
        "0,1,2\n0.5,1,2\n3,4,5\n",  # the header that pandas writes for an array
        "\ufeffx;y;z\n0.5;1;2\n3;4;5\n",
        "id,x,y,z\n7,0.5,1,2\n9,3,4,5\n",
        "a.jpg,0.5,1,2\nb.jpg,3,4,5\n",
        ",0,1,2\n0,0.5,1,2\n1,3,4,5\n",
        "file\t0\t1\t2\na.jpg\t0.5\t1\t2\nb.jpg\t3\t4\t5",
        "x,y,z\na.jpg,0.5,1,2\nb.jpg,3,4,5\n",  # R's header lacks the first column's
    ],
)
def test_csv_files_of_other_programs(rows, text):
    Path("z.csv").write_text(text, encoding="utf-8")
    space, names = opened("z.csv")
    np.testing.assert_array_equal(space, [[0.5, 1, 2], [3, 4, 5]])
    assert names in (None, ["a.jpg", "b.jpg"], ["7", "9"])
    assert (names is None) == (not any(part in text for part in ("jpg", "id")))


def test_names_that_are_not_utf8_survive(rows):
    Path("z.csv").write_bytes(b"file,x,y\n\xff.jpg,0.5,1\nb.jpg,3,4\n")
    assert opened("z.csv")[1] == ["\udcff.jpg", "b.jpg"]


def test_labels_and_one_column(rows):
    Path("y.csv").write_text("file,class\na.jpg,16777217\nb.jpg,2\n")
    np.testing.assert_array_equal(open_arrays(["y.csv"], 1)[0], [16777217, 2])
    np.testing.assert_array_equal(open_arrays(["y.csv"], 2)[0], [[16777217], [2]])


def test_a_column_of_lists(rows):
    table = pd.DataFrame({"file": NAMES, "embedding": list(rows)})
    table.to_parquet("z.parquet")
    space, names = opened("z.parquet")
    np.testing.assert_array_equal(space, rows)
    assert names == NAMES


def test_rows_of_other_names_do_not_belong_together(rows):
    frame(rows, NAMES).to_parquet("a.parquet")
    frame(rows + 1, [*NAMES[:3], "x", "y"]).to_parquet("b.parquet")
    np.save("c.npy", rows)
    assert open_spaces(["c.npy", "a.parquet"])[1] == NAMES
    with pytest.raises(ValueError, match=r"row 3 is 'f\\ng.jpg' in a.parquet, but 'x' in b"):
        open_spaces(["a.parquet", "c.npy", "b.parquet"])


def test_without_pyarrow_the_package_is_named(rows, monkeypatch):
    frame(rows).to_parquet("a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        opened("a.parquet")
    assert caught.value.name == "pyarrow"


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ("no.csv", "no file no.csv"),
        ("no.npz:z", "no file no.npz"),
        ("z.h5", "z.h5: cannot read .h5; files read: .npy .npz .pt .pth .parquet .csv"),
        ("z", "z: cannot read this; files read"),
        ("bad.npy", "bad.npy is not an .npy file of numbers"),
        ("bad.npz", "bad.npz is not an .npz file"),
        ("object.npz", "object.npz: z cannot be read: Object arrays"),
        ("zip.npz", "zip.npz holds |S5, not numbers"),
        ("bad.pt", "bad.pt is not a file of tensors alone"),
        ("bad.parquet", "bad.parquet is not a .parquet file"),
        ("bad.csv", "bad.csv is empty: it has no rows"),
        ("code.pt", "code.pt is not a file of tensors alone"),
        ("none.pt", "none.pt holds no array"),
        ("text.pt", "text.pt is not a file of tensors alone: damaged, or of another kind"),
        ("utf16.csv", "utf16.csv is not text in UTF-8: save it as such"),
        ("void.csv", "void.csv is empty"),
        ("void.npy", "void.npy is empty: its shape is (0, 3)"),
        ("header.csv", "header.csv is empty: it has no rows"),
        ("names.csv", "names.csv has no column of numbers"),
        ("text.csv", "text.csv: column 'kind' holds 'cat' in row 0, not a number: leave"),
        ("slip.csv", "slip.csv: column 'x' holds '1..5' in row 2, not a number"),
        ("headless.csv", "headless.csv: column 2 holds 'u' in row 1, not a number"),
        ("ragged.csv", "ragged.csv cannot be read: Error tokenizing data"),
        ("short.csv", "short.csv has NaN or infinite values (1 of "),
        ("answer.csv", "answer.csv: column 'Label' looks like the answer"),
        ("lists.parquet", "lists.parquet: the lists of column 'z' differ in length"),
        ("beside.parquet", "beside.parquet: column 'z' holds lists: leave the columns beside"),
        ("nan.npy", "nan.npy has NaN or infinite values (2 of "),
        ("flat.npy", "flat.npy: all 5 rows are the same, so there are no classes"),
        ("y.npy", "y.npy has 1 dimensions, (5,), not two, (n, d)"),
        ("a.npy ./a.npy", "./a.npy is given twice"),
        ("a.npy four.npy", "four.npy has 4 rows, but a.npy has 5"),
    ],
)
def test_bad_files_are_refused_in_one_line(rows, paths, message):
    for name in ("bad.npy", "bad.npz", "bad.pt", "bad.parquet", "bad.csv", "z.h5", "z"):
        Path(name).write_text("words alone")
    torch.save({"f": Path}, "code.pt")
    torch.save({"a": 1}, "none.pt")
    Path("text.pt").write_text("hello")
    Path("utf16.csv").write_text("x,y\n1,2\n", encoding="utf-16")
    Path("void.csv").touch()
    Path("header.csv").write_text("x,y\n")
    Path("names.csv").write_text("file\na.jpg\nb.jpg\n")
    np.savez("object.npz", z=np.array([{}]))
    with ZipFile("zip.npz", "w") as archive:
        archive.writestr("a.txt", "words")
    Path("text.csv").write_text("file,x,kind\na.jpg,1,cat\n")
    Path("slip.csv").write_text("x,y\n1,2\n3,4\n1..5,6\n7,8\n")
    Path("headless.csv").write_text("1,2\n3,u\n")
    Path("ragged.csv").write_text("x,y\n1,2\n3,4,5,6\n")
    Path("short.csv").write_text("x,y\n1,2\n3\n")
    Path("answer.csv").write_text("x,y,Label\n1,2,0\n3,4,1\n")
    pd.DataFrame({"z": [[1.0], [1.0, 2.0]]}).to_parquet("lists.parquet")
    pd.DataFrame({"z": [[1.0], [1.0]], "n": [1, 2]}).to_parquet("beside.parquet")
    broken = rows.copy()
    broken[3:, 1] = np.nan, np.inf
    arrays = {"void": rows[:0], "nan": broken, "flat": np.ones((5, 2)), "y": rows[:, 0], "a": rows}
    for name, array in {**arrays, "four": rows[:4]}.items():
        np.save(f"{name}.npy", array)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        open_spaces(paths.split())
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
