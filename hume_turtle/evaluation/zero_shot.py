"""Zero-shot transfer: images assigned to classes described in words, with no training at all.

An image goes to the class whose text embedding has the largest cosine with its own (CLIP, Section
3.1). `encoders/text.py` makes the text embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.special import softmax

LOGIT_SCALE = 100.0  # CLIP's temperature 1/100: its training stopped there (CLIP, Section 2.5)
BLOCK = 2**22  # numbers held at a time, 16 MB in float32


class ZeroShot:
    """The class whose text embedding has the largest cosine with an image's embedding.

    text_features: (C, d), any length. Images are embedded by the same CLIP model; a common factor
    of their space, as the cache applies one, changes nothing.
    """

    def __init__(self, text_features: np.ndarray) -> None:
        if text_features.ndim != 2 or len(text_features) == 0:
            raise ValueError(f"text features are (C, d), got shape {text_features.shape}")
        self.text_features = _directions(text_features)

    def predict(self, features) -> np.ndarray:
        """Labels (n,) int64 of image embeddings (n, d); of equal cosines the first class.

        features: an array, or a list of one, as the other models take spaces.
        """
        (features,) = features if isinstance(features, (list, tuple)) else (features,)
        return np.concatenate([cosines.argmax(axis=1) for cosines in self._cosines(features)])

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        """Probabilities (n, C) float32: softmax of the cosines times CLIP's logit scale, 100."""
        parts = [softmax(LOGIT_SCALE * cosines, axis=1) for cosines in self._cosines(features)]
        return np.concatenate(parts)

    def _cosines(self, features: np.ndarray) -> Iterator[np.ndarray]:
        """Cosines (rows, C) of blocks of rows, so that memory does not grow with n · d."""
        n_classes, dim = self.text_features.shape
        if features.ndim != 2 or features.shape[1] != dim:
            raise ValueError(f"image features are (n, {dim}), got shape {features.shape}")
        size = max(1, BLOCK // max(n_classes, dim))
        for start in range(0, max(1, len(features)), size):
            yield _directions(features[start : start + size]) @ self.text_features.T


def _directions(rows: np.ndarray) -> np.ndarray:
    """Rows (n, d) of unit length, float32. Raises ValueError for zeros, NaN and infinite values."""
    rows = np.asarray(rows, np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)  # (n, 1)
    if not (np.isfinite(norms) & (norms > 0)).all():
        raise ValueError("an embedding is zero, NaN or infinite: it has no direction")
    return rows / norms
