"""Zero-shot transfer: images assigned to classes described in words, with no training at all.

An image goes to the class whose text embedding has the largest cosine with its own (CLIP, Section
3.1). `encoders/text.py` makes the text embeddings.
"""

from __future__ import annotations

import numpy as np

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
        n_classes, dim = self.text_features.shape
        if features.ndim != 2 or features.shape[1] != dim:
            raise ValueError(f"image features are (n, {dim}), got shape {features.shape}")
        labels = np.empty(len(features), np.int64)
        size = max(1, BLOCK // max(n_classes, dim))  # so that memory does not grow with n · d
        for start in range(0, len(features), size):
            rows = slice(start, start + size)
            labels[rows] = (_directions(features[rows]) @ self.text_features.T).argmax(axis=1)
        return labels


def _directions(rows: np.ndarray) -> np.ndarray:
    """Rows (n, d) of unit length, float32. Raises ValueError for zeros, NaN and infinite values."""
    rows = np.asarray(rows, np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)  # (n, 1)
    if not (np.isfinite(norms) & (norms > 0)).all():
        raise ValueError("an embedding is zero, NaN or infinite: it has no direction")
    return rows / norms
