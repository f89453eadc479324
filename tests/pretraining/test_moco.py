"""MoCo in tiny trainings of both settings: the loss, kills, refusals, learning."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hume_turtle.datasets.images import ArrayImages
from hume_turtle.datasets.registry import load_dataset
from hume_turtle.pretraining import checkpoints, moco, views
from hume_turtle.pretraining.augmentations import preprocess
from hume_turtle.pretraining.checkpoints import load_checkpoint
from hume_turtle.pretraining.moco import Training, pretrain
from hume_turtle.pretraining.networks import STEMS, resnet18
from hume_turtle.pretraining.settings import MocoRecipe
from hume_turtle.pretraining.training import resolve, seeded

CPU = torch.device("cpu")
TINY = {
    "architecture": "resnet18-stl",
    "size": 8,
    "hidden": 8,
    "projection": 4,
    "epochs": 3,
    "warmup_epochs": 1,
    "batch_size": 8,
    "memory": 16,
}
STEPS = 2  # in an epoch of the images below
BEFORE = [2.357624, 4.747968, 5.510010]  # losses of the small MoCo when it had its own training
SMALL = {"steps": 30, "batch_size": 48, "width": 8, "memory": 96}


def stand_in(architecture: str) -> nn.Sequential:
    """As many features as ResNet-18 gives, in a hundredth of its time."""

    def block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]

    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 512)]
    return nn.Sequential(*block(3, 8, 1), *block(8, 16, 2), *pool)


@pytest.fixture(scope="module", autouse=True)
def small_resnet18():
    with pytest.MonkeyPatch.context() as patch:
        for module in (moco, checkpoints):
            patch.setattr(module, "resnet18", stand_in)
        yield


def noise() -> ArrayImages:
    return ArrayImages(np.random.default_rng(0).integers(0, 256, (18, 8, 8, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def images():
    return noise()


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits", "train").images


def training(**changed) -> Training:
    """Before its first step, of images that are all noise."""
    settings = resolve(MocoRecipe, {**TINY, "mean": (0.5,) * 3, "std": (0.25,) * 3, **changed})
    return Training(views.PhotoViews(noise(), settings), 0, CPU)


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory):
    """An uninterrupted training: its file and its checkpoint."""
    path = tmp_path_factory.mktemp("moco") / "moco.pt"
    return path, pretrain(images, path, TINY, device="cpu")


def kill_at_step(monkeypatch, fatal: int) -> None:
    step = Training.step

    def fragile(self, images, number):
        if number == fatal:
            raise KeyboardInterrupt
        return step(self, images, number)

    monkeypatch.setattr(Training, "step", fragile)


@pytest.mark.parametrize("fatal", [1, STEPS, 2 * STEPS + 1])
def test_killed_and_resumed_is_uninterrupted(images, finished, tmp_path, monkeypatch, fatal):
    path, state = tmp_path / "moco.pt", tmp_path / "moco.pt.state"
    options = {"device": "cpu", "save_seconds": 0}
    with monkeypatch.context() as patch:
        kill_at_step(patch, fatal)
        with pytest.raises(KeyboardInterrupt):
            pretrain(images, path, TINY, **options)
    assert not path.exists()
    assert state.exists() == (fatal >= STEPS)
    with monkeypatch.context() as patch:  # finished epochs are not repeated
        kill_at_step(patch, fatal - fatal % STEPS - 1)
        pretrain(images, path, TINY, **options)
    assert path.read_bytes() == finished[0].read_bytes()
    assert [file.name for file in tmp_path.glob("**/*") if file.is_file()] == ["moco.pt"]


def test_the_seed_decides(images, finished, tmp_path):
    other = pretrain(images, tmp_path / "moco.pt", TINY, seed=1, device="cpu")
    assert other.losses != finished[1].losses


def test_labels_are_never_asked_for(images, finished, tmp_path):
    class Unlabelled:
        def __len__(self):
            return len(images)

        def __getitem__(self, row):
            return images[row]

        def __getattr__(self, name):
            raise AssertionError(f"asked for {name}")

    pretrain(Unlabelled(), tmp_path / "moco.pt", TINY, device="cpu")
    assert (tmp_path / "moco.pt").read_bytes() == finished[0].read_bytes()


def test_a_checkpoint_gives_back_network_and_preprocessing(images, finished):
    path, checkpoint = finished
    loaded = load_checkpoint(path)
    assert (loaded.name, loaded.in_channels) == ("moco", 3)
    assert len(loaded.losses) == TINY["epochs"] * STEPS
    transform = pickle.loads(pickle.dumps(preprocess(loaded.settings)))
    batch = torch.stack([transform(image) for image in images])
    torch.testing.assert_close(batch.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(batch.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)
    features = loaded.network().eval()(batch)
    assert features.shape == (len(images), 512)
    assert torch.equal(features, checkpoint.network().eval()(batch))


def info_nce(query, key, bank, temperature):
    """Eq. (1) of MoCo (He et al., 2020), row by row."""
    losses = []
    for q, k in zip(F.normalize(query), F.normalize(key)):
        positive = math.exp(q @ k / temperature)
        negatives = sum(math.exp(q @ old / temperature) for old in bank)
        losses.append(-math.log(positive / (positive + negatives)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_loss_is_info_nce(symmetric):
    trained = training(symmetric=symmetric)
    query, key = copy.deepcopy(trained.query), copy.deepcopy(trained.key)
    banks = [bank.memory_bank.bank.clone() for bank in trained.banks]
    pair = [torch.randn(8, 3, 8, 8) for _ in range(2)]
    queries, keys = ([network(view).detach() for view in pair] for network in (query, key))
    expected = info_nce(queries[0], keys[1], banks[0], 0.2)
    if symmetric:
        expected = (expected + info_nce(queries[1], keys[0], banks[1], 0.2)) / 2
    assert trained.loss(pair).item() == pytest.approx(expected, rel=1e-4)
    remembered = trained.banks[0].memory_bank.bank
    torch.testing.assert_close(remembered[:8], F.normalize(keys[1]))
    assert torch.equal(remembered[8:], banks[0][8:])


def test_the_key_network_follows_the_query_slowly():
    trained = training(momentum=0.9, final_momentum=0.9)
    pair = [torch.randn(8, 3, 8, 8) for _ in range(2)]
    trained.step(pair, 0)  # the key network is still the query network
    before = [parameter.clone() for parameter in trained.key.parameters()]
    seen = [parameter.clone() for parameter in trained.query.parameters()]
    trained.step(pair, 1)
    for old, key, query in zip(before, trained.key.parameters(), seen):
        torch.testing.assert_close(key, 0.9 * old + 0.1 * query)
        assert key.grad is None
    assert not torch.equal(before[0], seen[0])


def test_the_momentum_grows_by_a_cosine(monkeypatch):
    momenta = []
    monkeypatch.setattr("lightly.models.utils.update_momentum", lambda *args: momenta.append(args))
    trained = training(epochs=10, momentum=0.9, final_momentum=1.0)
    trained.run(None, math.inf)
    expected = [0.95 - 0.05 * math.cos(math.pi * step / 19) for step in range(20)]
    assert [momentum for _, _, momentum in momenta] == pytest.approx(expected)


def test_the_learning_rate_warms_up_and_falls_by_a_cosine():
    trained, rates = training(epochs=10, warmup_epochs=2, lr=0.3, warmup_lr=0.03), []
    for _ in range(10 * STEPS):
        rates.append(trained.optimizer.param_groups[0]["lr"])
        trained.optimizer.step()
        trained.schedule.step()
    cosine = [0.15 + 0.15 * math.cos(math.pi * step / 15) for step in range(16)]
    assert rates == pytest.approx([0.0975, 0.165, 0.2325, 0.3, *cosine], abs=1e-9)
    assert training(warmup_epochs=0).optimizer.param_groups[0]["lr"] == 0.3


def same(a, b) -> bool:
    return a.losses == b.losses and all(torch.equal(a.state[k], b.state[k]) for k in a.state)


def test_the_small_moco_learns_and_repeats_bit_for_bit(digits, tmp_path):
    first, second = (pretrain(digits, tmp_path / f"{i}.pt", SMALL) for i in range(2))
    bank_full = SMALL["memory"] // SMALL["batch_size"]  # random keys before are easy
    assert np.mean(first.losses[-5:]) < 0.9 * np.mean(first.losses[bank_full:][:5])
    assert len(first.losses) == SMALL["steps"]  # in the middle of an epoch
    assert same(first, second)
    assert same(first, load_checkpoint(tmp_path / "0.pt"))
    assert first.settings["memory"] == SMALL["memory"]


def test_the_small_moco_is_what_it_was(digits, tmp_path):
    """The default suite's numbers rest on it; computed before the two trainings became one."""
    checkpoint = pretrain(digits, tmp_path / "moco.pt", {"steps": 3})
    assert checkpoint.losses == pytest.approx(BEFORE, rel=1e-4)


