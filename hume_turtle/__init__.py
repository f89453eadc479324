"""Human labelings found with no labels: HUME (NeurIPS 2023) and TURTLE (ICML 2024)."""

from importlib import import_module

__version__ = "0.1.0"

PUBLIC = {  # name: the module that defines it, imported on first use because torch takes seconds
    "Hume": "hume_turtle.estimators.hume",
    "Turtle": "hume_turtle.estimators.turtle",
    "evaluate": "hume_turtle.evaluation.metrics",
    "generalization_score": "hume_turtle.estimators.scores",
    "learning_curve": "hume_turtle.evaluation.learning_curve",
    "margins": "hume_turtle.estimators.margins",
    "reliable_rows": "hume_turtle.estimators.reliable",
    "select": "hume_turtle.estimators.selection",
    "select_n_classes": "hume_turtle.estimators.number_of_classes",
}
__all__ = ["__version__", *PUBLIC]


def __getattr__(name: str):
    if name in PUBLIC:
        return getattr(import_module(PUBLIC[name]), name)
    raise AttributeError(f"module 'hume_turtle' has no attribute {name!r}")
