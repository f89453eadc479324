"""A map of the rows in two dimensions, in which rows that are near in the spaces stand together.

It is t-SNE (van der Maaten & Hinton, 2008) of the spaces' leading principal components. Where there
are many rows it is made of a sample, and every other row stands among its nearest neighbours in it.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import KDTree
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits
from torch import Tensor

from hume_turtle.checks import check_spaces
from hume_turtle.core.batching import as_tensor
from hume_turtle.estimators.projection import Projection, draw_rows

SAMPLE = 3000  # rows that t-SNE arranges; its time grows a little faster than their number
DIM = 50  # principal components that it sees
NEIGHBOURS = 3  # of the sample, which place every other row
FEW = 5  # rows that principal components arrange, for want of neighbours
BLOCK = 1 << 11  # rows placed at a time: their distances to the sample take 25 MB


def map_points(spaces, seed: int = 0) -> np.ndarray:
    """The rows of the spaces as points of a plane, (n, 2) float32; no axis has a meaning.

    Every space counts the same, whatever its scale and width. The spaces, memory maps among them,
    are read in blocks; a space in which all rows are the same has no say. The same seed gives the
    same map.

    Args:
        spaces: one array (n, d), or a list of K arrays (n, d_k), as the estimators take them.
        seed: of t-SNE's start and of the small shifts that keep equal rows apart.
    """
    spaces = [as_tensor(space) for space in check_spaces(spaces)]
    n = len(spaces[0])
    rows = draw_rows(n, SAMPLE)  # (m,)
    joint = _joint_components(spaces, rows)  # (n, d)
    rng = np.random.default_rng(seed)
    points = _arrange(joint[rows].numpy(), seed, rng)  # (m, 2)
    if len(rows) == n:
        return points
    return _place(joint, rows, points, rng)


def _joint_components(spaces: list[Tensor], rows: Tensor) -> Tensor:
    """All rows in at most `DIM` principal components of the spaces together, (n, d), on the CPU.

    They are learnt from some rows (m,), within the leading components of each space. Without a
    space whose rows differ there is one component, in which all rows are 0.
    """
    parts = [part for space in spaces if (part := _components(space, rows)) is not None]
    if not parts:
        return torch.zeros(len(spaces[0]), 1)
    joint = torch.cat(parts, dim=1)  # (n, Σ d'_k)
    joint -= joint[rows].mean(0)
    _, _, basis = torch.linalg.svd(joint[rows], full_matrices=False)
    return joint @ basis[:DIM].T


def _components(space: Tensor, rows: Tensor) -> Tensor | None:
    """A space (n, d) in its own leading components, with a root mean square of 1; None if its
    rows are all the same but for rounding."""
    sample = space[rows.to(space.device)].float()
    spread = (sample - sample.mean(0)).abs().max()
    if spread <= 1e-5 * sample.abs().max():
        return None
    return Projection(sample, DIM)(space).cpu()


def _arrange(joint: np.ndarray, seed: int, rng: np.random.Generator) -> np.ndarray:
    """t-SNE of rows (m, d) that are principal components: (m, 2), centred, of extent about 1."""
    m = len(joint)
    start = np.pad(joint[:, :2], ((0, 0), (0, max(0, 2 - joint.shape[1]))))
    start = _to_one_scale(start) + 1e-2 * rng.normal(size=start.shape) * (m > 1)
    if m < FEW:
        return _to_one_scale(start).astype(np.float32)
    tsne = TSNE(
        perplexity=min(30, (m - 1) / 3),
        init=(1e-4 * start).astype(np.float32),  # as scikit-learn scales principal components
        max_iter=500,
        angle=0.8,  # as clear a map as 0.5, and 750 iterations, in less than half of the time
        random_state=seed,
    )
    with threadpool_limits(1):  # threads that wait for each other take longer on a busy machine
        return _to_one_scale(tsne.fit_transform(joint)).astype(np.float32)


def _place(joint: Tensor, rows: Tensor, points: np.ndarray, rng) -> np.ndarray:
    """All rows (n, d) on the map of some of them: `points` (m, 2) of the `rows` (m,).

    Any other row stands at the mean of its neighbours' points, the nearer the heavier, with a
    shift about as large as the points are apart.
    """
    sample, anchors = joint[rows], torch.from_numpy(points)
    squared = sample.square().sum(1)
    placed = []
    for block in joint.split(BLOCK):
        distance = squared + block.square().sum(1, keepdim=True) - 2 * block @ sample.T  # (b, m)
        near, index = distance.topk(NEIGHBOURS, dim=1, largest=False)
        weight = 1 / (near.clamp_min(0) + 1e-6 * (1 + near[:, -1:].clamp_min(0)))
        weight /= weight.sum(1, keepdim=True)
        placed.append((weight[..., None] * anchors[index]).sum(1))
    placed = torch.cat(placed).numpy()  # (n, 2)
    placed += (_spacing(points) * rng.normal(size=placed.shape)).astype(np.float32)
    placed[rows.numpy()] = points
    return placed


def _spacing(points: np.ndarray) -> float:
    """The median distance of a point (m, 2) to the one nearest to it."""
    distance, _ = KDTree(points).query(points, k=2)
    return float(np.median(distance[:, 1]))


def _to_one_scale(points: np.ndarray) -> np.ndarray:
    """Points (m, 2) about their mean, with a root mean square of 1 unless they are all the same."""
    points = points - points.mean(0)
    scale = np.sqrt(np.square(points).mean())
    return points / (scale if scale > 1e-12 else 1)
