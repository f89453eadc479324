"""Extraction: killed anywhere, shared by processes, short of memory, with unreadable images.

The oracle is always the file of one uninterrupted run, byte for byte.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from joblib import cpu_count
from torch import nn

from hume_turtle.datasets.images import ArrayImages, FileImages, ImageDataset
from hume_turtle.encoders.encoder import Encoder
from hume_turtle.extraction.extract import extract, worker_count
from hume_turtle.extraction.identity import images_sha256, weights_sha256
from hume_turtle.pretraining.augmentations import image_tensor
from hume_turtle.storage.embeddings import kept_rows, load_embedding
from tests.helpers.shallow import build_shallow

N, SIDE, DIM = 50, 3, 5
QUICK = {"batch_size": 4, "workers": 0, "device": "cpu"}  # 4 blocks


class Counted(nn.Module):
    """A linear map of the pixels that counts its images, and can fail."""

    def __init__(self, seed: int = 0, fits: int = 10**9, die_at: int = 10**9, kill=None):
        super().__init__()
        torch.manual_seed(seed)
        self.linear = nn.Linear(SIDE * SIDE, DIM)
        self.images, self.calls, self.fits, self.die_at, self.kill = 0, 0, fits, die_at, kill

    def forward(self, x):
        if len(x) > self.fits:
            raise torch.OutOfMemoryError(f"{len(x)} images")
        self.calls += 1
        if self.calls > self.die_at:
            if self.kill is not None:
                os.kill(os.getpid(), self.kill)
            raise RuntimeError("the encoder died")
        self.images += len(x)
        return self.linear(x.flatten(1))


class Rounded(Encoder):
    """An encoder that can be rounded, as all those of real size."""

    def to(self, device, dtype=None):
        self.network.to(device, dtype)
        return self


def tiny(name: str = "tiny", **options) -> Encoder:
    return Rounded(name, DIM, {"options": "none"}, image_tensor, Counted(**options))


def images(n: int = N, split: str = "train", seed: int = 0) -> ImageDataset:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, SIDE, SIDE), dtype=np.uint8)
    return ImageDataset("noise", split, ArrayImages(pixels), np.arange(n) % 3, ("a", "b", "c"))


def files(folder: Path, n: int = N) -> ImageDataset:
    """The same images as files; 7 and 30 are damaged in two ways, 31 is missing."""
    from PIL import Image

    folder.mkdir()
    paths = [folder / f"{row:03}.png" for row in range(n)]
    source = images(n).images
    for path, row in zip(paths, range(n)):
        Image.Image.save(source[row], path)
    paths[7].write_bytes(paths[7].read_bytes()[:50])
    paths[30].write_bytes(b"no image at all")
    paths[31].unlink()
    return ImageDataset("noise", "train", FileImages(paths), np.arange(n) % 3, ("a", "b", "c"))


def content(path: Path) -> tuple[bytes, bytes]:
    return path.read_bytes(), path.with_suffix(".json").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[bytes, bytes]:
    """The file and sidecar of an uninterrupted run."""
    return content(extract(images(), tiny(), tmp_path_factory.mktemp("whole"), **QUICK))


def test_rows_are_what_the_encoder_gives_and_the_sidecar_says_what_they_are(tmp_path, whole):
    encoder = tiny()
    path = extract(images(), encoder, tmp_path, **QUICK)
    assert content(path) == whole
    assert sorted(file.name for file in path.parent.iterdir()) == ["train.json", "train.npy"]
    rows = load_embedding(tmp_path, "noise", "tiny", "train", mmap=True, verify=True)
    assert rows.dtype == np.float32
    expected = encoder.encode(torch.stack([image_tensor(each) for each in images()]))
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-6)
    sidecar = json.loads(whole[1])
    assert sidecar["mean_square"] == pytest.approx(np.square(rows, dtype=float).mean(), rel=1e-12)
    assert (sidecar["rows"], sidecar["dimensions"], sidecar["batch_size"]) == (N, DIM, 4)
    assert (sidecar["precision"], sidecar["skipped"]) == ("fp32", [])
    seen = encoder.network.images
    extract(images(), encoder, tmp_path, **QUICK)
    assert encoder.network.images == seen  # done already


def test_the_encoder_that_dies_is_resumed_without_repeating_finished_blocks(tmp_path, whole):
    with pytest.raises(RuntimeError, match="died"):
        extract(images(), tiny(die_at=9), tmp_path, **QUICK)  # in the third block
    path = tmp_path / "noise" / "tiny" / "train.npy"
    assert not path.exists()
    encoder = tiny()
    assert content(extract(images(), encoder, tmp_path, **QUICK)) == whole
    assert encoder.network.images == N - 2 * 16


SCRIPT = """
import sys
from tests.extraction.test_extract import QUICK, extract, images, tiny
if __name__ == "__main__":
    extract(images(), tiny({options}), sys.argv[1], **{{**QUICK, {more}}})
