"""Both methods whole, as anyone would write them from the papers.

One run at a time, PyTorch's layers, optimisers and autograd, batches gathered on the host. The
notebooks show this file, the tests compare with it, and the benchmark measures against it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrizations

from hume_turtle.core.batching import as_tensor
from hume_turtle.core.task_encoders import sparsemax


def reference_turtle(
    spaces: list[np.ndarray],
    n_classes: int,
    *,
    gamma: float = 10.0,
    outer_steps: int = 6000,
    inner_steps: int = 10,
    inner_lr: float = 1e-3,
    outer_lr: float = 1e-3,
    batch_size: int = 10_000,
    warm_start: bool = False,
    seed: int = 0,
    device: str = "cpu",
) -> Iterator[list[nn.Module]]:
    """TURTLE for one run, from K arrays (n, d_k): yields the task encoder after each outer step."""
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    tensors = [as_tensor(space) for space in spaces]  # share the arrays' memory
    n = len(tensors[0])
    gathered = [z.new_empty(min(batch_size, n), z.shape[1]) for z in tensors]

    def layers() -> list[nn.Module]:
        return [nn.Linear(z.shape[1], n_classes).to(device) for z in tensors]

    def adam(modules: list[nn.Module], lr: float) -> torch.optim.Optimizer:
        return torch.optim.Adam([p for m in modules for p in m.parameters()], lr, fused=True)

    encoder = [parametrizations.weight_norm(layer) for layer in layers()]
    outer = adam(encoder, outer_lr)
    heads = None
    for _ in range(outer_steps):
        rows = torch.from_numpy(draw.choice(n, size=min(batch_size, n), replace=False))
        for z, part in zip(tensors, gathered):
            torch.index_select(z, 0, rows, out=part)
        batch = [part.float().to(device) for part in gathered]
        labelings = [layer(z).softmax(dim=1) for layer, z in zip(encoder, batch)]  # (B, C)
        labeling = torch.stack(labelings).mean(0)
        if heads is None or not warm_start:
            heads = layers()
            inner = adam(heads, inner_lr)
        for _ in range(inner_steps):
            inner.zero_grad()
            sum(cross_entropy(h(z), labeling.detach()) for h, z in zip(heads, batch)).backward()
            inner.step()
        error = sum(cross_entropy(h(z).detach(), labeling) for h, z in zip(heads, batch))
        entropy = sum(torch.special.entr(tau.mean(0)).sum() for tau in labelings)
        outer.zero_grad()
        (error - gamma * entropy).backward()
        outer.step()
        yield encoder


@torch.no_grad()
def reference_turtle_labels(encoder: list[nn.Module], spaces: list[np.ndarray]) -> np.ndarray:
    """argmax τ, (n,)."""
    device = next(encoder[0].parameters()).device
    tensors = [torch.from_numpy(z).float().to(device) for z in spaces]
    return sum(e(z).softmax(1) for e, z in zip(encoder, tensors)).argmax(1).cpu().numpy()


def reference_hume(
    space1: np.ndarray,
    space2: np.ndarray,
    n_classes: int,
    *,
    temperature: float = 0.1,
    gamma: float = 10.0,
    outer_steps: int = 1000,
    inner_steps: int = 300,
    n_subsets: int = 20,
    subset_size: int = 10_000,
    train_fraction: float = 0.9,
    inner_lr: float = 1e-3,
    outer_lr: float = 1e-3,
    seed: int = 0,
    device: str = "cpu",
) -> Iterator[Tensor]:
    """HUME for one run, annealed, a new inner head for every subset.

    Takes Z_1 (n, d_1) and Z_2 (n, d_2) and yields the task encoder's orthonormal rows (C, d_1)
    after each outer step.
    """
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    space1 = space1 / np.linalg.norm(space1, axis=1, keepdims=True)
    n, size = len(space1), min(subset_size, len(space1))
    n_train = int(size * train_fraction)
    encoder = nn.Linear(space1.shape[1], n_classes, bias=False)
    encoder = parametrizations.orthogonal(encoder).to(device)
    outer = torch.optim.Adam(encoder.parameters(), outer_lr, fused=True)
    for t in range(outer_steps):
        if t in (100, 200):
            temperature /= 10
            outer.param_groups[0]["lr"] *= 0.1
        outer.zero_grad()
        for _ in range(n_subsets):
            rows = draw.choice(n, size=size, replace=False)
            z1, z2 = (torch.from_numpy(z[rows]).float().to(device) for z in (space1, space2))
            labeling = sparsemax(encoder(z1) / temperature, dim=1)  # (size, C)
            head = nn.Linear(space2.shape[1], n_classes).to(device)
            weight, bias = head.weight, head.bias
            for _ in range(inner_steps):
                error = cross_entropy(z2[:n_train] @ weight.T + bias, labeling[:n_train])
                by_weight, by_bias = torch.autograd.grad(error, (weight, bias), create_graph=True)
                weight, bias = weight - inner_lr * by_weight, bias - inner_lr * by_bias
            error = cross_entropy(z2[n_train:] @ weight.T + bias, labeling[n_train:])
            entropy = torch.special.entr(labeling.mean(0)).sum()
            ((error - gamma * entropy) / n_subsets).backward()
        nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        outer.step()
        yield encoder.weight.detach()
