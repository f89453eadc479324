"""MoCo at real size, in tiny trainings: the loss, the key network, kills, refusals, learning."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from threadpoolctl import threadpool_limits
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from hume_turtle.datasets.images import ArrayImages
from hume_turtle.datasets.registry import load_dataset
from hume_turtle.pretraining import moco, pixels
from hume_turtle.pretraining.moco import MocoRecipe, Training, pretrain
from hume_turtle.pretraining.small_networks import (
    image_tensor,
    load_checkpoint,
    pretrain_moco,
    resolve,
    save_checkpoint,
)

TINY = {
    "architecture": "resnet18-stl",
    "dim": 8,
    "size": 8,
    "hidden": 8,
    "projection": 4,
    "epochs": 3,
    "warmup_epochs": 1,
    "batch_size": 8,
    "memory": 16,
}
STEPS = 2  # in an epoch of the images below


@pytest.fixture(scope="module", autouse=True)
def single_thread():
    """Threads wait for each other longer than networks as small as these take."""
    with threadpool_limits(1):
        yield


def training(**changed) -> Training:
    settings = {**TINY, "mean": (0.5,) * 3, "deviation": (0.25,) * 3, **changed}
    return Training(resolve(MocoRecipe, settings), 0, STEPS, torch.device("cpu"))


@pytest.fixture(scope="module")
def images():
    return ArrayImages(np.random.default_rng(0).integers(0, 256, (18, 8, 8, 3), dtype=np.uint8))


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
    path, state = tmp_path / "moco.pt", tmp_path / "elsewhere" / "moco.state"
    options = {"state_path": state, "device": "cpu", "save_seconds": 0}
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


def test_streamed_images_give_the_same_training(images, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "HELD", 0)
    torch.manual_seed(5)
    pretrain(images, tmp_path / "moco.pt", TINY, device="cpu")
    assert (tmp_path / "moco.pt").read_bytes() == finished[0].read_bytes()
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)  # torch's own generator was left alone


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
    preprocess = pickle.loads(pickle.dumps(moco.preprocess(loaded.settings)))
    batch = torch.stack([preprocess(image) for image in images])
    torch.testing.assert_close(batch.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(batch.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)
    features = loaded.network().eval()(batch)
    assert features.shape == (len(images), TINY["dim"])
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
    views = [torch.randn(8, 3, 8, 8) for _ in range(2)]
    queries, keys = ([network(view).detach() for view in views] for network in (query, key))
    expected = info_nce(queries[0], keys[1], banks[0], 0.2)
    if symmetric:
        expected = (expected + info_nce(queries[1], keys[0], banks[1], 0.2)) / 2
    assert trained.loss(*views).item() == pytest.approx(expected, rel=1e-4)
    remembered = trained.banks[0].memory_bank.bank
    torch.testing.assert_close(remembered[:8], F.normalize(keys[1]))
    assert torch.equal(remembered[8:], banks[0][8:])


def test_the_key_network_follows_the_query_slowly():
    trained = training(momentum=0.9, final_momentum=0.9)
    before = [parameter.clone() for parameter in trained.key.parameters()]
    batch = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8)
    trained.step(batch, STEPS)  # after the warm-up
    for old, key, query in zip(before, trained.key.parameters(), trained.query.parameters()):
        torch.testing.assert_close(key, 0.9 * old + 0.1 * query)
        assert key.grad is None
    assert not torch.equal(before[0], next(trained.query.parameters()))


def test_the_momentum_grows_by_a_cosine():
    settings = MocoRecipe(momentum=0.9, final_momentum=1.0)
    momenta = [moco.key_momentum(settings, progress) for progress in (0, 0.5, 1)]
    assert momenta == pytest.approx([0.9, 0.95, 1.0])


def test_the_learning_rate_warms_up_and_falls_by_a_cosine():
    settings = MocoRecipe(epochs=10, warmup_epochs=2, lr=0.3, warmup_lr=0.03)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    parts = [
        LinearLR(optimizer, 0.1, total_iters=2 * STEPS),
        CosineAnnealingLR(optimizer, 8 * STEPS),
    ]
    schedule = SequentialLR(optimizer, parts, [2 * STEPS])
    for step in range(10 * STEPS):
        expected = optimizer.param_groups[0]["lr"]
        assert moco.learning_rate(settings, step, STEPS) == pytest.approx(expected, abs=1e-9)
        optimizer.step()
        schedule.step()
    assert moco.learning_rate(MocoRecipe(warmup_epochs=0), 0, STEPS) == 0.3


def test_one_entrance_for_the_small_network_too(tmp_path):
    images, small = load_dataset("digits", "train").images, {"steps": 2, "memory": 96, "width": 8}
    pretrain(images, tmp_path / "one.pt", small, 3)
    save_checkpoint(pretrain_moco(images, small, 3), tmp_path / "other.pt")
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "other.pt").read_bytes()
    assert moco.preprocess(load_checkpoint(tmp_path / "one.pt").settings) is image_tensor


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"architecture": "resnet50"}, "unknown architecture 'resnet50'"),
        ({"depth": 3}, "unknown settings depth"),
        ({"dim": 12}, "multiple of 8"),
        ({"batch_size": 19}, "batch_size must be from 2 to the 18 images"),
        ({"memory": 18}, "memory must be less than the 18 images"),
        ({"epochs": 0}, "epochs must be at least 1"),
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
    settings = {**TINY, "size": 16, "dim": 64, "hidden": 64, "projection": 32, "epochs": 5}
    settings |= {"batch_size": 64, "memory": 256, "lr": 0.1, "final_momentum": 0.99}
    settings |= {"symmetric": False, "crop": 0.5, "flip": 0.0, "jitter": 0.0, "grey": 0.0}

    def accuracy(network, preprocess) -> float:
        with torch.no_grad():
            rows = [
                network.eval()(torch.stack([preprocess(image) for image in images])).numpy()
                for images in (train, test)
            ]
        return KNeighborsClassifier(5, metric="cosine").fit(rows[0], known).score(rows[1], asked)

    checkpoint = pretrain(train, tmp_path / "moco.pt", settings, device="cpu")
    preprocess = moco.preprocess(checkpoint.settings)
    untrained = training(**settings).query[0]  # as it was before the first step
    assert accuracy(checkpoint.network(), preprocess) > accuracy(untrained, preprocess) + 0.1


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