"""


def script(folder: Path, options: str = "", more: str = "") -> list[str]:
    path = folder / "script.py"
    path.write_text(SCRIPT.format(options=options, more=more))
    return [str(path), str(folder)]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}


def test_a_killed_process_is_resumed(tmp_path, whole):
    command = script(tmp_path, "die_at=6, kill=9", "'workers': 2")
    marked = {**ENVIRONMENT, "WORKERS_OF": str(tmp_path)}
    killed = subprocess.run([sys.executable, *command], env=marked)
    assert killed.returncode == -signal.SIGKILL
    encoder = tiny()
    assert content(extract(images(), encoder, tmp_path, **QUICK)) == whole
    assert encoder.network.images == N - 16
    for _ in range(100):  # its DataLoader workers do not outlive it for long
        if not processes_with(f"WORKERS_OF={tmp_path}"):
            break
        time.sleep(0.2)
    assert processes_with(f"WORKERS_OF={tmp_path}") == []


def processes_with(variable: str) -> list[str]:
    """Processes with that in their environment, where the system tells."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if variable.encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(process.name)
        except OSError:  # gone, or not ours
            continue
    return found


def forked(*functions) -> list[int]:
    """Each function in a process of its own, forked from this one; their exit codes."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=function) for function in functions]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        process.kill()
    return [process.exitcode for process in processes]


def die_before_call(number: int) -> None:
    """From now on the process ends at the n-th change of the disk, with no clean-up at all."""
    calls = iter(range(number))

    def dying(function):
        def wrapper(*arguments, **options):
            if next(calls, None) is None:
                os._exit(9)
            return function(*arguments, **options)

        return wrapper

    for owner, name in ((os, "replace"), (os, "unlink"), (shutil, "rmtree")):
        setattr(owner, name, dying(getattr(owner, name)))


@pytest.mark.parametrize("skipping", [False, True])
def test_killed_before_any_change_of_the_disk(tmp_path, whole, skipping):
    """Killed once at each such point, then resumed: always the same file, and never a half one."""
    dataset = files(tmp_path / "images") if skipping else images()
    options = {**QUICK, "unreadable": "skip"}
    expected = content(extract(dataset, tiny(), tmp_path / "whole", **options))
    assert (expected == whole) is not skipping
    killed, point = True, 0
    while killed:
        root = tmp_path / str(point)

        def run(root=root, point=point):
            torch.set_num_threads(1)
            die_before_call(point)
            extract(dataset, tiny(), root, **options)

        killed = forked(run) == [9]
        path = root / "noise" / "tiny" / "train.npy"
        if path.exists():
            assert path.read_bytes() == expected[0]
        assert content(extract(dataset, tiny(), root, **options)) == expected
        assert len(list(path.parent.iterdir())) == 2
        point += 1
    assert point > 10


def test_blocks_or_a_file_of_another_identity_are_refused_or_replaced(tmp_path, whole):
    with pytest.raises(RuntimeError, match="died"):
        extract(images(), tiny(die_at=9), tmp_path, **QUICK)
    others = [
        ("weights_sha256", images(), tiny(seed=1), {}),
        ("batch_size 4 instead of 8", images(), tiny(), {"batch_size": 8}),
        ("precision", images(), tiny(), {"precision": "bf16"}),
        ("images 50 instead of 49", images(N - 1), tiny(), {}),
        ("images_sha256", images(seed=1), tiny(), {}),
    ]
    for words, dataset, encoder, options in others:
        with pytest.raises(ValueError, match=words) as refused:
            extract(dataset, encoder, tmp_path, **{**QUICK, **options})
        assert "pass --overwrite" in str(refused.value)
    path = extract(images(), tiny(), tmp_path, **{**QUICK, "batch_size": "auto"})
    assert content(path) == whole  # "auto" takes the size that was begun with
    for words, dataset, encoder, options in others:
        with pytest.raises(ValueError, match=words):
            extract(dataset, encoder, tmp_path, **{**QUICK, **options})
    assert content(path) == whole
    extract(images(), tiny(seed=1), tmp_path, existing="update", **QUICK)
    assert content(path) != whole
    assert content(extract(images(), tiny(), tmp_path, existing="update", **QUICK)) == whole


def test_existing_embeddings_are_kept_updated_or_replaced(tmp_path, whole):
    def computed(existing: str, seed: int = 0) -> int:
        encoder = tiny(seed=seed)
        extract(images(), encoder, tmp_path, existing=existing, **QUICK)
        return encoder.network.images

    assert [computed(each) for each in ("resume", "update", "replace")] == [N, 0, N]
    path = tmp_path / "noise" / "tiny" / "train.npy"
    assert content(path) == whole
    assert computed("update", seed=1) == N
    other = path.read_bytes()
    with pytest.raises(RuntimeError, match="died"):
        extract(images(), tiny(die_at=9), tmp_path, existing="update", **QUICK)
    assert path.read_bytes() == other  # until the new one is whole
    assert computed("resume", seed=1) == 0  # and unfinished blocks of another are left alone
    assert computed("update") == N - 2 * 16
    assert content(path) == whole


def test_other_versions_and_devices_are_reported_and_not_acted_on(tmp_path, monkeypatch):
    from hume_turtle.extraction import extract as module

    def elsewhere(*_):
        return {"device": "cuda", "versions": {"torch": "0.1"}}

    path = extract(images(), tiny(), tmp_path, **QUICK)
    assert set(json.loads(path.with_suffix(".json").read_text())["versions"]) == {"torch", "pillow"}
    with pytest.raises(RuntimeError, match="died"):
        extract(images(split="test"), tiny(die_at=9), tmp_path, **QUICK)
    monkeypatch.setattr(module, "circumstances", elsewhere)
    encoder = tiny()
    for split in ("train", "test"):
        with pytest.warns(UserWarning, match=r"device 'cpu' instead of 'cuda'; torch .* '0.1'"):
            extract(images(split=split), encoder, tmp_path, existing="update", **QUICK)
    assert encoder.network.images == N - 2 * 16  # what was missing


def test_an_update_that_is_killed_never_resumes_the_old_blocks(tmp_path, whole):
    with pytest.raises(RuntimeError, match="died"):
        extract(images(), tiny(die_at=9), tmp_path, **QUICK)
    begun = tmp_path / "noise"
    for point in range(12):
        root = tmp_path / str(point)
        shutil.copytree(begun, root / "noise")

        def run(root=root, point=point):
            die_before_call(point)
            extract(images(), tiny(seed=1), root, existing="update", **QUICK)

        assert forked(run) == [9]
        assert content(extract(images(), tiny(), root, existing="update", **QUICK)) == whole


def test_an_unreadable_image_stops_by_name_and_can_be_skipped(tmp_path):
    dataset = files(tmp_path / "images")
    with pytest.raises(ValueError, match=r"cannot read .*007\.png: OSError"):
        extract(dataset, tiny(), tmp_path, **QUICK)
    path = extract(dataset, tiny(), tmp_path, unreadable="skip", **QUICK)  # resumed
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert [each["row"] for each in sidecar["skipped"]] == [7, 30, 31]
    assert Path(sidecar["skipped"][0]["path"]).name == "007.png"
    assert "FileNotFoundError" in sidecar["skipped"][2]["error"]
    kept = kept_rows(sidecar)
    np.testing.assert_array_equal(kept, np.delete(np.arange(N), [7, 30, 31]))
    rows = load_embedding(tmp_path, "noise", "tiny", "train", verify=True)
    expected = tiny().encode(torch.stack([image_tensor(images()[row]) for row in kept]))
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"007\.png"):  # what "stop" would not have made
        extract(dataset, tiny(), tmp_path, **QUICK)
    lost = ImageDataset("noise", "test", FileImages([tmp_path / "none"]), np.zeros(1, int), ())
    with pytest.raises(ValueError, match="no image of 'noise' can be read"):
        extract(lost, tiny(), tmp_path, unreadable="skip", **QUICK)


def test_dataloader_workers_give_the_same_bytes(tmp_path, whole):
    options = {**QUICK, "workers": 2}
    assert content(extract(images(), tiny(), tmp_path, **options)) == whole
    dataset, skip = files(tmp_path / "images"), {"unreadable": "skip"}
    with_workers = extract(dataset, tiny(), tmp_path / "2", **options, **skip)
    alone = extract(dataset, tiny(), tmp_path / "0", **QUICK, **skip)
    assert content(with_workers) == content(alone)


def test_a_batch_that_does_not_fit_is_halved(tmp_path):
    """4 → 2 where only 2 or 3 fit; resumed runs give the same."""
    encoder = tiny(fits=3)
    path = extract(images(), encoder, tmp_path / "whole", **QUICK)
    assert encoder.network.calls == N // 2
    with pytest.raises(RuntimeError, match="died"):
        extract(images(), tiny(fits=3, die_at=20), tmp_path, **QUICK)
    assert content(extract(images(), tiny(fits=3), tmp_path, **QUICK)) == content(path)
    with pytest.raises(torch.OutOfMemoryError):
        extract(images(), tiny("none", fits=0), tmp_path, **QUICK)


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def ranks(count: int, function) -> list[int]:
    """`function(rank)` in `count` processes that know of each other; their exit codes."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port()), "WORLD_SIZE": str(count)}

    def start(rank: int):
        def run():
            torch.set_num_threads(1)
            os.environ.update(address, RANK=str(rank), LOCAL_RANK=str(rank))
            function(rank)

        return run

    return forked(*map(start, range(count)))


