"""The sizes of the classes: γ chosen without labels, and shares that a user knows.

γ = 10, as published, makes the classes nearly equal in size. Where they are not, a smaller γ finds
labelings that linear classifiers explain far better. So TURTLE's fast recipe is solved for several
γ as one batch, several finalists of each are kept, and the one with the smallest unexplained share
CE / H is compared with the best fit at γ = 10. It is taken only if it leaves less than half as much
unexplained, and `held_out_share` says that classifiers of other rows see the gain too: at small γ
weak features give labelings that explain themselves, but not other rows.

Found on the digits with unbalanced classes. There the first falls by 3 to 40 and the second by 1.6
to 2.9; on the balanced digits by at most 1.5 and 1.3. Below γ = 0.3 classes begin to empty.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hume_turtle.checks import check_number
from hume_turtle.core.batching import as_tensor
from hume_turtle.estimators.labeling import hard_labels
from hume_turtle.estimators.projection import Projection, draw_rows
from hume_turtle.estimators.turtle_fast import DIM, Run, solve_fast
from hume_turtle.estimators.unexplained import ROWS, held_out_share, unexplained_share

GAMMAS = (10.0, 3.0, 1.0, 0.5, 0.3)
RESTARTS, FINALISTS = 32, 8  # of each γ: the objective of unbalanced classes has more poor optima
TOGETHER = 50  # classes up to which all γ are solved as one batch; more would not fit into memory
# How much less must be left unexplained than at γ = 10: of the fit itself, and on other rows.
GAIN, HELD_OUT_GAIN = 2.0, 1.3


class GammaFit(NamedTuple):
    """A fit with its γ.

    Attributes:
        heads: K tensors (1, C, d_k + 1).
        history: dict of (T, 1), as `solve_fast` gives it.
    """

    gamma: float
    heads: list[Tensor]
    history: dict[str, Tensor]


def fit_gamma(spaces: list, run: Run, device: torch.device) -> GammaFit:
    """TURTLE's fast recipe with γ chosen among `GAMMAS`.

    Args:
        spaces: K checked arrays (n, d_k).
        run: what the fit is to have, apart from γ.
    """
    runs = [run._replace(gamma=gamma) for gamma in GAMMAS]
    batches = [runs] if run.n_classes <= TOGETHER else [[one] for one in runs]
    sizes = RESTARTS, FINALISTS, FINALISTS
    parts = [solve_fast(spaces, batch, device, *sizes) for batch in batches]
    heads = [torch.cat(of_space) for of_space in zip(*(part for part, _ in parts))]
    history = {name: torch.cat([part[name] for _, part in parts], 1) for name in parts[0][1]}
    sample = draw_rows(len(spaces[0]), ROWS)
    rows = [as_tensor(space)[sample].to(device, torch.float32) for space in spaces]
    labels = torch.from_numpy(hard_labels(heads, rows)).to(device)
    rows = [Projection(space, max(DIM[0], run.n_classes))(space) for space in rows]
    held_out = held_out_share(rows, labels, [run.n_classes] * len(labels)).cpu().numpy()
    own = unexplained_share(history).cpu().numpy()
    best = choose(own, held_out, [len(np.unique(row)) for row in labels.cpu().numpy()])
    of_best = {name: values[:, best : best + 1] for name, values in history.items()}
    return GammaFit(GAMMAS[best // FINALISTS], [head[best : best + 1] for head in heads], of_best)


def choose(own: np.ndarray, held_out: np.ndarray, classes: list[int]) -> int:
    """The fit to take; the first is the best at γ = 10.

    Args:
        own, held_out: (R,) the share that each fit leaves unexplained, and on other rows.
        classes: how many classes each fit has that are not empty: it must not have lost any.
    """
    whole = np.array(classes) >= classes[0]
    best = int(np.argmin(np.where(whole, own, np.inf)))
    gains = own[0] >= GAIN * own[best] and held_out[0] >= HELD_OUT_GAIN * held_out[best]
    return best if gains else 0


def check_prior(prior, n_classes: int | str) -> None:
    """Raise ValueError unless known shares are one positive number for each class."""
    if prior is None:
        return
    if isinstance(prior, (str, bytes)) or np.ndim(prior) != 1:
        raise ValueError(f"class_prior={prior!r} must be a list of one number for each class")
    if len(prior) != n_classes:
        raise ValueError(
            f"class_prior has {len(prior)} shares, but n_classes is {n_classes!r}: "
            "give one for each class"
        )
    for share in prior:
        check_number("class_prior", share, 0, exclusive=True)
