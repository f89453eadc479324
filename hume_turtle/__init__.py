"""Human labelings found with no labels: HUME (NeurIPS 2023) and TURTLE (ICML 2024)."""

from importlib import import_module

__version__ = "0.1.0"
__all__ = ["Hume", "Turtle", "__version__"]


def __getattr__(name: str):
    """Import the estimators when they are first asked for: torch takes seconds to import."""
    if name in ("Hume", "Turtle"):
        return getattr(import_module(f"hume_turtle.{name.lower()}"), name)
    raise AttributeError(f"module 'hume_turtle' has no attribute {name!r}")