def test_two_processes_give_the_bytes_of_one(tmp_path, whole):
    def run(rank):
        encoder = tiny()
        path = extract(images(), encoder, tmp_path, **QUICK)
        assert content(path) == whole
        assert encoder.network.images == (2 * 16, 16 + 2)[rank]

    assert ranks(2, run) == [0, 0]


def test_a_run_of_one_process_is_resumed_by_three_and_the_reverse(tmp_path, whole):
    with pytest.raises(RuntimeError, match="died"):
        extract(images(), tiny(die_at=5), tmp_path / "1", **QUICK)
    assert ranks(3, lambda rank: extract(images(), tiny(), tmp_path / "1", **QUICK)) == [0] * 3
    assert content(tmp_path / "1" / "noise" / "tiny" / "train.npy") == whole

    def killed(rank):
        os.close(2)  # the survivor's traceback
        extract(images(), tiny(die_at=5, kill=9), tmp_path / "3", **QUICK)

    assert -9 in ranks(2, killed)
    assert content(extract(images(), tiny(), tmp_path / "3", **QUICK)) == whole


@pytest.mark.parametrize("kill", [None, signal.SIGKILL])
def test_a_process_that_fails_or_is_killed_ends_the_others(tmp_path, whole, kill):
    def fails(rank):
        encoder = tiny(die_at=10 - 9 * rank, kill=kill if rank else None)  # rank 1 at once
        expected = (
            (RuntimeError, "died") if rank else (ConnectionError, "another process has ended")
        )
        with pytest.raises(expected[0], match=expected[1]):
            extract(images(), encoder, tmp_path, **QUICK)

    assert ranks(2, fails) == [0, -9 if kill else 0]
    assert content(extract(images(), tiny(), tmp_path, **QUICK)) == whole


