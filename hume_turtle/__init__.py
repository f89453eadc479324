"""Human labelings found with no labels: HUME (NeurIPS 2023) and TURTLE (ICML 2024)."""

__version__ = "0.1.0"

from hume_turtle.hume import Hume
from hume_turtle.turtle import Turtle

__all__ = ["Hume", "Turtle", "__version__"]
