"""The memory of large baselines: blocks of rows, whatever the number of rows."""

import os
import subprocess
import sys

import numpy as np
import pytest

N, WIDTHS, CLASSES = 200_000, (96, 160), 20
LIMIT = 100  # MB: half of the joined rows in float32, and 25 blocks of them; about 30 are used
PROGRAM = """
import sys, threading, time
import numpy as np, torch
from hume_turtle.estimators import rows
from hume_turtle.estimators.kmeans import KMeansBaseline
from hume_turtle.estimators import lloyd
from hume_turtle.evaluation.linear_probe import LinearProbe

torch.set_num_threads(1)
rows.HELD, rows.BLOCK, lloyd.SAMPLE = 2**16, 2**18, 2**20
folder, what = sys.argv[1:]

def anonymous():  # MB of this process that are no pages of files
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("RssAnon"))

def fit(spaces, labels):
    if what == "k-means":
        return KMeansBaseline(20, n_init=1, max_iter=2).fit(spaces).predict(spaces)
    return LinearProbe(grid=(1e-7, 1e-6), device="cpu").fit(spaces, labels).predict(spaces)

few = np.random.default_rng(0).normal(size=(2, 2000, 30))
fit(list(few), np.arange(2000) % 20)  # what libraries allocate at first
spaces = [np.load(f"{folder}/{k}.npy", mmap_mode="r") for k in range(2)]
labels = np.load(f"{folder}/labels.npy")
before, most, done = anonymous(), [0], threading.Event()

def watch():
    while not done.wait(0.005):
        most.append(anonymous())

watcher = threading.Thread(target=watch)
watcher.start()
fit(spaces, labels)
done.set()
watcher.join()
print(max(most) - before)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("maps"), np.random.default_rng(0)
    labels = random.integers(CLASSES, size=N)
    np.save(folder / "labels.npy", labels)
    for k, width in enumerate(WIDTHS):
        shape = (N, width)
        space = np.lib.format.open_memmap(folder / f"{k}.npy", "w+", np.float16, shape)
        centres = random.normal(size=(CLASSES, width)).astype(np.float16)
        for i in range(0, N, 20_000):
            space[i : i + 20_000] = centres[labels[i : i + 20_000]]
            space[i : i + 20_000, :8] += random.normal(size=(20_000, 8)).astype(np.float16)
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells files' pages from others")
@pytest.mark.parametrize("what", ["k-means", "probe"])
def test_anonymous_memory_is_that_of_blocks(folder, what):
    command = [sys.executable, "-c", PROGRAM, str(folder), what]
    # Large blocks go back to the system when they are freed; else glibc keeps some, more or fewer.
    variables = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    run = subprocess.run(command, capture_output=True, text=True, env=variables)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < LIMIT
