"""The loop: it learns, and a killed one goes on to the same weights, bit for bit."""

import os
from types import SimpleNamespace

import cv2
import lightning_fabric
import numpy as np
import pandas as pd
import pytest
import torch
from lightning_fabric.plugins.precision import MixedPrecision
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.optim.swa_utils import update_bn

from kit import networks, recipes
from kit.core.errors import KitError
from kit.data.cache import Cache
from kit.training import checkpoint, fabric_setup, optimizers, stage
from kit.training.averaging import Checkpoints
from kit.training.curves import Curves

BASE = (
    "network.encoder=resnet18 network.decoder_channels=[16,16,8,8,8] stages.0.size=32 stages.1.size=32 "
    "stages.0.epochs=3 stages.1.epochs=3 stages.0.batch_size=4 stages.1.batch_size=4 "
)


def data(count=16, size=32):
    random = np.random.default_rng(0)
    images = random.integers(100, 200, (count, size, size), np.uint8)
    masks = np.zeros((count, size, size), np.uint8)
    masks[: count // 2, 8:24, 8:24] = 1
    images[masks > 0] //= 4
    cache = Cache(images, masks, (b"",) * count, np.zeros(count, bool))
    training = np.arange(0, count, 2)
    return stage.FoldData(cache, training, np.arange(1, count, 2), masks[training].any(axis=(1, 2)))


def train(folder, overrides="", number=0, start=None, name="demo", fabric=None):
    loaded = recipes.load(name, BASE + overrides)
    stage.train(fabric or fabric_setup.launch(loaded), loaded, number, 0, data(), folder, start)
    return load_file(folder / "weights.safetensors"), pd.read_csv(folder / "metrics.csv")


def mixed_precision():
    """What a GPU trains with, on the CPU: float16 and a gradient scaler."""
    return lightning_fabric.Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu"))


class Killed(Exception):
    pass


def killed_in_the_second_epoch(monkeypatch, folder, overrides="", fabric=None):
    validate, calls = stage.validate, []

    def kill(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise Killed
        return validate(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stage, "validate", kill)
        with pytest.raises(Killed):
            train(folder, overrides, fabric=fabric)
    assert not (folder / "weights.safetensors").exists()


@pytest.mark.parametrize(
    "overrides",
    [
        "stages.0.swa_epochs=2",
        "stages.0.swa_epochs=[1,3]",
        "stages.0.swa_epochs=0",
        "stages.0.swa_epochs=0 stages.0.best_checkpoints=2",
        "stages.0.swa_epochs=0 stages.0.best_checkpoints=2 stages.0.averaged=predictions",
        "stages.0.swa_epochs=2 stages.0.passes_on=best",
        "stages.0.schedule=plateau stages.0.plateau.patience=1 stages.0.plateau.threshold=9 stages.0.frozen_epochs=2",
        "stages.0.swa_epochs=0 stages.0.epochs=9 stages.0.early_stopping=2 stages.0.watch=score "
        "threshold.binarization=1 stages.0.periods=[1,2]",  # a score of 0.5 for ever
    ],
)
def test_a_killed_stage_goes_on_to_the_same_weights(tmp_path, monkeypatch, overrides):
    whole, whole_metrics = train(tmp_path / "whole", overrides)
    killed_in_the_second_epoch(monkeypatch, tmp_path / "killed", overrides)
    resumed, resumed_metrics = train(tmp_path / "killed", overrides)
    assert whole.keys() == resumed.keys()
    for path in (tmp_path / "whole").glob("*.safetensors"):
        one, other = load_file(path), load_file(tmp_path / "killed" / path.name)
        assert all(torch.equal(one[name], other[name]) for name in one)
    pd.testing.assert_frame_equal(whole_metrics.drop(columns="seconds"), resumed_metrics.drop(columns="seconds"))


def test_mixed_precision_learns_and_goes_on_with_its_loss_scale(tmp_path, monkeypatch):
    whole, metrics = train(tmp_path / "whole", fabric=mixed_precision())
    assert metrics.loss[2] < metrics.loss[0]
    full, _ = train(tmp_path / "full")
    assert not all(torch.equal(whole[name], full[name]) for name in whole)
    killed_in_the_second_epoch(monkeypatch, tmp_path / "killed", fabric=mixed_precision())
    resumed, _ = train(tmp_path / "killed", fabric=mixed_precision())
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize(
    "overrides",
    [
        "network.encoder=efficientnet-b0 stages.0.swa_epochs=2",  # drops connections at random
        "stages.0.swa_epochs=2 stages.0.frozen_epochs=3",
    ],
)
def test_a_stage_killed_after_its_last_epoch_ends_in_the_same_weights(tmp_path, monkeypatch, overrides):
    whole, whole_metrics = train(tmp_path / "whole", overrides)

    def kill(path, network):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(networks, "save_weights", kill)
        with pytest.raises(Killed):
            train(tmp_path / "killed", overrides)
    torch.manual_seed(99)
    resumed, resumed_metrics = train(tmp_path / "killed", overrides)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    pd.testing.assert_frame_equal(whole_metrics.drop(columns="seconds"), resumed_metrics.drop(columns="seconds"))


@pytest.mark.parametrize("fabric", [None, mixed_precision])
def test_no_step_is_made_with_a_larger_gradient_than_the_clip(tmp_path, monkeypatch, fabric):
    def norms(folder, overrides):
        seen = []

        class Watched(torch.optim.Adam):
            def step(self, *args, **kwargs):
                gradients = [weight.grad for group in self.param_groups for weight in group["params"]]
                seen.append(torch.cat([g.flatten() for g in gradients if g is not None]).norm().item())
                return super().step(*args, **kwargs)

        monkeypatch.setitem(optimizers.KINDS, "adam", Watched)
        train(folder, overrides, fabric=fabric and fabric())
        return np.array(seen)

    free, clipped = norms(tmp_path / "free", ""), norms(tmp_path / "clipped", "optimizer.clip=0.1")
    assert free.max() > 0.2
    np.testing.assert_allclose(clipped.max(), 0.1, rtol=1e-3)


def test_no_stage_depends_on_the_loss_scale_of_the_one_before():
    fabric = mixed_precision()
    fresh = fabric.strategy.precision.state_dict()
    fabric_setup.set_loss_scale(fabric, fresh | {"scale": 2.0, "_growth_tracker": 7})
    assert fabric.strategy.precision.state_dict()["scale"] == 2.0
    fabric_setup.set_loss_scale(fabric, {})
    assert fabric.strategy.precision.state_dict() == fresh


@pytest.mark.parametrize("first_mixed", [True, False])
def test_a_stage_goes_on_with_another_precision(tmp_path, monkeypatch, first_mixed):
    """As on a GPU after a CPU, or the other way round."""
    killed_in_the_second_epoch(monkeypatch, tmp_path, fabric=mixed_precision() if first_mixed else None)
    _, metrics = train(tmp_path, fabric=None if first_mixed else mixed_precision())
    assert metrics.weights.tolist() == ["epoch"] * 3 + ["final"]
    assert np.isfinite(metrics.validation_loss).all()


def test_it_learns_and_writes_what_it_did(tmp_path):
    _, metrics = train(tmp_path, "stages.0.epochs=30 stages.0.learning_rate=0.003 stages.0.swa_epochs=2")
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


def outputs(weights, name="demo", overrides=""):
    """Probabilities of the validation images by some weights, (N, H, W)."""
    loaded, fold = recipes.load(name, BASE + overrides), data()
    network = networks.build(loaded.network)
    network.load_state_dict(weights)
    images = torch.from_numpy(np.array(fold.cache.images[fold.validation]))[:, None]
    with torch.no_grad():
        return network.eval()(images)[0].sigmoid()[:, 0].numpy()


@pytest.fixture(scope="module")
def five_epochs(tmp_path_factory):
    """A folder with the weights of each of five epochs, epoch1.safetensors and so on, and their metrics."""
    folder = tmp_path_factory.mktemp("five")
    for epochs in range(1, 6):  # the rate is constant, so that a shorter stage is the beginning of a longer one
        train(folder / str(epochs), f"{FIVE} stages.0.epochs={epochs}")
    return folder


FIVE = "stages.0.swa_epochs=0 stages.0.schedule=constant stages.0.learning_rate=0.003 threshold.binarization=0.3"


def test_all_of_the_best_are_left_and_their_predictions_are_what_is_scored(tmp_path, five_epochs):
    overrides = f"{FIVE} stages.0.epochs=5 stages.0.best_checkpoints=3 stages.0.averaged=predictions"
    _, metrics = train(tmp_path, overrides)
    order = metrics[:5].sort_values(["score", "epoch"], ascending=[False, True]).epoch[:3].tolist()
    left = [load_file(tmp_path / f"weights{suffix}.safetensors") for suffix in ("", "-2", "-3")]
    for weights, epoch in zip(left, order, strict=True):
        expected = load_file(five_epochs / str(epoch) / "weights.safetensors")
        assert all(torch.equal(weights[name], expected[name]) for name in expected)
    mean = np.mean([outputs(weights) for weights in left], axis=0)
    truth, scores = np.array(data().cache.masks[data().validation]) > 0, []
    for probability, mask in zip(mean, truth, strict=True):
        predicted = probability >= 0.3
        both = predicted.sum() + mask.sum()
        scores.append(2 * (predicted & mask).sum() / both if both else 1)
    assert metrics.dice.iloc[-1] == pytest.approx(np.mean(scores), abs=1e-6)
    assert not np.allclose(mean, outputs({k: torch.stack([w[k] for w in left]).float().mean(0) for k in left[0]}))


def test_the_single_best_is_what_is_passed_on(tmp_path, five_epochs):
    whole, metrics = train(tmp_path, f"{FIVE} stages.0.epochs=5 stages.0.swa_epochs=[1,5] stages.0.passes_on=best")
    best = metrics[:5].sort_values(["score", "epoch"], ascending=[False, True]).epoch.iloc[0]
    passed_on, expected = (
        load_file(path) for path in (tmp_path / "best.safetensors", five_epochs / str(best) / "weights.safetensors")
    )
    assert all(torch.equal(passed_on[name], expected[name]) for name in expected)
    ends = [load_file(five_epochs / epoch / "weights.safetensors") for epoch in "15"]
    name = "net.decoder.blocks.0.conv1.0.weight"
    assert torch.allclose(whole[name], (ends[0][name] + ends[1][name]) / 2, atol=1e-6)


def test_the_score_is_the_best_of_the_candidates(tmp_path):
    weights, metrics = train(tmp_path, f"{FIVE} stages.0.epochs=1 threshold.candidates=[[0,0,0],[1,99,0.5]]")
    truth, scores = np.array(data().cache.masks[data().validation]) > 0, []
    for top, removal, binarization in ((0, 0, 0), (1, 99, 0.5)):
        dice = []
        for probability, mask in zip(outputs(weights), truth, strict=True):
            predicted = (probability >= binarization) & ((probability >= top).sum() * 1024 >= removal)
            both = predicted.sum() + mask.sum()
            dice.append(2 * (predicted & mask).sum() / both if both else 1)
        scores.append(np.mean(dice))
    assert scores[0] < scores[1]
    assert metrics.score[0] == pytest.approx(scores[1], abs=1e-6)


def test_a_stage_ends_when_its_score_has_stood_still(tmp_path):
    overrides = "stages.0.swa_epochs=0 stages.0.epochs=9 stages.0.early_stopping=2 stages.0.watch=score"
    _, metrics = train(tmp_path, f"{overrides} threshold.binarization=1 threshold.removal=1048576")
    assert metrics.weights.tolist() == ["epoch"] * 3 + ["final"]


def test_a_second_stage_starts_from_the_given_weights(tmp_path):
    first, _ = train(tmp_path / "one")
    second, _ = train(
        tmp_path / "two",
        "stages.1.learning_rate=1e-12 stages.1.swa_epochs=0",
        1,
        tmp_path / "one" / "weights.safetensors",
    )
    name = "net.decoder.blocks.0.conv1.0.weight"
    assert torch.allclose(first[name], second[name], atol=1e-6)


def test_an_encoder_frozen_all_along_does_not_change(tmp_path):
    first, _ = train(tmp_path / "one")
    frozen, _ = train(
        tmp_path / "two", "stages.1.frozen_epochs=3 stages.1.swa_epochs=0", 1, tmp_path / "one" / "weights.safetensors"
    )
    changed = {name.split(".")[1] for name in first if not torch.equal(first[name], frozen[name])}
    assert changed == {"decoder", "segmentation_head"}


@pytest.mark.parametrize("key", ["swa_epochs", "best_checkpoints"])
def test_averages_are_means_of_the_chosen_epochs(key):
    settings = {"swa_epochs": 0, "best_checkpoints": 0} | {key: 2}
    loaded = recipes.load("demo", BASE + " ".join(f"stages.0.{name}={value}" for name, value in settings.items()))
    average, states = Checkpoints(loaded.stages[0]), []
    for epoch, dice in enumerate((0.9, 0.1, 0.5)):
        torch.manual_seed(epoch)
        network = networks.build(loaded.network)
        states.append({name: tensor.clone() for name, tensor in network.named_parameters()})
        average.add(network, epoch, dice)
    images = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8)
    (left,) = average.left(network, [(images, images)])
    network.load_state_dict(left)
    chosen = (1, 2) if key == "swa_epochs" else (0, 2)
    for name, parameter in network.named_parameters():
        expected = torch.stack([states[epoch][name] for epoch in chosen]).double().mean(0)
        assert torch.allclose(parameter.double(), expected, atol=1e-6)
    # Batch-norm statistics are those of the data under the averaged weights.
    seen = []
    network.net.encoder.conv1.register_forward_hook(lambda module, inputs, output: seen.append(output))
    network.eval()(images)
    assert torch.allclose(network.net.encoder.bn1.running_mean, seen[0].mean((0, 2, 3)), rtol=1e-3, atol=1e-3)


def test_batch_norm_of_an_average_is_as_torch_would_recompute_it():
    loaded = recipes.load("demo", BASE + "stages.0.swa_epochs=2")
    images = torch.randint(0, 256, (12, 1, 32, 32), dtype=torch.uint8)
    batches = [(images[i : i + 4], None) for i in range(0, 12, 4)]
    network = networks.build(loaded.network)
    average = Checkpoints(loaded.stages[0])
    average.add(network, 1, 0.5)
    average.add(network, 2, 0.5)
    reference = networks.build(loaded.network)
    reference.load_state_dict(network.state_dict())
    update_bn(batches, reference)
    (left,) = average.left(network, batches)
    expected = reference.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in left.items())


