"""The stage `embed` replaces what it computes, and keeps everything else."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from hume_turtle.datasets.images import ArrayImages, ImageDataset
from hume_turtle.encoders.encoder import Encoder
from hume_turtle.pipeline import embed, pretrain
from hume_turtle.pipeline.settings import Settings
from hume_turtle.pretraining.augmentations import image_tensor
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
    suite.params["resume"] = resume
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


def few(suite, dataset: str, split: str) -> ImageDataset:
    """Six images in place of a real dataset's."""
    pixels = np.random.default_rng(len(split)).integers(0, 256, (6, 3, 3), dtype=np.uint8)
    return ImageDataset(dataset, split, ArrayImages(pixels), np.arange(6) % 2, ("0", "1"))


@pytest.fixture
def few_images(monkeypatch):
    monkeypatch.setattr(embed, "load_images", few)


@pytest.fixture
def no_images(monkeypatch):
    def missing(*_):
        raise FileNotFoundError("digits: no images")

    monkeypatch.setattr(embed, "load_images", missing)


def content(suite, kind: str = "") -> dict[str, bytes]:
    """Files alone, without folders."""
    return {name: made for name, made in tree(suite.data / kind).items() if made is not None}


@pytest.mark.parametrize("resume", [True, False])
def test_nothing_but_the_stages_own_files_is_replaced(suite, few_images, resume):
    suite.params["resume"] = resume
    suite.params["embed"] |= {"spaces": ["pixels", "off-the-list"], "encoders": {}}
    suite.params["embed"]["encoders"]["off-the-list"] = "pixels"
    embed.run(suite, "digits")
    suite.params["embed"]["spaces"] = ["pixels"]
    save(suite, "nobody-knows", np.ones((6, 2), np.float32), "train", source="data.zip")
    save(suite, "pixels", np.ones((12, 2), np.float32), "all", source="data.zip")
    folder = suite.data / "embeddings" / "digits"
    (folder / "notes.txt").write_text("mine")
    shutil.copytree(folder, folder.parent / "another-dataset")
    before = content(suite)
    suite.params["embed"]["precision"] = {"pixels": "fp16"}  # other rows: the stage's own change
    embed.run(suite, "digits")
    changed = {name for name, made in content(suite).items() if before.get(name) != made}
    own = {f"embeddings/digits/pixels/{name}" for name in ("train.npy", "test.npy")}
    assert changed == own | {name.replace(".npy", ".json") for name in own}


def test_each_space_has_its_own_precision(suite, few_images):
    spaces = {"half": "fp16", "other": "bf16", "pixels": "fp32"}
    section = {"spaces": list(spaces), "encoders": {"half": "pixels", "other": "pixels"}}
    section |= {"precision": {"half": "fp16", "pixels": "fp32"}}
    suite.params["embed"] = section | {"extraction": {"precision": "bf16"}}
    embed.run(suite, "digits")
    for space, precision in spaces.items():
        sidecar = suite.data / "embeddings" / "digits" / space / "train.json"
        assert json.loads(sidecar.read_text())["precision"] == precision


def test_a_dataset_has_its_own_spaces_and_a_suite_its_splits(suite, few_images):
    suite.params["embed"] |= {"spaces": ["letters"], "splits": ["test"]}
    suite.params["embed"]["datasets"] = {"digits": ["pixels"]}
    embed.run(suite, "digits")
    made = [path.stem for path in (suite.data / "embeddings").rglob("*.npy")]
    assert made == ["test"]
    assert set(tree(suite.data / "labels" / "digits")) == {"test.npy", "classes.json"}


def test_a_suite_of_the_test_split_needs_no_other_imported(suite, no_images):
    save(suite, "pixels", np.zeros((3, 2), np.float32), "test", source="data.zip")
    with pytest.raises(ValueError, match="only the test split of pixels was imported"):
        embed.run(suite, "digits")
    suite.params["embed"]["splits"] = ["test"]
    embed.run(suite, "digits")


@pytest.mark.parametrize("labelled", ["test", None])
def test_labels_of_one_split_are_enough_where_all_was_imported(suite, no_images, labelled):
    for split in ("train", "test"):
        save(suite, "pixels", np.zeros((3, 2), np.float32), split, source="data.zip")
    if labelled:
        save_labels(suite.data / "labels", "digits", labelled, np.arange(3))
    before = tree(suite.data)
    embed.run(suite, "digits")
    assert content(suite).items() <= before.items()


def test_a_space_can_be_added_to_one_imported_with_test_labels_only(suite, few_images, capsys):
    for split in ("train", "test"):
        save(suite, "imported", np.zeros((6, 2), np.float32), split, source="data.zip")
    save_labels(suite.data / "labels", "digits", "test", np.arange(6) % 2)
    suite.params["embed"]["spaces"] = ["imported", "pixels"]
    embed.run(suite, "digits")
    assert "digits train: imported without labels" in capsys.readouterr().out
    np.testing.assert_array_equal(suite.labels("digits", "train"), np.arange(6) % 2)


