"""TURTLE's labeling of any rows from its heads, a chunk of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from hume_turtle.core.batching import as_tensor
from hume_turtle.core.task_encoders import softmax_labelings, with_constant
from hume_turtle.estimators.base import to_device


@torch.no_grad()
def label_rows(heads: list[Tensor], spaces: list, numbers: int = 1 << 21) -> Iterator[Tensor]:
    """τ of all rows, a chunk of rows (R, C, rows) at a time; heads are K tensors (R, C, d_k + 1).

    Raises ValueError where the logits overflow.
    """
    spaces = [as_tensor(space) for space in spaces]
    chunk = max(1, numbers // sum(space.shape[1] for space in spaces))
    for i in range(0, len(spaces[0]), chunk):
        batch = [with_constant(to_device(z[i : i + chunk], heads[0].device)) for z in spaces]
        labeling = torch.stack(softmax_labelings(heads, batch)).mean(0)
        if not torch.isfinite(labeling).all():
            raise ValueError("the logits overflow float32: bring the spaces to a smaller scale")
        yield labeling


def hard_labels(heads: list[Tensor], spaces: list) -> np.ndarray:
    """argmax τ of every run, (R, n)."""
    parts = [labeling.argmax(dim=1).cpu() for labeling in label_rows(heads, spaces)]
    return torch.cat(parts, dim=1).numpy()


def soft_labels(heads: list[Tensor], spaces: list) -> np.ndarray:
    """τ of every run, (R, n, C)."""
    parts = [labeling.mT.cpu() for labeling in label_rows(heads, spaces)]
    return torch.cat(parts, dim=1).numpy()