def test_the_small_moco_resumes_too(digits, tmp_path, monkeypatch):
    expected = pretrain(digits, tmp_path / "one.pt", SMALL)
    with monkeypatch.context() as patch:
        kill_at_step(patch, SMALL["steps"] - 1)
        with pytest.raises(KeyboardInterrupt):
            pretrain(digits, tmp_path / "other.pt", SMALL, save_seconds=0)
    assert same(pretrain(digits, tmp_path / "other.pt", SMALL), expected)


def test_pretraining_leaves_the_global_generator_alone(digits, images, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    pretrain(digits, tmp_path / "moco.pt", {**SMALL, "steps": 1})
    pretrain(images, tmp_path / "photo.pt", TINY, device="cpu")
    assert torch.equal(torch.rand(3), expected)


def test_bad_input_of_the_small_moco_is_refused_before_any_work(digits, tmp_path):
    path = tmp_path / "moco.pt"
    with pytest.raises(ValueError, match=r"unknown settings depth"):
        pretrain(digits, path, {"depth": 3})
    with pytest.raises(ValueError, match=r"at least two"):
        pretrain([digits[0]], path, {})
    with pytest.raises(ValueError, match=r"image 1 "):
        pretrain([digits[0], digits[0].resize((9, 8))], path, {})
    assert not path.exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"architecture": "resnet50"},
            "architecture='resnet50' must be one of resnet18-cifar, resnet18-stl",
        ),
        ({"depth": 3}, "unknown settings depth"),
        ({"dim": 64}, "dim must be 512"),
        ({"batch_size": 19}, "batch_size must be from 2 to the 18 images"),
        ({"memory": 18}, "memory must be less than the 18 images"),
        ({"epochs": 0}, "epochs=0 must be an integer >= 1"),
        ({"lr": 0}, "lr=0 must be a number > 0"),
        ({"warmup_epochs": 4}, "warmup_epochs must be from 0 to epochs"),
        ({"blur": 1.5}, "blur must be from 0 to 1"),
    ],
)
def test_unfit_settings_are_refused(images, tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        pretrain(images, tmp_path / "moco.pt", {**TINY, **changed}, device="cpu")
    assert not any(tmp_path.iterdir())


def test_the_state_of_another_training_is_refused(images, tmp_path, monkeypatch):
    path, options = tmp_path / "moco.pt", {"device": "cpu", "save_seconds": 0}
    with monkeypatch.context() as patch:
        kill_at_step(patch, STEPS + 1)
        with pytest.raises(KeyboardInterrupt):
            pretrain(images, path, TINY, **options)
    other = ArrayImages(images.pixels[::-1].copy())
    with pytest.raises(ValueError, match=r"moco\.pt\.state .*other images; remove it"):
        pretrain(other, path, TINY, **options)
    with pytest.raises(ValueError, match=r"other settings;"):
        pretrain(images, path, {**TINY, "lr": 0.1}, **options)
    with pytest.raises(ValueError, match=r"other seed;"):
        pretrain(images, path, TINY, seed=1, **options)
    pretrain(images, path, TINY, **options)


def test_a_training_that_diverges_says_so(images, tmp_path, monkeypatch):
    monkeypatch.setattr(Training, "step", lambda *_: torch.tensor(math.nan))
    with pytest.raises(FloatingPointError, match=r"smaller lr"):
        pretrain(images, tmp_path / "moco.pt", TINY, device="cpu")
    assert not any(tmp_path.iterdir())


def gratings(n: int, seed: int):
    """Waves in one of eight directions, of random phase and length, in noise: images, directions.

    Nothing but direction and length outlives a crop.
    """
    rng = np.random.default_rng(seed)
    direction = rng.integers(8, size=n)
    angle = direction * np.pi / 8 + rng.normal(0, 0.05, n)
    length, phase = rng.uniform(0.8, 1.6, n), rng.uniform(0, 2 * np.pi, n)
    angle, length, phase = (value[:, None, None] for value in (angle, length, phase))
    y, x = np.mgrid[:16, :16]
    wave = np.sin(length * (np.cos(angle) * x + np.sin(angle) * y) + phase)
    grey = 128 + 64 * wave + rng.normal(0, 20, wave.shape)
    return ArrayImages(grey.clip(0, 255).astype(np.uint8)), direction


def test_training_brings_images_of_a_kind_together(tmp_path):
    from sklearn.neighbors import KNeighborsClassifier

    (train, known), (test, asked) = gratings(320, 0), gratings(256, 1)
    settings = {**TINY, "size": 16, "hidden": 64, "projection": 32, "epochs": 5}
    settings |= {"batch_size": 64, "memory": 256, "lr": 0.1, "final_momentum": 0.99}
    settings |= {"symmetric": False, "crop": 0.5, "flip": 0.0, "jitter": 0.0, "grey": 0.0}
    checkpoint = pretrain(train, tmp_path / "moco.pt", settings, device="cpu")
    transform = preprocess(checkpoint.settings)

    def errors(network) -> float:
        """Share of test images that neighbours among eighty training images name wrongly."""
        with torch.no_grad():
            seen, other = (
                network.eval()(torch.stack([transform(image) for image in images])).numpy()
                for images in (list(train)[:80], test)
            )
        model = KNeighborsClassifier(5, metric="cosine").fit(seen, known[:80])
        return 1 - model.score(other, asked)

    untrained = seeded(0, lambda: stand_in("resnet18-stl"))  # as it was before the first step
    assert errors(checkpoint.network()) < errors(untrained) / 3


@pytest.mark.parametrize("architecture", STEMS)
def test_a_resnet18_trains(images, tmp_path, monkeypatch, architecture):
    for module in (moco, checkpoints):
        monkeypatch.setattr(module, "resnet18", resnet18)
    settings = {**TINY, "architecture": architecture, "epochs": 1, "warmup_epochs": 0}
    pretrain(images, tmp_path / "moco.pt", settings, device="cpu")
    checkpoint = load_checkpoint(tmp_path / "moco.pt")
    assert checkpoint.settings["blur"] == (0.5 if architecture == "resnet18-stl" else 0.0)
    assert checkpoint.network().eval()(torch.rand(2, 3, 8, 8)).shape == (2, 512)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_it_repeats_and_resumes(images, tmp_path, monkeypatch):
    for name in ("a.pt", "b.pt"):
        pretrain(images, tmp_path / name, TINY, device="cuda")
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    with monkeypatch.context() as patch:
        kill_at_step(patch, STEPS + 1)
        with pytest.raises(KeyboardInterrupt):
            pretrain(images, tmp_path / "c.pt", TINY, device="cuda", save_seconds=0)
    resumed = pretrain(images, tmp_path / "c.pt", TINY, device="cuda")
    assert resumed.losses == load_checkpoint(tmp_path / "a.pt").losses


class Payload:
    """A pickle that would run code."""

    def __reduce__(self):
        return print, ("executed",)


def test_a_file_that_is_no_state_is_refused(images, tmp_path, capsys):
    path, state = tmp_path / "moco.pt", tmp_path / "moco.pt.state"
    torch.save(Payload(), state)
    with pytest.raises(ValueError, match=r"not the state of a training"):
        pretrain(images, path, TINY, device="cpu")
    state.write_bytes(b"")
    with pytest.raises(ValueError, match=r"not the state of a training"):
        pretrain(images, path, TINY, device="cpu")
    assert state.exists()  # nothing of the user's is removed
    assert "executed" not in capsys.readouterr().out
