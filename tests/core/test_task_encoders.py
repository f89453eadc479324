"""The task encoders against PyTorch's own layers and parametrisations, one run at a time."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from hume_turtle.core.task_encoders import (
    OrthonormalEncoder,
    SoftmaxEncoder,
    draw_heads,
    orthogonal_basis,
    softmax_labelings,
    sparsemax,
    with_constant,
)


def streams(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def projection(logits):
    """Projection of each row onto the simplex: its threshold found by bisection."""
    low, high = logits.amin(1) - 1, logits.amax(1)
    for _ in range(100):
        middle = (low + high) / 2
        too_low = (logits - middle[:, None]).clamp_min(0).sum(1) > 1
        low, high = torch.where(too_low, middle, low), torch.where(too_low, high, middle)
    return (logits - low[:, None]).clamp_min(0)


def test_heads_are_uniform_and_each_run_has_its_own_stream():
    dims = [400, 25]
    together = draw_heads(dims, 50, streams(3, 4))
    assert [head.shape for head in together] == [(2, 50, 401), (2, 50, 26)]
    for dim, head in zip(dims, together):
        bound = dim**-0.5
        assert head.abs().max() <= bound
        assert head.max() > 0.97 * bound
        assert head.min() < -0.97 * bound
        torch.testing.assert_close(head.std(), torch.tensor(bound / 3**0.5), rtol=0.05, atol=0)
    for run, seed in enumerate((3, 4)):
        for alone, head in zip(draw_heads(dims, 50, streams(seed)), together):
            assert torch.equal(alone[0], head[run])


def test_draws_are_float32_whatever_the_default_is():
    torch.set_default_dtype(torch.float64)
    try:
        (head,) = draw_heads([4], 2, streams(0))
        encoder = OrthonormalEncoder.initial(4, 2, streams(0))
    finally:
        torch.set_default_dtype(torch.float32)
    assert head.dtype == encoder.weight.dtype == encoder.unconstrained.dtype == torch.float32


def test_softmax_encoder_is_a_weight_normalised_layer():
    dims, classes, runs = [4, 6], 3, 2
    heads = draw_heads(dims, classes, streams(0, 1))
    spaces = [torch.randn(9, dim) for dim in dims]
    target = torch.rand(classes, 9)
    encoder = SoftmaxEncoder.from_heads(heads)
    optimiser = torch.optim.SGD(encoder.parameters(), lr=0.5)
    layers = []
    for run in range(runs):
        pair = [nn.Linear(dim, classes) for dim in dims]
        for layer, head in zip(pair, heads):
            layer.weight.data, layer.bias.data = head[run, :, :-1].clone(), head[run, :, -1].clone()
        layers.append([parametrizations.weight_norm(layer) for layer in pair])
    reference = torch.optim.SGD([p for pair in layers for m in pair for p in m.parameters()], 0.5)
    for _ in range(5):
        labelings = encoder.labelings([with_constant(space) for space in spaces])
        expected = [
            [layer(space).softmax(1).T for layer, space in zip(pair, spaces)] for pair in layers
        ]
        for k in range(2):
            torch.testing.assert_close(labelings[k], torch.stack([pair[k] for pair in expected]))
        for loss, step in (
            (sum((t * target).sum() for t in labelings), optimiser),
            (sum((t * target).sum() for pair in expected for t in pair), reference),
        ):
            step.zero_grad()
            loss.backward()
            step.step()
    for k, head in enumerate(encoder.heads()):
        for run in range(runs):
            torch.testing.assert_close(head[run, :, :-1], layers[run][k].weight)
            torch.testing.assert_close(head[run, :, -1], layers[run][k].bias)


def test_softmax_encoder_starts_at_its_heads_and_leaves_them_alone():
    heads = draw_heads([4, 6], 3, streams(0, 1))
    before = [head.clone() for head in heads]
    encoder = SoftmaxEncoder.from_heads(heads)
    for start, head in zip(before, encoder.heads()):
        torch.testing.assert_close(head, start)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
    assert all(torch.equal(a, b) for a, b in zip(heads, before))


def test_labelings_are_probabilities():
    heads = [100 * head for head in draw_heads([4, 6], 3, streams(0, 1))]
    for labeling in softmax_labelings(heads, [torch.randn(9, 5), torch.randn(9, 7)]):
        assert labeling.shape == (2, 3, 9)
        assert (labeling >= 0).all()
        torch.testing.assert_close(labeling.sum(1), torch.ones(2, 9))


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([0.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]),
        ([0.5, 0.0], [0.75, 0.25]),
        ([1.0, 0.0], [1.0, 0.0]),
        ([3.0, 1.0, 0.5], [1.0, 0.0, 0.0]),
        ([1.0, 0.0, 0.0], [1.0, 0.0, 0.0]),  # a tie on the border of the support
        ([2.0, 2.0, 0.0], [0.5, 0.5, 0.0]),
        ([2.0, 1.5, 2.0], [0.5, 0.0, 0.5]),  # 1.5 is exactly the threshold
        ([0.1, 0.2, 0.3], [0.7 / 3, 1 / 3, 1.3 / 3]),
        ([-5.0, -5.2], [0.6, 0.4]),
        ([1e9, 1e9, -1e9], [0.5, 0.5, 0.0]),
        ([7.0], [1.0]),
    ],
)
def test_sparsemax_of_known_vectors(logits, expected):
    torch.testing.assert_close(sparsemax(torch.tensor(logits)), torch.tensor(expected))


def test_sparsemax_is_the_projection_onto_the_simplex():
    generator = torch.Generator().manual_seed(0)
    for scale in (0.01, 1, 10):
        logits = scale * torch.randn(200, 6, generator=generator, dtype=torch.float64)
        p = sparsemax(logits)
        torch.testing.assert_close(p, projection(logits), rtol=0, atol=1e-12)
        torch.testing.assert_close(p, sparsemax(logits + 100), rtol=0, atol=1e-12)
        torch.testing.assert_close(p.T, sparsemax(logits.T, dim=0))
        cube = logits.view(20, 10, 6).mT
        torch.testing.assert_close(p.view(20, 10, 6).mT, sparsemax(cube, dim=1))


def test_sparsemax_in_float32_sums_to_one_at_any_scale():
    logits = torch.randn(500, 10, generator=torch.Generator().manual_seed(0))
    for scale in (1e-6, 1, 1e3, 1e9, 1e30):
        p = sparsemax(logits * scale)
        assert (p >= 0).all()
        torch.testing.assert_close(p.sum(1), torch.ones(500))


def test_gradient_of_sparsemax():
    logits = torch.randn(20, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert ((sparsemax(logits) > 0).sum(1) > 1).any()
    logits.requires_grad_()
    assert torch.autograd.gradcheck(sparsemax, logits)
    assert torch.autograd.gradcheck(lambda z: sparsemax(z.T, dim=0), logits)


def test_sparsemax_hands_nan_on():
    p = sparsemax(torch.tensor([[torch.nan, 0.0], [1.0, 0.0]]))
    assert p[0].isnan().all()
    assert torch.equal(p[1], torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize(("dim", "classes"), [(6, 3), (4, 4), (5, 1)])
def test_orthonormal_encoder_is_pytorchs_parametrisation(dim, classes):
    torch.manual_seed(0)
    layers = [parametrizations.orthogonal(nn.Linear(dim, classes, bias=False)) for _ in range(3)]
    unconstrained = [layer.parametrizations.weight.original for layer in layers]
    with torch.no_grad():
        for parameter in unconstrained[1:]:  # away from the start; the diagonal stays
            parameter.add_(torch.randn(classes, dim).mT.tril(-1).mT)
    encoder = OrthonormalEncoder(
        torch.stack([parameter.detach() for parameter in unconstrained]),
        torch.stack([layer.parametrizations.weight[0].base for layer in layers]),
    )
    assert [p.shape for p in encoder.parameters()] == [(3, classes, dim)]
    target = torch.randn(classes, dim)
    ours = torch.optim.Adam(encoder.parameters(), lr=0.1)
    theirs = torch.optim.Adam(unconstrained, lr=0.1)
    for _ in range(5):
        expected = torch.stack([layer.weight for layer in layers])
        torch.testing.assert_close(encoder.weight, expected, rtol=1e-4, atol=1e-5)
        for loss, step in (
            ((encoder.weight * target).sum(), ours),
            ((expected * target).sum(), theirs),
        ):
            step.zero_grad()
            loss.backward()
        for run, parameter in enumerate(unconstrained):
            gradient = encoder.unconstrained.grad[run]
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-5)
        ours.step()
        theirs.step()
    gram = encoder.weight @ encoder.weight.mT
    torch.testing.assert_close(gram, torch.eye(classes).expand(3, -1, -1), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("dim", "classes"), [(6, 3), (4, 4)])
def test_orthonormal_encoder_starts_at_its_orthonormalised_draw(dim, classes):
    (heads,) = draw_heads([dim], classes, streams(0, 1))
    state = torch.get_rng_state()
    encoder = OrthonormalEncoder.initial(dim, classes, streams(0, 1))
    assert torch.equal(state, torch.get_rng_state()), "the global generator moved"
    for run, drawn in enumerate(heads[..., :-1]):
        rows = []
        for row in drawn:  # Gram and Schmidt
            row = row - sum(((row @ before) * before for before in rows), torch.zeros(dim))
            rows.append(row / row.norm())
        start = torch.stack(rows) if classes < dim else torch.stack(rows).T  # as in PyTorch
        torch.testing.assert_close(encoder.weight[run], start, rtol=1e-3, atol=1e-5)
        alone = OrthonormalEncoder.initial(dim, classes, streams(run))
        torch.testing.assert_close(alone.weight[0], encoder.weight[run])


def test_orthogonal_basis():
    columns = torch.randn(3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    basis = orthogonal_basis(columns)
    torch.testing.assert_close(basis.mT @ basis, torch.eye(5).double().expand(3, -1, -1))
    r = basis.mT @ columns
    torch.testing.assert_close(r, r.triu())
    assert (r.diagonal(dim1=-2, dim2=-1) > 0).all()
