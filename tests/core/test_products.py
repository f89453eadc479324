"""The two products in every form against plain ones, autograd and PyTorch's linear layer."""

import pytest
import torch
from torch import nn

from hume_turtle.core import products
from hume_turtle.core.products import head_gradient, linear_logits, onednn_linear
from hume_turtle.core.task_encoders import draw_heads, with_constant


def streams(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_linear_logits_are_those_of_a_linear_layer():
    (head,) = draw_heads([5], 3, streams(0, 1))
    space = torch.randn(7, 5)
    logits = linear_logits(head, with_constant(space))
    assert logits.shape == (2, 3, 7)
    for run in range(2):
        layer = nn.functional.linear(space, head[run, :, :-1], head[run, :, -1])  # (n, C)
        torch.testing.assert_close(logits[run].T, layer)


def test_head_gradient_is_autograds():
    head = torch.randn(2, 3, 5, requires_grad=True)
    space, residual = torch.randn(7, 5), torch.randn(2, 3, 7)
    (head @ space.T * residual).sum().backward()
    torch.testing.assert_close(head_gradient(residual, space), head.grad)
    torch.testing.assert_close(head_gradient(residual, space, 0.5), head.grad / 2)


def test_half_precision_operands_keep_the_heads_precision():
    head, space = torch.randn(2, 3, 65), torch.randn(50, 65).bfloat16()
    logits = linear_logits(head, space)
    assert logits.dtype == torch.float32
    exact = linear_logits(head, space.float())
    assert (logits - exact).norm() < 0.01 * exact.norm()
    assert (logits - exact).norm() > 0
    gradient, expected = head_gradient(exact, space), head_gradient(exact, space.float())
    assert gradient.dtype == torch.float32
    assert (gradient - expected).norm() < 0.01 * expected.norm()


@pytest.fixture(params=["oneDNN", "plain"])
def large(request, monkeypatch):
    """Small products take the forms of large ones, with oneDNN's operator and without it."""
    monkeypatch.setattr(products, "LARGE", 0)
    if request.param == "plain":
        monkeypatch.setattr(products, "onednn_linear", lambda: None)


@pytest.mark.parametrize("rows", [1, 7, 8, 30])  # fewer than blocks, and some left over
@pytest.mark.parametrize("classes", [2, 5, 40])  # thin, and too wide
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_form_is_the_same_product(large, dtype, classes, rows):
    head = torch.randn(2, classes, 9, dtype=dtype)
    residual = torch.randn(2, classes, rows, dtype=dtype)
    wide = torch.randn(rows, 12, dtype=dtype)
    for space in (wide[:, :9].contiguous(), wide[:, :9]):  # without and with gaps between rows
        logits, gradient = linear_logits(head, space), head_gradient(residual, space)
        assert logits.is_contiguous()
        assert logits.dtype == gradient.dtype == dtype
        torch.testing.assert_close(logits, head @ space.T, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gradient, residual @ space, rtol=1e-4, atol=1e-5)


def test_logits_have_a_gradient_where_one_is_asked_for(large):
    head, space = torch.randn(1, 3, 5, requires_grad=True), torch.randn(7, 5)
    linear_logits(head, space).sum().backward()
    torch.testing.assert_close(head.grad, space.sum(0).expand(1, 3, 5))


def test_only_large_thin_products_in_float32_go_to_onednn(monkeypatch):
    calls = []

    def product(rows, heads):
        calls.append(tuple(rows.shape))
        return rows @ heads.T

    monkeypatch.setattr(products, "onednn_linear", lambda: product)
    monkeypatch.setattr(products, "LARGE", 30)
    for rows, classes, dtype in ((10, 3, torch.float32), (9, 3, torch.float32),
                                 (10, 65, torch.float32), (10, 3, torch.bfloat16)):  # fmt: skip
        linear_logits(torch.randn(1, classes, 3), torch.randn(rows, 3).to(dtype))
    assert calls == [(10, 3)]


@pytest.mark.parametrize("failure", [AttributeError, RuntimeError, TypeError, None])
def test_without_onednns_operator_products_are_plain(monkeypatch, failure):
    def broken(rows, *_):
        if failure:
            raise failure
        return rows  # another meaning than ours

    operator = "torch.ops.mkldnn._linear_pointwise"
    monkeypatch.setattr(operator, broken, raising=False)
    assert onednn_linear.__wrapped__() is None


def test_large_products_repeat_to_the_bit():
    head, residual, space = torch.randn(1, 3, 300), torch.randn(1, 3, 4000), torch.randn(4000, 300)
    assert space.numel() >= products.LARGE
    assert torch.equal(linear_logits(head, space), linear_logits(head.clone(), space.clone()))
    assert torch.equal(
        head_gradient(residual, space), head_gradient(residual.clone(), space.clone())
    )
