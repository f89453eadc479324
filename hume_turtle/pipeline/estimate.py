"""How long a suite takes on a machine: counted operations by measured speed. Roughly.

Every work is operations (a product and a sum are two) and bytes that the device reads for them;
it takes the longer of both, see `Machine.seconds`. n rows, d columns in all spaces of a
combination together, C classes.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import torch
from joblib import cpu_count
from sklearn.model_selection import ParameterGrid

from hume_turtle.core.precision import pick_device
from hume_turtle.encoders.encoder import DTYPES
from hume_turtle.estimators.hume import Hume
from hume_turtle.estimators.turtle import Turtle

EFFICIENCY = 0.4  # of the measured speed of large products that fits reach; 0.44 to 0.5 on a Xeon
NETWORKS = {"cpu": 0.7}  # that networks reach: 0.7 to 1.2 on the same; elsewhere as fits
IMAGES = 150  # read and preprocessed by a core in a second
EVALUATIONS = 100  # of a logistic regression's loss and gradient
ITERATIONS = 100  # of a start of k-means, at most
FLOAT = 4  # bytes
ASSUMED = (
    f"Fits, and networks on a GPU, reach {EFFICIENCY:.0%} of the measured speed of large matrix "
    f"products; networks on a CPU {NETWORKS['cpu']:.0%}.",
    f"A core reads and preprocesses {IMAGES} images in a second; a GPU computes meanwhile.",
    "Operations per image are counted on the network itself; of fits from their matrix products.",
    f"A logistic regression takes {EVALUATIONS} evaluations, k-means {ITERATIONS} iterations.",
    "Fast recipes (minutes), text prompts, notebooks and downloads are not counted.",
)


class Work(NamedTuple):
    """Operations, and bytes read from the device's memory for them."""

    flops: float
    bytes: float = 0.0

    def times(self, count: float) -> Work:
        return Work(self.flops * count, self.bytes * count)

    def plus(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.bytes + other.bytes)


class Machine(NamedTuple):
    """A device's measured speed.

    Attributes:
        device: "cpu", "cuda", ...
        threads: that compute on a CPU and read images.
        flops: operations per second of large matrix products, by precision.
        bandwidth: bytes read per second.
    """

    device: str
    threads: int
    flops: dict[str, float]
    bandwidth: float

    def seconds(self, work: Work, precision: str = "fp32") -> float:
        """Of a fit, or of training a network."""
        by_flops = work.flops / (EFFICIENCY * self.flops[precision])
        return max(by_flops, work.bytes / self.bandwidth)

    def embedding_seconds(self, images: int, flops: int, precision: str) -> float:
        """Of images in a network of `flops` each. A CPU that computes cannot read meanwhile."""
        reached = NETWORKS.get(self.device, EFFICIENCY) * self.flops[precision]
        computing = images * flops / reached
        reading = images / (IMAGES * self.threads)
        return computing + reading if self.device == "cpu" else max(computing, reading)


def measure(device: str, precisions: set[str], seconds: float = 0.3) -> Machine:
    """The machine's speed: products of matrices and a sum, each for about `seconds`.

    Raises ValueError for an unknown device.
    """
    place = pick_device(device)
    size = 1024 if place.type == "cpu" else 8192
    flops = {}
    for precision in sorted({"fp32", *precisions}):
        matrix = torch.ones(size, size, dtype=DTYPES[precision], device=place)
        flops[precision] = 2 * size**3 * rate(lambda m=matrix: m @ m, place, seconds)
    many = torch.ones(2**26 if place.type == "cpu" else 2**28, device=place)  # 256 MB, 1 GB
    bandwidth = FLOAT * len(many) * rate(many.sum, place, seconds)
    cores = cpu_count()
    threads = min(torch.get_num_threads(), cores) if place.type == "cpu" else cores
    return Machine(place.type, threads, flops, bandwidth)


def rate(call, device: torch.device, seconds: float) -> float:
    """Calls per second; the first one is not counted."""

    def run() -> None:
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    run()
    begin, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - begin) < seconds:
        run()
        count += 1
    return count / passed


def turtle(model: Turtle, n: int, d: int) -> Work:
    """A published fit: T outer iterations of M inner steps on batches of B rows.

    An inner step has two products (logits, gradient) of 2 B d C operations; beside the M steps
    there are the task encoder's two and the logits of the outer loss.
    """
    rows = min(model.batch_size, n)
    products = 2 * model.inner_steps + 3
    one = Work(2 * rows * d * model.n_classes, FLOAT * rows * d)
    return one.times(products * model.outer_steps)


def hume(model: Hume, n: int, d: int) -> Work:
    """All runs of a published fit; d of φ2, where the inner heads are.

    An inner step has two products, and two more on the way back (unrolled.py). Then each run of
    several is scored by ten logistic regressions in φ2.
    """
    rows = int(min(model.subset_size, n) * model.train_fraction)
    one = Work(2 * rows * d * model.n_classes, FLOAT * rows * d)
    run = one.times(4 * model.inner_steps * model.n_subsets * model.outer_steps)
    if model.n_runs > 1:
        run = run.plus(logistic(n, d, model.n_classes).times(10))
    return run.times(model.n_runs)


def selected(model: Turtle, grid: dict, n: int, d: int) -> Work:
    """A fit for every setting of a grid, each scored by ten logistic regressions per space."""
    scored = turtle(model, n, d).plus(logistic(n, d, model.n_classes).times(10))
    return scored.times(len(ParameterGrid(grid)))


def logistic(n: int, d: int, classes: int) -> Work:
    """One logistic regression: logits and gradient in each evaluation."""
    return Work(4 * n * d * classes, 2 * FLOAT * n * d).times(EVALUATIONS)


def k_means(n: int, d: int, classes: int, starts: int, iterations: int) -> Work:
    """k-means: distances to all centres in each iteration."""
    return Work(2 * n * d * classes, FLOAT * n * d).times(starts * min(iterations, ITERATIONS))


def moco(flops: int, images: int, recipe) -> Work:
    """A training: a view is the query, forward and twice that backward, and the other the key."""
    views = 2 if recipe.symmetric else 1
    return Work(4 * views * flops).times(images * recipe.epochs)
