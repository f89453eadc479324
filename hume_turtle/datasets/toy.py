"""About a hundred points in two representation spaces, small enough to see the methods at work.

Every point has three binary properties. Space 1 shows shape and background, space 2 shows shape and
light: each space has two labelings that a linear classifier learns, but only the shape is
linearly separable in both. The shape plays the human labeling; background and light are what
the representations are biased towards. All eight combinations of the three properties are equally
frequent, so that no labeling is ahead because its classes are of more equal size.
"""

from __future__ import annotations

import numpy as np


def toy_spaces(n: int = 96, noise: float = 0.25, seed: int = 0):
    """Two spaces and the three labelings behind them.

    Args:
        n: number of points; the properties are balanced if it is a multiple of eight.
        noise: standard deviation around each corner of the square ±1.
        seed: of properties and noise.

    Returns:
        ([Z_1, Z_2], labelings): two (n, 2) float32 arrays, and a dict of (n,) int64 labels
        `shape`, `background` and `light`.
    """
    random = np.random.default_rng(seed)
    names = ("shape", "background", "light")
    combinations = random.permutation(np.arange(n) % 8)
    labelings = {name: combinations >> bit & 1 for bit, name in enumerate(names)}

    def space(*shown: str) -> np.ndarray:
        corners = np.stack([2.0 * labelings[name] - 1 for name in shown], axis=1)  # (n, 2)
        return (corners + noise * random.standard_normal((n, 2))).astype(np.float32)

    return [space("shape", "background"), space("shape", "light")], labelings
