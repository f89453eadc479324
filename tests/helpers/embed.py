"""A dataset through an encoder in memory, as anybody would write it."""

import numpy as np
import torch


def embed(dataset, encoder, batch_size: int = 256) -> np.ndarray:
    """(n, d) float32, unscaled, in the dataset's order."""
    images = torch.stack([encoder.preprocess(image) for image in dataset])
    return torch.cat([encoder.encode(part) for part in images.split(batch_size)]).numpy()
