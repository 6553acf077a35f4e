"""Adam, AdamW and SGD against their papers' formulas, and the clipping of gradients."""

import numpy as np
import pytest
import torch
from torch import nn

from kit.recipes.schema import Optimizer
from kit.training.state import build_optimizer, set_rate


def slow_adam(weight, gradients, rate, decay, decoupled):
    """Kingma and Ba (2015), with L2 regularisation, or the decoupled decay of Loshchilov and Hutter (2019)."""
    first = second = 0.0
    for step, gradient in enumerate(gradients, 1):
        if decoupled:
            weight = weight - rate * decay * weight
        else:
            gradient = gradient + decay * weight
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        weight = weight - rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return weight


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("decay", [0, 0.1])
def test_steps_of_adam_equal_the_papers_formulas(name, decay):
    network, start = nn.Linear(3, 1, bias=False).double(), np.array([0.5, -1.0, 2.0])
    gradients = np.random.default_rng(0).normal(size=(5, 3))
    network.weight.data = torch.tensor(start)[None]
    optimizer = build_optimizer(Optimizer(name=name, weight_decay=decay), network, 0.01)
    for gradient in gradients:
        network.weight.grad = torch.tensor(gradient)[None]
        optimizer.step()
    expected = slow_adam(start, gradients, 0.01, decay, name == "adamw")
    np.testing.assert_allclose(network.weight[0].detach(), expected, rtol=1e-9)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0, False), (0.9, False), (0.9, True)])
def test_steps_of_sgd_equal_its_formula(momentum, nesterov):
    """Sutskever et al. (2013), with the learning rate outside the velocity."""
    network, weight = nn.Linear(3, 1, bias=False).double(), np.array([0.5, -1.0, 2.0])
    network.weight.data = torch.tensor(weight)[None]
    settings = Optimizer(name="sgd", momentum=momentum, nesterov=nesterov, weight_decay=0.1)
    optimizer, velocity = build_optimizer(settings, network, 1.0), 0.0
    for number, gradient in enumerate(np.random.default_rng(0).normal(size=(5, 3)), 1):
        set_rate(optimizer, 0.01 * number)
        network.weight.grad = torch.tensor(gradient)[None]
        optimizer.step()
        decayed = gradient + 0.1 * weight
        velocity = momentum * velocity + decayed
        weight = weight - 0.01 * number * (decayed + momentum * velocity if nesterov else velocity)
    np.testing.assert_allclose(network.weight[0].detach(), weight, rtol=1e-9)