@pytest.mark.parametrize("listed", [True, False])
def test_imported_labels_are_compared_before_any_image_is_embedded(suite, few_images, listed):
    """Also where the imported space is off the list: its labels would be overwritten."""
    save(suite, "imported", np.zeros((6, 2), np.float32), "test", source="data.zip")
    save(suite, "imported", np.zeros((6, 2), np.float32), "train", source="data.zip")
    save_labels(suite.data / "labels", "digits", "test", np.zeros(6, int))
    suite.params["embed"]["spaces"] = ["pixels", *["imported"] * listed]
    before = content(suite)
    with pytest.raises(ValueError, match="digits test: the imported labels are not those of"):
        embed.run(suite, "digits")
    save_labels(suite.data / "labels", "digits", "test", np.arange(6) % 2)
    save(suite, "imported", np.zeros((5, 2), np.float32), "train", source="data.zip")
    with pytest.raises(ValueError, match=r"train: 5 rows of imported .* 6 images"):
        embed.run(suite, "digits")
    assert content(suite).keys() == before.keys()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"encoders": {"last": "clip-vit-l14"}}, "did you mean clip-vit-l-14"),
        ({"encoders": {"last": "bit"}, "checkpoints": {"last": "none.pt"}}, "no weight file at no"),
        ({"encoders": {"last": "moco"}}, "'moco' needs the checkpoint file that pretraining"),
        ({"encoders": {"last": "bit"}, "weights": "none"}, "weights='none' must be one of"),
        ({"precision": {"last": "fp8"}}, "embed.precision of last='fp8' must be one of fp32, fp16"),
        ({"precision": {"lost": "fp16"}}, "embed.precision: unknown lost; known are pixels, last"),
        ({"extraction": {"existing": "update"}}, "embed.extraction: unknown existing"),
        ({"prompts": "clip"}, "embed.prompts='clip' must be one of published, turtle, plain"),
    ],
)
def test_what_is_wrong_with_the_last_space_is_said_before_the_first(
    suite, few_images, section, message
):
    suite.params["embed"] |= {"spaces": ["pixels", "last"], **section}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        embed.run(suite, "digits")
    assert content(suite) == {}


def test_random_weights_are_for_encoders_without_a_file(suite):
    suite.params["embed"] |= {"weights": "random", "checkpoints": {"dino": "dino.pt"}}
    network = suite.network_path("moco", "digits")
    network.parent.mkdir(parents=True)
    network.touch()
    weights = {s: embed.encoder_of(suite, "digits", s)["weights"] for s in ("moco", "dino", "bit")}
    assert weights == {"moco": "pretrained", "dino": "pretrained", "bit": "random"}


def test_images_of_both_splits_are_looked_for_first(suite, monkeypatch):
    def only_train(suite, dataset, split):
        if split == "test":
            raise FileNotFoundError("digits test: no images")
        return few(suite, dataset, split)

    monkeypatch.setattr(embed, "load_images", only_train)
    with pytest.raises(FileNotFoundError, match="digits test"):
        embed.run(suite, "digits")
    assert content(suite) == {}


def test_texts_have_the_precision_of_the_images_and_the_chosen_prompts(
    suite, few_images, monkeypatch
):
    seen = []

    def load_encoder(name, **_):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(9, 4))

        def encode_text(texts):
            seen.append((network[1].weight.dtype, texts))
            return torch.ones(len(texts), 4)

        return Encoder(name, 4, {"dtype": "fp32"}, image_tensor, network, encode_text)

    def texts(**section):
        seen.clear()
        suite.params["embed"] = {"spaces": ["clip-rn50"], "weights": "random", **section}
        embed.run(suite, "mnist")
        return [dtype for dtype, _ in seen], [text for _, (text,) in seen]

    monkeypatch.setattr(embed, "load_encoder", load_encoder)
    suite.params["resume"] = True
    published = ['a photo of the number: "0".', 'a photo of the number: "1".']
    half = {"precision": {"clip-rn50": "fp16"}}
    assert texts(**half) == ([torch.float16] * 2, published)
    assert texts(**half) == ([], [])  # kept
    assert texts() == ([torch.float32] * 2, published)
    assert texts(prompts="turtle")[1] == ["doughnut", "linear"]
    assert texts(prompts="plain")[1] == ["a photo of a 0.", "a photo of a 1."]
    assert texts(prompts="plain") == ([], [])


def test_moco_is_trained_where_it_is_a_space_and_was_not_imported(suite, monkeypatch):
    jobs = []
    monkeypatch.setattr(pretrain, "in_parallel", lambda _, given, __: jobs.extend(given))
    suite.params.update(datasets=["digits", "pets", "cars"], pretrain={"seed": 0, "moco": {}})
    suite.params["embed"] = {"spaces": ["moco"], "splits": ["test"], "datasets": {"pets": ["bit"]}}
    save(suite, "moco", np.zeros((3, 2), np.float32), "test", source="data.zip")
    pretrain.run(suite)
    assert [dataset for _, _, dataset in jobs] == ["cars"]
    with pytest.raises(ValueError, match="pretrain: unknown resume"):
        pretrain.run(Settings(suite.folder, {**suite.params, "pretrain": {"resume": True}}))
