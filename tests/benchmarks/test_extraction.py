"""The throughput of extraction beside the encoder's own."""

import re

import pytest

from hume_turtle.benchmarks.extraction import benchmark
from hume_turtle.datasets.registry import load_dataset
from hume_turtle.encoders.registry import load_encoder


def test_benchmark_compares_extraction_with_a_plain_loop_and_the_encoder_alone():
    images, pixels = load_dataset("digits", "test"), load_encoder("pixels")
    quick = {"batch_size": 4, "workers": 0, "device": "cpu", "seconds": 0.02, "rounds": 1}
    text = benchmark(images, pixels, **quick)
    whole, plain, alone = map(float, re.findall(r"([\d.]+) images/s", text))
    ratios = list(map(float, re.findall(r"ratio ([\d.]+)", text)))
    assert ratios == pytest.approx([whole / plain, whole / alone], rel=0.01, abs=1e-3)
    assert re.search(r"extraction .*\nplain loop .*\nencoder alone .* % of \d+ cores$", text)
