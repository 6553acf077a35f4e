import numpy as np
import pytest
import torch

from kit import networks
from kit.phantom.competition import Case
from kit.recipes.schema import Loss, Network
from kit.training import losses

SIDE, STEPS, RATE = 64, 70, 0.003


def drawn(split, count):
    """Grey levels and masks of the first phantoms: uint8 and bool (count, 1, SIDE, SIDE)."""
    cases = [Case(0, split, index) for index in range(count)]
    empty = np.zeros((SIDE, SIDE), bool)
    masks = [np.any([empty, *case.masks(SIDE)], axis=0) for case in cases]
    images = [case.pixels(SIDE) for case in cases]
    return tuple(torch.from_numpy(np.stack(rows)[:, None]) for rows in (images, masks))


@pytest.mark.slow
def test_a_tiny_network_learns_the_phantoms():
    """0.3 million random weights and 70 steps find the air of new patients, and none where there is none."""
    images, masks = drawn(0, 108)
    positive = masks.flatten(1).any(1).numpy()
    groups = np.flatnonzero(positive), np.flatnonzero(~positive)
    torch.manual_seed(0)
    network = networks.build(
        Network(encoder="tu-test_resnet", encoder_weights=None, decoder_channels=(32, 32, 16, 16, 16)), pretrained=False
    )
    optimizer, rng = torch.optim.Adam(network.parameters()), np.random.default_rng(0)
    network.train()
    for step in range(STEPS):
        rows = np.concatenate([rng.choice(group, 8) for group in groups])
        turned = (3,) if step % 2 else ()
        logits, _ = network(images[rows].flip(turned))
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 + np.cos(np.pi * step / STEPS)) / 2
        optimizer.zero_grad()
        losses.total(Loss(), logits, None, masks[rows].flip(turned)).backward()
        optimizer.step()

    images, truth = drawn(1, 54)
    network.eval()
    with torch.no_grad():
        found = network(images)[0] > 0
    both, areas = (found & truth).flatten(1).sum(1), (found.flatten(1).sum(1) + truth.flatten(1).sum(1))
    positive = truth.flatten(1).any(1)
    assert (2 * both / areas)[positive].mean() > 0.6
    assert (areas == 0)[~positive].float().mean() > 0.9
