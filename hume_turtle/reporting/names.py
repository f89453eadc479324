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
RUN_METHODS = tuple(METHOD_NAMES)[:5]  # by this project; they have the first five colours
VARIANT_NAMES = {"cold": "cold start", "warm": "warm start"}  # others are named as they are
REMATCHED = "-rematched"  # ends the keys of votes whose classes are matched on the evaluated rows
METRIC_NAMES = {"cluster_accuracy": "ACC", "ari": "ARI", "nmi": "NMI"}


def family(key: str) -> str:
    """The method that a key is a variant of: "turtle" for "turtle-cold"; else the key itself."""
    return next((name for name in METHOD_NAMES if f"{key}-".startswith(f"{name}-")), key)


def in_order(methods) -> list[str]:
    """The distinct methods: those of this project first, others by name."""
    present = set(methods)
    return [m for m in RUN_METHODS if m in present] + sorted(present - set(RUN_METHODS))


def method_name(key: str) -> str:
    """The name of a method, also of a variant, and with an addition: "turtle-cold + dinov2"."""
    head, *rest = key.split(" ", 1)
    method = family(head)
    variant = head.removeprefix(method).removesuffix(REMATCHED).removeprefix("-")
    words = [METHOD_NAMES.get(method, method), VARIANT_NAMES.get(variant, variant)]
    words.append("re-matched" if head.endswith(REMATCHED) else "")
    return " ".join([", ".join(filter(None, words)), *rest])


def spaces_name(key: str) -> str:
    """The name of a space combination: "moco+dino" becomes "moco + dino"."""
    return key.replace("+", " + ")


def with_method_names(frame):
    """A table with the names of the methods, in its columns' titles and in the column `method`."""
    named = frame.rename(columns=method_name)
    return named.assign(method=named["method"].map(method_name)) if "method" in named else named
