"""Classes in words: the published lists, their place by label, the ensemble and its cache."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hume_turtle.encoders import text
from hume_turtle.encoders.text import (
    cached_text_features,
    load_prompts,
    load_text_features,
    plain,
    prompt_datasets,
    prompts_for,
    text_features,
)
from hume_turtle.evaluation.zero_shot import ZeroShot

SIZES = Path(__file__).parents[2] / "data" / "reported" / "dataset_sizes.csv"
STL10 = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


def embed_text(texts: list[str]) -> torch.Tensor:
    """Any deterministic text encoder: eight numbers a text, of different lengths."""
    rows = [np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint32) for text in texts]
    return torch.tensor(np.array(rows) / 2.0**31 - 0.9, dtype=torch.float32)


def class_prompts(dataset: str) -> list[list[str]]:
    """The prompts of every class in the order of the labels."""
    return prompts_for(dataset, load_prompts(dataset).keys)


def encoder(**settings) -> SimpleNamespace:
    return SimpleNamespace(name="clip-fake", settings=settings, encode_text=embed_text)


def test_every_dataset_of_the_papers_has_prompts_for_each_of_its_classes():
    with SIZES.open() as file:
        sizes = {row["dataset"]: int(row["classes"]) for row in csv.DictReader(file)}
    assert len(sizes) == 26
    sizes["cifar100-20"] = 20
    assert sizes == {name: len(class_prompts(name)) for name in prompt_datasets()}


@pytest.mark.parametrize("dataset", prompt_datasets())
def test_lists_are_well_formed(dataset):
    prompts = load_prompts(dataset)
    assert prompts.source.startswith("https://github.com/openai/CLIP/blob/main/")
    for template in prompts.templates:
        assert template.replace("{}", "", 1).isprintable()
        assert template.count("{}") == template.count("{") == template.count("}") == 1
    assert len(set(prompts.templates)) == len(prompts.templates)
    assert len(set(map(plain, prompts.keys))) == len(prompts.keys) == len(prompts.names)
    names = Counter(name for group in prompts.names for name in group)
    assert all(name and name == name.strip() and "_" not in name for name in names)
    twice = {name for name, count in names.items() if count > 1}
    assert twice == ({"missile", "sunglasses"} if dataset == "imagenet" else set())


# What CLIP is told of a label, where the published list and the labels differ in order or in
# words, and at the start, the middle and the end of some that do not.
PLACES = [
    ("aircraft", 73, "F/A-18", "a photo of a F/A-18, a type of aircraft."),
    ("birdsnap", 499, "Zone_tailed_Hawk", "a photo of a Zone tailed Hawk, a type of bird."),
    ("caltech101", 0, "BACKGROUND_Google", "a photo of a background."),
    ("caltech101", 1, "Faces", "a photo of a off-center face."),
    ("caltech101", 2, "Faces_easy", "a photo of a centered face."),
    ("caltech101", 101, "yin_yang", "a photo of a yin and yang symbol."),
    ("cars", 195, "smart fortwo Convertible 2012", "a photo of a smart fortwo Convertible 2012."),
    ("cifar100", 1, "aquarium_fish", "a photo of a aquarium fish."),
    ("clevr", 0, "3", "a photo of 3 objects."),
    ("clevr", 7, "10", "a photo of 10 objects."),
    ("country211", 0, "AD", "a photo i took in Andorra."),
    ("country211", 208, "ZA", "a photo i took in South Africa."),
    ("eurosat", 0, "AnnualCrop", "a centered satellite photo of annual crop land."),
    ("eurosat", 9, "SeaLake", "a centered satellite photo of lake or sea."),
    ("fer2013", 6, "neutral", "a photo of a neutral looking face."),
    ("flowers", 92, "ball moss", "a photo of a air plant, a type of flower."),
    ("food101", 16, "cheese_plate", "a photo of cheese plate, a type of food."),
    ("gtsrb", 14, "00014", 'a zoomed in photo of a "stop" traffic sign.'),
    ("hatefulmemes", 1, "hateful", "a hatespeech meme."),
    ("imagenet", 0, "n01440764", "a bad photo of a tench."),
    ("imagenet", 999, "n15075141", "a bad photo of a toilet paper."),
    ("kinetics700", 699, "zumba", "a photo of zumba."),
    ("kitti", 0, "no car, van or truck", "a photo i took with no car."),
    ("kitti", 1, "up to 8 m", "a photo i took of a car on my left or right side."),
    ("mnist", 0, "0", 'a photo of the number: "0".'),
    (
        "pcam",
        1,
        "tumour tissue",
        "this is a photo of lymph node containing metastatic tumor tissue",
    ),
    ("pets", 1, "american_bulldog", "a photo of a american bulldog, a type of pet."),
    ("pets", 5, "Bengal", "a photo of a Bengal, a type of pet."),
    ("resisc45", 30, "railway_station", "satellite imagery of railway station."),
    ("sst", 1, "positive", "a positive review of a movie."),
    ("sun397", 8, "apartment_building/outdoor", "a photo of a apartment building outdoor."),
    ("ucf101", 36, "HandstandPushups", "a photo of a person Hand Stand Pushups."),
]


@pytest.mark.parametrize(("dataset", "label", "key", "prompt"), PLACES)
def test_prompts_stand_where_their_labels_are(dataset, label, key, prompt):
    assert load_prompts(dataset).keys[label] == key
    assert class_prompts(dataset)[label][0] == prompt


SORTED = (
    "birdsnap",
    "food101",
    "cifar100",
    "cifar100-20",
    "dtd",
    "resisc45",
    "ucf101",
    "country211",
)


@pytest.mark.parametrize("dataset", [*SORTED, "caltech101", "eurosat", "gtsrb", "imagenet", "sst"])
def test_folders_are_labelled_in_sorted_order(dataset):
    assert list(load_prompts(dataset).keys) == sorted(load_prompts(dataset).keys)


def test_the_choices_of_prompts():
    first = {
        choice: {name: prompts_for(name, load_prompts(name).keys[:1], choice)[0] for name in PLAIN}
        for choice in text.CHOICES
    }
    assert {name: prompts[:1] for name, prompts in first["plain"].items()} == PLAIN
    assert [len(first["plain"][name]) for name in ("imagenet", "kitti", "mnist")] == [1, 1, 1]
    assert len(prompts_for("fer2013", ["surprise"], "plain")[0]) == 3  # its three names
    assert first["turtle"].pop("mnist") == ["doughnut"]
    assert first["published"].pop("mnist") == ['a photo of the number: "0".']
    assert first["turtle"] == first["published"]
    for choice in text.CHOICES:
        assert prompts_for("shapes", ["red_square"], choice) == [["a photo of a red square."]]
        with pytest.raises(
            ValueError, match=r"prompts='clip' must be one of published, turtle, pl"
        ):
            prompts_for("shapes" if choice == "plain" else "mnist", ["0"], "clip")


def test_several_names_of_a_class_are_all_prompts_of_it():
    surprised = class_prompts("fer2013")[5]
    assert len(surprised) == 3 * 6
    assert surprised[:3] == [
        f"a photo of a {w} looking face." for w in ("surprised", "shocked", "spooked")
    ]


def test_classes_are_found_by_name_whatever_their_order_and_spelling():
    prompts = dict(zip(load_prompts("pets").keys, class_prompts("pets")))
    titles = [key.replace("_", " ").title() for key in prompts]  # as torchvision calls them
    assert prompts_for("pets", titles[::-1]) == list(prompts.values())[::-1]
    assert prompts_for("pets", ["pug", "BEAGLE"]) == [prompts["pug"], prompts["beagle"]]
    assert prompts_for("kinetics700", ["passing American football in game"])[0][0] == (
        "a photo of passing American football (in game)."
    )
    assert prompts_for("aircraft", ["F-16A_B"])[0][0] == "a photo of a F-16A/B, a type of aircraft."
    assert prompts_for("flowers", ["flower 93"]) == prompts_for("flowers", ["air plant"])
    assert prompts_for("sun397", ["jail_cell", "jail/indoor"])[0][0] == "a photo of a jail cell."


def test_imagenet_by_synonyms_although_two_classes_are_called_crane():
    synonyms = [group[0] for group in load_prompts("imagenet").aliases]
    assert synonyms[0] == "tench, Tinca tinca"
    assert [label for label, name in enumerate(synonyms) if name == "crane"] == [134, 517]
    assert prompts_for("imagenet", synonyms) == class_prompts("imagenet")
    with pytest.raises(ValueError, match=r"1 of 2 .*'crane'"):
        prompts_for("imagenet", ["crane", "n01440764"])


def test_names_that_do_not_match_are_listed():
    with pytest.raises(ValueError, match=r"2 of 3 class names of 'pets'.*'poodle', 'axolotl'"):
        prompts_for("pets", ["poodle", "Beagle", "axolotl"])
    with pytest.raises(ValueError, match=r"'pug', 'Pug'"):
        prompts_for("pets", ["pug", "Pug"])
    with pytest.raises(ValueError, match=r"mean the same: ball moss"):
        prompts_for("flowers", ["air plant", "flower 93"])
    with pytest.raises(ValueError, match=r"no prompts for 'digits'.*birdsnap"):
        load_prompts("digits")


PLAIN = {
    "mnist": ["a photo of a 0."],
    "cifar10": ["a photo of a airplane."],
    "kitti": ["a photo of a a photo i took with no car.."],
    "imagenet": ["a photo of a tench."],
}


@pytest.mark.parametrize("dataset", prompt_datasets())
def test_no_prompt_is_longer_than_clip_reads(dataset):
    from open_clip import get_tokenizer

    prompts = load_prompts(dataset)
    longest = max(prompts.templates, key=len)
    texts = [longest.format(name) for group in prompts.names for name in group]
    tokens = get_tokenizer("ViT-B-32-quickgelu")(texts)  # (n, 77), the end token the largest
    assert (tokens.argmax(1) < 76).all()  # a text cut short has its end token in the last place


def test_text_features_are_the_mean_direction_of_a_classes_prompts():
    names = load_prompts("fer2013").keys
    features = text_features(encoder(), "fer2013", names)
    assert features.dtype == np.float32
    for row, prompts in zip(features, class_prompts("fer2013")):
        embedded = embed_text(prompts).double()
        embedded = embedded / embedded.norm(dim=-1, keepdim=True)
        mean = embedded.mean(dim=0)
        np.testing.assert_allclose(row, mean / mean.norm(), atol=1e-7)
    np.testing.assert_array_equal(features, text_features(encoder(), "fer2013", names))
    backwards = text_features(encoder(), "fer2013", names[::-1])
    np.testing.assert_array_equal(features[::-1], backwards)


def test_encoders_that_cannot_are_refused():
    blind = SimpleNamespace(name="dino", settings={}, encode_text=None)
    with pytest.raises(ValueError, match=r"'dino' has no text encoder"):
        text_features(blind, "stl10", STL10)
    broken = SimpleNamespace(name="nan", settings={}, encode_text=lambda t: embed_text(t) * np.nan)
    with pytest.raises(ValueError, match=r"no direction"):
        text_features(broken, "stl10", STL10)


def test_cache_gives_back_what_was_saved(tmp_path):
    made = cached_text_features(tmp_path / "a", "stl10", encoder(seed=0), STL10)
    path = tmp_path / "a" / "stl10" / "clip-fake" / "text.npy"
    silent = SimpleNamespace(name="clip-fake", settings={"seed": 0}, encode_text=None)
    np.testing.assert_array_equal(
        made, cached_text_features(tmp_path / "a", "stl10", silent, STL10)
    )
    np.testing.assert_array_equal(
        made, load_text_features(tmp_path / "a", "stl10", "clip-fake", STL10)
    )
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert sidecar["classes"] == list(STL10)
    assert (sidecar["rows"], sidecar["dimensions"], sidecar["settings"]) == (10, 8, {"seed": 0})
    cached_text_features(tmp_path / "b", "stl10", encoder(seed=0), STL10)
    again = tmp_path / "b" / "stl10" / "clip-fake" / "text.npy"
    for suffix in (".npy", ".json"):
        assert again.with_suffix(suffix).read_bytes() == path.with_suffix(suffix).read_bytes()


def test_stale_caches_are_refused_and_recomputed(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"text.json"):
        load_text_features(tmp_path, "stl10", "clip-fake", STL10)
    made = cached_text_features(tmp_path, "stl10", encoder(weights="a"), STL10)
    stale = {"settings": {"weights": "b"}}, {"class_names": STL10[::-1]}
    for change in stale:
        with pytest.raises(ValueError, match=r"stl10 in clip-fake .*are stale"):
            load_text_features(tmp_path, "stl10", "clip-fake", **{"class_names": STL10, **change})
    other = cached_text_features(tmp_path, "stl10", encoder(weights="a"), STL10[::-1])
    np.testing.assert_array_equal(other, made[::-1])

    monkeypatch.setattr(text, "load_prompts", lambda *_: load_prompts("cifar10"))
    with pytest.raises(ValueError, match=r"stale"):
        load_text_features(tmp_path, "stl10", "clip-fake", ["cat", "dog"])


def test_a_cache_of_other_prompts_is_stale_and_says_which_it_holds(tmp_path):
    numbers = [str(digit) for digit in range(10)]
    made = {
        choice: cached_text_features(tmp_path, "mnist", encoder(), numbers, choice)
        for choice in text.CHOICES
    }
    path = tmp_path / "mnist" / "clip-fake" / "text.json"
    assert json.loads(path.read_text())["prompts"] == "plain"
    found = load_text_features(tmp_path, "mnist", "clip-fake", numbers)
    np.testing.assert_array_equal(found, made["plain"])
    for choice in ("published", "turtle"):
        assert not np.array_equal(made[choice], made["plain"])
        with pytest.raises(ValueError, match="stale"):
            load_text_features(tmp_path, "mnist", "clip-fake", numbers, choice=choice)
    cached_text_features(tmp_path, "stl10", encoder(), STL10, "turtle")
    with pytest.raises(ValueError, match="stale"):  # the same texts, by another name
        load_text_features(tmp_path, "stl10", "clip-fake", STL10, choice="published")


def test_a_cache_with_other_bytes_is_refused_and_recomputed(tmp_path):
    made = cached_text_features(tmp_path, "stl10", encoder(), STL10)
    np.save(tmp_path / "stl10" / "clip-fake" / "text.npy", made[::-1])
    with pytest.raises(ValueError, match=r"checksum"):
        load_text_features(tmp_path, "stl10", "clip-fake", STL10)
    np.testing.assert_array_equal(made, cached_text_features(tmp_path, "stl10", encoder(), STL10))
    np.testing.assert_array_equal(made, load_text_features(tmp_path, "stl10", "clip-fake", STL10))


def open_clip_encoder(model, name: str) -> SimpleNamespace:
    """A text encoder around a real open_clip model, with CLIP's own tokenizer."""
    from open_clip import get_tokenizer

    tokenizer = get_tokenizer("ViT-B-32-quickgelu")

    @torch.inference_mode()
    def encode_text(texts: list[str]) -> torch.Tensor:
        return model.encode_text(tokenizer(texts)).float()

    return SimpleNamespace(name=name, settings={"weights": "random"}, encode_text=encode_text)


