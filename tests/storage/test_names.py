"""Names of datasets, read from where the package is."""

from hume_turtle.storage import names
from hume_turtle.storage.names import reported_sizes


def test_an_installed_package_reads_its_own_copy(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "hume_turtle"
    (package / "reported").mkdir(parents=True)
    copy = package / "reported" / "dataset_sizes.csv"
    copy.write_text("dataset,classes,train,test\nshapes,2,30,10\n")
    monkeypatch.setattr(names, "__file__", str(package / "storage" / "names.py"))
    reported_sizes.cache_clear()
    assert reported_sizes() == {"shapes": {"classes": 2, "train": 30, "test": 10}}
    monkeypatch.undo()
    reported_sizes.cache_clear()
    assert len(reported_sizes()) == 26
