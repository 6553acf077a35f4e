"""Gradients of micro-batches, and checks for divergence, on networks with a few weights."""

import math

import lightning_fabric
import pytest
import torch
from lightning_fabric.plugins.precision import MixedPrecision
from torch import nn

from kit.core.errors import KitError
from kit.recipes.schema import Loss
from kit.training import losses, step

LOSS = {"image": 0.3, "image_focal": 0.2, "focal": 0.5, "lovasz": 0.7}
LOSSES = [
    {},
    {"dice_areas": "squares"},
    {"bce": 0.0},
    LOSS,
    {"dice_over": "batch"},
    {"dice_over": "batch", "dice_areas": "squares", "bce": 0.0, "dice": 3.0},
    LOSS | {"dice_over": "batch"},
]


class Tiny(nn.Module):
    """A network with mask and image outputs, with dropout or with batch norm."""

    def __init__(self, dropout=0.0, norm=False):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 1)
        self.between = nn.Sequential(nn.BatchNorm2d(4) if norm else nn.Identity(), nn.Tanh(), nn.Dropout2d(dropout))
        self.image = nn.Linear(4, 1)

    def forward(self, images):
        features = self.between(self.first(images.float() / 255))
        return self.last(features), self.image(features.mean((2, 3)))[:, 0]


def batch(count=6):
    random = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=random)
    masks = (images > 160).to(torch.uint8)
    masks[1] = 0
    return images, masks


def fabric(*plugins):
    return lightning_fabric.Fabric(accelerator="cpu", devices=1, plugins=list(plugins))


def gradient(loss, micro_batch=None, unknown=(), **network):
    here = fabric()
    model = here.setup_module(Tiny(**network))
    torch.manual_seed(5)
    (images, masks), known = batch(), None
    if unknown:
        known = torch.tensor([index not in unknown for index in range(len(images))])
        masks[~known] = 255
    found = step.backward(here, model, Loss(**loss), images, masks, micro_batch, known)
    return float(found), torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("micro_batch", [1, 2, 4, 6, 9])
@pytest.mark.parametrize("unknown", [(), (0, 2, 3)])  # two parts of two: all of one, half of the other
def test_micro_batches_add_up_to_the_whole_batch(loss, micro_batch, unknown):
    whole, expected = gradient(loss, None, unknown)
    value, found = gradient(loss, micro_batch, unknown)
    assert value == pytest.approx(whole, rel=1e-5)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_a_whole_batch_is_the_plain_gradient_bit_for_bit():
    for loss in LOSSES:
        value, found = gradient(loss)
        network = Tiny()
        expected = losses.total(Loss(**loss), *network(batch()[0]), batch()[1])
        expected.backward()
        weights = [weight.grad.flatten() for weight in network.parameters() if weight.grad is not None]
        assert value == float(expected.detach())
        assert torch.equal(found, torch.cat(weights))


def test_areas_of_the_batch_use_the_dropout_of_the_step():
    """If dropout differed in the first pass, the micro-batches would not add up to the expected loss."""
    here, loss = fabric(), Loss(dice_over="batch", bce=0.0)
    images, masks = batch()
    model = here.setup_module(Tiny(dropout=0.5))
    torch.manual_seed(5)
    step.backward(here, model, loss, images, masks, 3)
    found = model.first.weight.grad.clone()
    model.zero_grad()
    torch.manual_seed(5)
    logits = torch.cat([model(part)[0] for part in images.split(3)])
    losses.total(loss, logits, None, masks).backward()
    torch.testing.assert_close(found, model.first.weight.grad, rtol=1e-4, atol=1e-7)


def test_batch_norm_normalises_and_counts_each_micro_batch_once():
    here = fabric()
    model = here.setup_module(Tiny(norm=True))
    step.backward(here, model, Loss(dice_over="batch"), *batch(), 2)
    norm = model.between[0]
    assert int(norm.num_batches_tracked) == 3
    expected = nn.BatchNorm2d(4)
    with torch.no_grad():
        for part in batch()[0].split(2):
            expected(model.first(part.float() / 255))
    torch.testing.assert_close(norm.running_var, expected.running_var)


class TestProgress:
    def test_a_loss_that_is_not_finite_ends_the_epoch_with_the_next_step_or_its_own_end(self):
        for value in (math.nan, math.inf):
            steps = step.Progress(fabric(), Tiny())
            steps.end_step(torch.tensor(1.0))
            steps.end_step(torch.tensor(value))
            with pytest.raises(step.NotFiniteError, match="the loss is"):
                steps.end_step(torch.tensor(1.0))
            steps = step.Progress(fabric(), Tiny())
            steps.end_step(torch.tensor(value))
            with pytest.raises(step.NotFiniteError, match="the loss is"):
                steps.end()

    @pytest.mark.parametrize(
        ("name", "told"),
        [("first.weight", "the weights are"), ("between.0.running_var", "batch norm's statistics are")],
    )
    def test_weights_and_statistics_that_are_not_finite_end_the_epoch(self, name, told):
        network = Tiny(norm=True)
        network.state_dict()[name].view(-1)[0] = math.inf
        with pytest.raises(step.NotFiniteError, match=told):
            step.Progress(fabric(), network).end()

    def test_the_loss_is_the_mean_of_the_steps(self):
        steps = step.Progress(fabric(), Tiny())
        for value in (1.0, 2.0, 6.0):
            steps.end_step(torch.tensor(value))
        steps.end()
        assert (steps.loss, steps.skipped) == (3.0, 0)

    def test_half_precision_counts_skipped_steps_and_reverts_batch_norm(self):
        network = Tiny(norm=True)
        steps = step.Progress(fabric(MixedPrecision("16-mixed", "cpu")), network)
        norm = network.between[0]
        for scale, value in ((1, 1.0), (math.nan, math.nan), (1, 3.0)):
            before = norm.running_mean.clone()
            steps.begin_step()
            network.zero_grad()
            network(batch()[0])[0].mean().backward()
            norm.running_mean *= scale
            network.first.weight.grad *= scale
            steps.end_step(torch.tensor(value))
            assert torch.equal(norm.running_mean, before) == math.isnan(scale)
        steps.end()
        assert (steps.loss, steps.skipped) == (2.0, 1)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"),
        RuntimeError("CUDA error: out of memory"),
        MemoryError(),
    ],
)
@pytest.mark.parametrize(("images", "told"), [(16, r"set stages\.1\.micro_batch=8,"), (1, r"lower stages\.1\.size,")])
def test_too_little_memory_gives_one_line_with_a_value_to_try(error, images, told):
    line = f"^fold 0 stage 2: there is not enough memory for {images} image.*{told}"
    with pytest.raises(KitError, match=line), step.translated_errors("fold 0 stage 2", images, "stages.1"):
        raise error


def test_other_errors_are_not_translated():
    for error in (RuntimeError("another bug"), ValueError("another")):
        with pytest.raises(type(error), match=r"^another"), step.translated_errors("x", 2, "stages.0"):
            raise error