def check_end_to_end(model, size: int, root: Path) -> None:
    """Text features against open_clip's own builder; images against the class made from them."""
    from open_clip import build_zero_shot_classifier, get_tokenizer

    encoder = open_clip_encoder(model, "clip-random")
    features = cached_text_features(root, "stl10", encoder, STL10)
    with torch.inference_mode():
        expected = build_zero_shot_classifier(
            model,
            get_tokenizer("ViT-B-32-quickgelu"),
            STL10,
            ["a photo of a {}.", "a photo of the {}."],
        ).T  # (C, d)
        images = model.encode_image(torch.rand(3, 3, size, size)).numpy()
    np.testing.assert_allclose(features, expected.numpy(), atol=1e-5)
    cosines = images @ features.T / np.linalg.norm(images, axis=1, keepdims=True)
    labels = ZeroShot(load_text_features(root, "stl10", "clip-random", STL10)).predict(images)
    np.testing.assert_array_equal(labels, cosines.argmax(axis=1))


def test_open_clip_end_to_end_in_small(tmp_path):
    from open_clip.model import CLIP

    torch.manual_seed(0)
    vision = {"layers": 1, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 32}
    text = {"width": 32, "heads": 2, "layers": 1}
    check_end_to_end(CLIP(16, vision, text, quick_gelu=True).eval(), 32, tmp_path)


@pytest.mark.slow
def test_open_clip_end_to_end(tmp_path):
    import open_clip

    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None).eval()
    check_end_to_end(model, 224, tmp_path)


def test_classes_without_published_prompts_get_the_plain_one():
    assert prompts_for("shapes", ["red_square", "disc"]) == [
        ["a photo of a red square."],
        ["a photo of a disc."],
    ]
