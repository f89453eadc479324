"""The throughput of extraction beside the encoder's own."""

import re

import pytest

from hume_turtle.benchmarks.extraction import benchmark
from hume_turtle.datasets.registry import load_dataset
from hume_turtle.encoders.registry import load_encoder


def test_benchmark_compares_extraction_with_the_encoder_alone():
    images, pixels = load_dataset("digits", "test"), load_encoder("pixels")
    quick = {"batch_size": 4, "workers": 0, "device": "cpu", "seconds": 0.02, "rounds": 1}
    line = benchmark(images, pixels, **quick)
    alone, whole, ratio = map(float, re.findall(r"[\d.]+(?= images|(?= \())", line))
    assert ratio == pytest.approx(whole / alone, abs=1e-3)
