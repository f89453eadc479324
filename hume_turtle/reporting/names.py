"""Methods, metrics and spaces as people read them; code, CSV files and folders keep the keys."""

from __future__ import annotations

METHOD_NAMES = {  # as the papers write them
    "turtle": "TURTLE",
    "hume": "HUME",
    "k-means": "k-means",
    "zero-shot": "zero-shot transfer",
    "linear-probe": "linear probe",
    "scan": "SCAN",
    "spice": "SPICE",
    "twist": "TWIST",
    "self-classifier": "Self-classifier",
}
METRIC_NAMES = {"cluster_accuracy": "ACC", "ari": "ARI", "nmi": "NMI"}


def method_name(key: str) -> str:
    """The name of a method, also of one with an addition: "turtle + dinov2", "hume seconds"."""
    method, *rest = key.split(" ", 1)
    return " ".join([METHOD_NAMES.get(method, method), *rest])


def spaces_name(key: str) -> str:
    """The name of a space combination: "moco+dino" becomes "moco + dino"."""
    return key.replace("+", " + ")


def with_method_names(frame):
    """A table with the names of the methods, in its columns' titles and in the column `method`."""
    named = frame.rename(columns=method_name)
    return named.assign(method=named["method"].map(method_name)) if "method" in named else named