def test_an_average_keeps_the_statistics_of_a_frozen_encoder(tmp_path):
    first, _ = train(tmp_path / "one")
    frozen, _ = train(
        tmp_path / "two", "stages.1.frozen_epochs=3 stages.1.swa_epochs=2", 1, tmp_path / "one" / "weights.safetensors"
    )
    assert all(torch.equal(first[name], frozen[name]) for name in first if name.startswith("net.encoder."))
    assert not torch.equal(
        first["net.decoder.blocks.0.conv1.1.running_mean"], frozen["net.decoder.blocks.0.conv1.1.running_mean"]
    )


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


def test_a_broken_checkpoint_is_one_clear_line(tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(KitError, match=r"last\.ckpt: is not a checkpoint"):
        train(tmp_path)


def test_a_checkpoint_of_another_training_is_one_clear_line(monkeypatch, tmp_path):
    killed_in_the_second_epoch(monkeypatch, tmp_path)
    with pytest.raises(KitError, match=r"last\.ckpt: is not a checkpoint of this stage"):
        train(tmp_path, " network.decoder_channels=[16,8,8,8,8]")
    checkpoint.save(tmp_path / "last.ckpt", {"history": []})
    with pytest.raises(KitError, match=r"last\.ckpt: is not a checkpoint of this stage"):
        train(tmp_path)


def test_validation_waits_for_its_epoch_and_the_weights_are_the_same(tmp_path):
    every, measured = train(tmp_path / "every", "stages.0.swa_epochs=0")
    seldom, metrics = train(tmp_path / "seldom", "stages.0.swa_epochs=0 stages.0.validate_every=2")
    assert all(torch.equal(every[name], seldom[name]) for name in every)
    assert metrics.dice.isna().tolist() == [True, False, False, False]  # three epochs, and the final weights
    for row in (1, 2, 3):
        names = ["validation_loss", "iou", "dice", "dice_positives", "dice_all_empty"]
        assert metrics.loc[row, names].tolist() == measured.loc[row, names].tolist()
    assert metrics.dice_all_empty[3] == 0.5


def test_dice_on_positives_is_told_apart(tmp_path):
    _, metrics = train(tmp_path, "stages.0.swa_epochs=0 threshold.binarization=1.0")
    last = metrics.iloc[-1]
    assert (last.dice, last.dice_positives, last.dice_all_empty) == (0.5, 0.0, 0.5)  # nothing reaches p = 1


@pytest.mark.parametrize("kind", ["folder", "fifo", "loop"])
def test_a_checkpoint_that_is_no_file_is_refused_and_nothing_is_trained(tmp_path, kind):
    path = tmp_path / "last.ckpt"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(path)
    with pytest.raises(KitError, match=r"last\.ckpt: (is a|.*circle)"):
        checkpoint.restore(path)
    assert list(tmp_path.iterdir()) == [path]


EPOCH = {"epoch": 1, "weights": "epoch", "learning_rate": 0.1, "loss": 1.0, "validation_loss": 1.0, "iou": 0.5} | {
    "dice": 0.5,
    "score": 0.5,
    "seconds": 1.0,
}


@pytest.mark.parametrize(
    "history",
    [None, 3, "abc", [[1]], [{}], [EPOCH | {"epoch": "1"}], [EPOCH | {"loss": None}], [EPOCH | {"weights": "final"}]],
)
def test_a_history_that_cannot_be_is_one_clear_line(tmp_path, history):
    checkpoint.save(tmp_path / "last.ckpt", {"history": [EPOCH]})
    assert checkpoint.restore(tmp_path / "last.ckpt")["history"] == [EPOCH]
    checkpoint.save(tmp_path / "last.ckpt", {"history": history})
    with pytest.raises(KitError, match=r"last\.ckpt: is not a checkpoint of this stage"):
        checkpoint.restore(tmp_path / "last.ckpt")


def test_curves_are_what_tensorboard_reads_and_forget_what_a_killed_process_wrote(tmp_path):
    for first in (1, 2):  # killed in the third step, and gone on from the second
        with Curves(tmp_path, first) as curves:
            for step in range(first, 4):
                curves.add_scalar("loss", step + first / 10, step)
    found = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [(event.step, round(event.value, 3)) for event in found] == [(1, 1.1), (2, 2.2), (3, 3.2)]


def test_curves_on_a_failing_disk_are_one_line(tmp_path):
    (tmp_path / "tensorboard").write_text("a file where the folder belongs")
    with pytest.raises(KitError, match=r"tensorboard/events.* cannot be written"):
        Curves(tmp_path / "tensorboard", 1)
