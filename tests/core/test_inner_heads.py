"""The inner loops against torch.optim, autograd and finite differences."""

import torch
from torch import nn

from hume_turtle.core.inner_heads import Adam, train_heads
from hume_turtle.core.task_encoders import draw_heads, with_constant


def streams(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def random_labeling(runs, classes, rows, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(runs, classes, rows, generator=generator, dtype=dtype).softmax(1)


def test_adam_is_pytorchs_with_a_learning_rate_a_run():
    generator = torch.Generator().manual_seed(0)
    lrs = torch.tensor([0.1, 0.003])
    starts = [torch.randn(2, 3, 4, generator=generator), torch.randn(2, 3, generator=generator)]
    ours = [start.clone() for start in starts]
    theirs = [[start[run].clone() for start in starts] for run in range(2)]
    adam = Adam(ours, lrs)
    torch_adam = [torch.optim.Adam(p, lr=float(lr)) for p, lr in zip(theirs, lrs)]
    for step in range(12):
        if step == 6:
            adam.scale_lr(0.1)
            for optimiser in torch_adam:
                optimiser.param_groups[0]["lr"] *= 0.1
        scale = 10.0 ** (3 * (step % 3) - 6)  # tiny gradients show where eps stands
        gradients = [scale * torch.randn(start.shape, generator=generator) for start in starts]
        if step == 3:
            gradients[0][:, 0] = 0
        adam.step(gradients)
        for run, optimiser in enumerate(torch_adam):
            for parameter, gradient in zip(theirs[run], gradients):
                parameter.grad = gradient[run].clone()
            optimiser.step()
        for i, parameter in enumerate(ours):
            expected = torch.stack([theirs[run][i] for run in range(2)])
            torch.testing.assert_close(parameter, expected, rtol=1e-5, atol=1e-6)


def test_adam_starts_anew_after_reset():
    generator = torch.Generator().manual_seed(0)
    parameter, value = torch.randn(2, 3, generator=generator), torch.zeros(2, 3)
    gradients = [torch.randn(2, 3, generator=generator) for _ in range(3)]
    adam = Adam([parameter], torch.tensor([0.1, 0.2]))
    for gradient in gradients:
        adam.step([gradient])
    adam.reset([value])
    fresh = Adam([value.clone()], torch.tensor([0.1, 0.2]))
    for gradient in gradients:
        adam.step([gradient])
        fresh.step([gradient])
    assert torch.equal(parameter, fresh.parameters[0])
    assert torch.equal(value, torch.zeros(2, 3)), "the values of the reset were moved"


def test_adam_resets_some_runs_and_leaves_the_others():
    generator = torch.Generator().manual_seed(0)
    start, value = torch.randn(3, 2, 3, generator=generator), torch.randn(1, 2, 3)
    gradients = [torch.randn(3, 2, 3, generator=generator) for _ in range(4)]
    lrs = torch.tensor([0.1, 0.2, 0.1])
    adam, whole = Adam([start.clone()], lrs), Adam([start.clone()], lrs)
    fresh = Adam([value.clone()], lrs[1:2])
    for t, gradient in enumerate(gradients):
        if t == 2:
            adam.reset([value], [1])
        adam.step([gradient])
        whole.step([gradient])
        if t >= 2:
            fresh.step([gradient[1:2]])
    assert torch.equal(adam.parameters[0][[0, 2]], whole.parameters[0][[0, 2]])
    torch.testing.assert_close(adam.parameters[0][1:2], fresh.parameters[0])


def test_adam_reads_gradients_of_any_layout():
    gradient = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    steps = []
    for laid_out in (gradient, gradient.mT.contiguous().mT):
        adam = Adam([torch.zeros(1, 3, 4)], torch.tensor([0.1]))
        adam.step([laid_out])
        steps.append(adam.parameters[0])
    assert torch.equal(*steps)


def test_train_heads_is_adam_on_cross_entropy():
    dims, classes, rows, lrs = [4, 6, 3], 3, 20, torch.tensor([0.05, 0.01])
    heads = draw_heads(dims, classes, streams(0, 1))
    spaces = [torch.randn(rows, dim, generator=torch.Generator().manual_seed(dim)) for dim in dims]
    labeling = random_labeling(2, classes, rows)
    adams = [Adam([head.clone()], lrs) for head in heads]
    train_heads(adams, [with_constant(space) for space in spaces], labeling, steps=7)
    for run in range(2):
        layers = [nn.Linear(dim, classes) for dim in dims]
        for layer, head in zip(layers, heads):
            layer.weight.data, layer.bias.data = head[run, :, :-1].clone(), head[run, :, -1].clone()
        optimiser = torch.optim.Adam(
            [p for m in layers for p in m.parameters()], lr=float(lrs[run])
        )
        for _ in range(7):
            loss = sum(
                nn.functional.cross_entropy(layer(space), labeling[run].T)
                for layer, space in zip(layers, spaces)
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        for layer, (head,) in zip(layers, (adam.parameters for adam in adams)):
            torch.testing.assert_close(head[run, :, :-1], layer.weight, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(head[run, :, -1], layer.bias, rtol=1e-4, atol=1e-5)
