"""How far rows lie on their own side of linear classifiers: the margin that TURTLE widens."""

from __future__ import annotations

import numpy as np

from hume_turtle.checks import check_dims, check_labels, check_spaces
from hume_turtle.core.batching import as_tensor


def margins(spaces, heads, labels) -> np.ndarray:
    """Signed distance of each row to the nearest boundary of its class, (K, n) float32.

    In space k, with a row w_c and a bias b_c for each class and y the row's label, it is
    `min_{c ≠ y} ((w_y − w_c)·z + b_y − b_c) / ||w_y − w_c||`, in the units of the space: negative
    where the classifier gives the row another label. The smallest over all rows is the *margin*
    that a support vector machine makes as large as it can be.

    Args:
        spaces: K arrays (n, d_k), as in `fit`.
        heads: K arrays (C, d_k + 1), the last column the bias: a fit's `heads_`, or the
            `inner_heads` of a `Snapshot`.
        labels: (n,) integers in 0..C-1.

    Raises:
        ValueError: for spaces, heads and labels that do not belong together.
    """
    spaces = check_spaces(spaces)
    heads = [np.asarray(head, dtype=np.float32) for head in heads]
    check_dims([space.shape[1] for space in spaces], [head.shape[1] - 1 for head in heads])
    labels = check_labels(labels)
    if len(labels) != len(spaces[0]):
        raise ValueError(f"spaces have {len(spaces[0])} rows but there are {len(labels)} labels")
    if labels.min() < 0 or labels.max() >= len(heads[0]):
        raise ValueError(f"labels outside 0..{len(heads[0]) - 1}, the classes of the heads")
    return np.stack([_distances(as_tensor(z).numpy(), h, labels) for z, h in zip(spaces, heads)])


def _distances(space: np.ndarray, head: np.ndarray, labels: np.ndarray) -> np.ndarray:
    weight, bias = head[:, :-1], head[:, -1]
    logits = space.astype(np.float32) @ weight.T + bias  # (n, C)
    gaps = np.take_along_axis(logits, labels[:, None], axis=1) - logits
    gram = weight @ weight.T
    squares = np.diag(gram)[:, None] + np.diag(gram) - 2 * gram  # ||w_a − w_b||², (C, C)
    apart = np.sqrt(squares.clip(np.finfo(np.float32).tiny))[labels]  # (n, C)
    own = labels[:, None] == np.arange(len(head))
    return np.where(own, np.inf, gaps / apart).min(axis=1)