def test_other_weights_on_one_process_are_refused_on_all(tmp_path):
    def run(rank):
        expected = (ValueError, "weights_sha256") if rank else (ConnectionError, "has ended")
        with pytest.raises(expected[0], match=expected[1]):
            extract(images(), tiny(seed=rank), tmp_path, **QUICK)

    assert ranks(2, run) == [0, 0]
    with pytest.raises(RuntimeError, match="died"):
        extract(images(), tiny(die_at=1), tmp_path / "old", **QUICK)

    def refused(rank):  # the exception of rank 0 is raised on every process
        with pytest.raises(ValueError, match="pass --overwrite"):
            extract(images(), tiny(seed=1), tmp_path / "old", **QUICK)

    assert ranks(2, refused) == [0, 0]


@pytest.mark.slow
def test_torchrun_gives_the_bytes_of_one_process(tmp_path, whole):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*torchrun, *script(tmp_path)], env=ENVIRONMENT, check=True, timeout=120)
    assert content(tmp_path / "noise" / "tiny" / "train.npy") == whole


def test_half_precision_is_stored_as_float16_and_rounded_weights_are_not_taken_for_whole(tmp_path):
    encoder = tiny()
    path = extract(images(), encoder, tmp_path, precision="bf16", **QUICK)
    rows = np.load(path, mmap_mode="r")
    assert rows.dtype == np.float16
    np.testing.assert_allclose(
        rows, tiny().encode(torch.stack([image_tensor(each) for each in images()])), atol=0.02
    )
    extract(images(split="test"), encoder, tmp_path, precision="bf16", **QUICK)  # rounded already
    again = extract(images(), tiny(), tmp_path / "again", precision="bf16", **QUICK)
    assert content(again) == content(path)
    with pytest.raises(ValueError, match=r"rounded to torch\.bfloat16 already"):
        extract(images(), encoder, tmp_path, **QUICK)
    huge = tiny("huge")
    huge.network.linear.bias.data[2] = 1e6
    with pytest.raises(ValueError, match="NaN or infinite values, as float16, for image 0"):
        extract(images(), huge, tmp_path, precision="bf16", **QUICK)
    extract(images(), tiny("huge"), tmp_path, existing="update", **QUICK)


