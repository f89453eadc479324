"""The throughput of extraction beside the encoder's own."""

from hume_turtle.benchmarks.extraction import benchmark
from hume_turtle.datasets.registry import load_dataset
from hume_turtle.encoders.registry import load_encoder


def test_benchmark_compares_extraction_with_the_encoder_alone():
    images, pixels = load_dataset("digits", "test"), load_encoder("pixels")
    quick = {"batch_size": 4, "workers": 0, "device": "cpu", "seconds": 0.02, "rounds": 1}
    found = benchmark(images, pixels, **quick)
    assert found.ratio == found.extraction / found.alone > 0
    assert f"ratio {found.ratio:.3f}" in str(found)
