"""A stage's starting weights, learning and output."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from staging import BASE, data, train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from kit import networks, recipes
from kit.core.errors import KitError
from kit.training import fabric_setup


def test_a_stage_learns_and_writes_its_files(tmp_path):
    _, metrics = train(tmp_path, "stages.0.epochs=30 stages.0.learning_rate=0.003 stages.0.keep.swa.last=2")
    assert metrics.weights.tolist() == ["epoch"] * 30 + ["final"]
    assert metrics.loss[29] < metrics.loss[0] - 0.3
    assert metrics.dice.iloc[-1] > 0.7
    expected = 0.003 * (1 + np.cos(np.pi * np.arange(30) / 30)) / 2
    np.testing.assert_allclose(metrics.learning_rate[:30], expected)
    shown = EventAccumulator(str(tmp_path / "tensorboard"), {"images": 0}).Reload()
    assert [event.step for event in shown.Images("cases")] == list(range(1, 31))
    assert shown.Scalars("final_dice")[0].value == pytest.approx(metrics.dice.iloc[-1])
    picture = cv2.imdecode(np.frombuffer(shown.Images("final_cases")[0].encoded_image_string, np.uint8), 0)
    images, truth, found = np.split(picture, 3, axis=1)
    rows, drawn = data().validation, data().cache
    assert images.shape[0] == min(4, len(rows)) * drawn.images.shape[1]
    assert {line.tobytes() for line in np.split(images, len(images) // drawn.images.shape[1])} <= {
        drawn.images[row].tobytes() for row in rows
    }
    assert np.abs(found.astype(int) - truth).mean() < 60  # it has learned where


def test_a_stage_ends_when_its_score_stops_improving(tmp_path):
    overrides = "stages.0.keep=last stages.0.epochs=9 stages.0.early_stopping={patience: 2, of: dice}"
    _, metrics = train(tmp_path, f"{overrides} threshold.binarization=1 threshold.removal=1048576")
    assert metrics.weights.tolist() == ["epoch"] * 3 + ["final"]


def test_a_second_stage_starts_from_the_given_weights(tmp_path):
    first, _ = train(tmp_path / "one")
    second, _ = train(
        tmp_path / "two",
        "stages.1.learning_rate=1e-12 stages.1.keep=last",
        1,
        tmp_path / "one" / "weights.safetensors",
    )
    name = "net.decoder.blocks.0.conv1.0.weight"
    assert torch.allclose(first[name], second[name], atol=1e-6)


def test_an_encoder_frozen_all_along_does_not_change(tmp_path):
    first, _ = train(tmp_path / "one")
    frozen, _ = train(
        tmp_path / "two", "stages.1.frozen_epochs=3 stages.1.keep=last", 1, tmp_path / "one" / "weights.safetensors"
    )
    changed = {name.split(".")[1] for name in first if not torch.equal(first[name], frozen[name])}
    assert changed == {"decoder", "segmentation_head"}


@pytest.mark.parametrize("encoder", ["resnet18", "tu-tf_efficientnet_lite0", "se_resnext50_32x4d"])
def test_batch_norm_shared_by_gpus_is_the_same_network(encoder):
    loaded = recipes.load("demo", BASE + f"network.encoder={encoder}")
    network = networks.build(loaded.network).eval()
    images = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    before, names = network(images)[0], list(network.state_dict())
    gpus = SimpleNamespace(world_size=2, device=torch.device("cuda"))
    shared = fabric_setup.with_shared_batch_norm(network, gpus)
    assert not any(type(module) is nn.BatchNorm2d for module in shared.modules())
    assert list(shared.state_dict()) == names
    assert torch.equal(shared.eval()(images)[0], before)


@pytest.mark.parametrize(
    ("recipe", "world", "where"),
    [("exp4", 4, r"stages\.1\.batch_size: 14 .* 4 processes.* set 16"), ("sneddy", 4, r"stages\.1\.batch_size: 2 ")],
)
def test_a_batch_that_processes_cannot_share_is_refused_before_any_training(monkeypatch, recipe, world, where):
    monkeypatch.setenv("WORLD_SIZE", str(world))
    with pytest.raises(KitError, match=where):
        fabric_setup.launch(recipes.load(recipe))


def test_validation_waits_for_its_epoch_and_the_weights_are_the_same(tmp_path):
    every, measured = train(tmp_path / "every", "stages.0.keep=last")
    seldom, metrics = train(tmp_path / "seldom", "stages.0.keep=last stages.0.validate_every=2")
    assert all(torch.equal(every[name], seldom[name]) for name in every)
    assert metrics.dice.isna().tolist() == [True, False, False, False]  # three epochs, and the final weights
    for row in (1, 2, 3):
        names = ["validation_loss", "iou", "dice", "dice_positives", "dice_all_empty"]
        assert metrics.loc[row, names].tolist() == measured.loc[row, names].tolist()
    assert metrics.dice_all_empty[3] == 0.5


def test_dice_on_positives_is_reported_separately(tmp_path):
    _, metrics = train(tmp_path, "stages.0.keep=last threshold.binarization=1.0")
    last = metrics.iloc[-1]
    assert (last.dice, last.dice_positives, last.dice_all_empty) == (0.5, 0.0, 0.5)  # nothing reaches p = 1


def test_a_batch_too_small_to_normalise_gives_one_line(tmp_path):
    with pytest.raises(KitError, match=r"fold 0 stage 1 \(32 px\): .*1 image a step and process: raise"):
        train(tmp_path, "stages.0.batch_size=1")