def test_openais_clip_in_half_precision_is_as_its_own_loader_makes_it(tmp_path):
    """And rows of a network that was rounded whole are not taken for its rows."""
    encoder, few = build_shallow("clip-vit-b-32"), images(2)
    path = extract(few, encoder, tmp_path, precision="fp16", **QUICK)
    batch = torch.stack([encoder.preprocess(each) for each in few])
    rounded = build_shallow("clip-vit-b-32").to("cpu", torch.float16)
    np.testing.assert_array_equal(np.load(path), rounded.encode(batch).half())
    assert extract(few, encoder, tmp_path, precision="fp16", **QUICK) == path
    with pytest.raises(ValueError, match=r"rounded to torch\.float16 already"):
        extract(few, encoder, tmp_path / "fp32", **QUICK)
    whole = build_shallow("clip-vit-b-32")
    whole.network.model.half()
    with pytest.raises(ValueError, match=r"settings: weights_sha256 '\w+' instead of '\w+';"):
        extract(few, whole, tmp_path, precision="fp16", **QUICK)


class Blank(list):
    """n blank images that take no memory."""

    def __init__(self, n: int):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, row):
        from PIL import Image

        return Image.new("L", (SIDE, SIDE))


def test_memory_does_not_grow_with_the_dataset(tmp_path):
    """Four times the rows, the same peak of allocated arrays, below the file's size."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 1000))
    wide, peaks = Encoder("wide", 1000, {}, image_tensor, network), []
    for n in (1200, 4800):
        dataset = ImageDataset(f"blank{n}", "train", Blank(n), np.zeros(n, int), ("a",))
        tracemalloc.start()
        path = extract(dataset, wide, tmp_path, **{**QUICK, "batch_size": 64})
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] < path.stat().st_size


def test_names_of_images_count_without_their_folder_and_all_weights_count(tmp_path):
    def at(folder, last="9.png"):
        paths = [tmp_path / folder / name for name in ("10.png", "1.png", last)]
        return ImageDataset("noise", "train", FileImages(paths), np.zeros(3, int), ())

    assert images_sha256(at("a")) == images_sha256(at("b"))
    assert images_sha256(at("a")) != images_sha256(at("a", "8.png"))
    assert images_sha256(images(20)) != images_sha256(images(20, seed=1))
    network = Counted()
    before = weights_sha256(network)
    network.linear.bias.data[-1] += 1e-6
    assert weights_sha256(network) != before
    assert weights_sha256(nn.Linear(2, 3).half())


def test_bad_settings_are_refused(tmp_path):
    for options in (
        {"existing": "ignore"},
        {"precision": "fp8"},
        {"unreadable": "ignore"},
        {"batch_size": 0},
        {"workers": -1},
        {"device": "abacus"},
    ):
        with pytest.raises(ValueError, match=next(iter(options))):
            extract(images(), tiny(), tmp_path, **{**QUICK, **options})
    with pytest.raises(ValueError, match="no images"):
        extract(images(0), tiny(), tmp_path, **QUICK)
    assert not list(tmp_path.iterdir())


def test_as_many_workers_as_cores_but_none_for_a_few_batches(monkeypatch):
    cores = cpu_count()
    assert worker_count("auto", 4) == worker_count(3, 0) == 0
    assert worker_count("auto", 1000) == min(cores, 16)
    assert worker_count(3, 1000) == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # two processes share the cores
    assert worker_count("auto", 1000) == min(cores // 2, 16)


def test_a_full_disk_is_an_error_before_any_work(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=2 * N * DIM * 4 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(OSError, match="no room for 2000 bytes"):
        extract(images(), tiny(), tmp_path, **QUICK)
