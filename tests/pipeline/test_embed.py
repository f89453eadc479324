"""The stage `embed` replaces what it computes, and keeps everything else."""

from types import SimpleNamespace

import numpy as np
import pytest

from hume_turtle.pipeline import embed
from hume_turtle.pipeline.settings import Settings
from hume_turtle.storage.embeddings import load_embedding, save_embedding, save_labels
from tests.helpers.trees import tree


@pytest.fixture
def suite(tmp_path):
    params = {"suite": "s", "root": ".", "datasets": ["digits"], "embed": {"spaces": ["pixels"]}}
    return Settings(tmp_path, params)


def save(suite, space: str, rows: np.ndarray, split: str, **settings) -> None:
    encoder = SimpleNamespace(name=space, settings=settings)
    save_embedding(suite.data / "embeddings", "digits", split, rows, encoder)


def test_spaces_that_the_suite_does_not_name_stay(suite):
    for split in ("train", "test"):
        save(suite, "other", np.ones((3, 2), np.float32), split)
    before = tree(suite.data)
    embed.run(suite, "digits")
    after = tree(suite.data)
    assert before.items() <= after.items()
    assert "embeddings/digits/pixels/train.npy" in after
    embed.run(suite, "digits")
    assert tree(suite.data) == after


@pytest.mark.parametrize("resume", [True, False])
def test_finished_embeddings_are_kept_only_where_the_stage_resumes(suite, resume):
    embed.run(suite, "digits")
    whole, root = tree(suite.data), suite.data / "embeddings"
    path = root / "digits" / "pixels" / "test.npy"
    rows = np.load(path)
    np.save(path, rows + 1)
    suite.params["embed"]["resume"] = resume
    embed.run(suite, "digits")
    found = load_embedding(root, "digits", "pixels", "test")
    np.testing.assert_array_equal(found, rows + 1 if resume else rows)
    assert resume or tree(suite.data) == whole


def test_imported_embeddings_are_kept_and_their_labels_compared(suite):
    embed.run(suite, "digits")
    labels = {split: suite.labels("digits", split) for split in ("train", "test")}
    for split, y in labels.items():
        save(suite, "imported", np.zeros((len(y), 2), np.float32), split, source="data.zip")
    imported = tree(suite.data / "embeddings" / "digits" / "imported")
    suite.params["embed"]["spaces"] = ["imported", "pixels"]
    embed.run(suite, "digits")
    assert tree(suite.data / "embeddings" / "digits" / "imported") == imported
    save_labels(suite.data / "labels", "digits", "train", labels["train"][::-1])
    with pytest.raises(ValueError, match="the imported labels are not those of the images"):
        embed.run(suite, "digits")


def test_a_space_of_which_one_split_was_imported_is_not_replaced(suite):
    save(suite, "pixels", np.zeros((3, 2), np.float32), "train", source="data.zip")
    before = tree(suite.data / "embeddings")
    with pytest.raises(ValueError, match="only the train split of pixels was imported"):
        embed.run(suite, "digits")
    assert tree(suite.data / "embeddings") == before
