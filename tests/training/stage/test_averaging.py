"""Final weights of a stage: averages, or the best checkpoints."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from staging import BASE, data, outputs, train
from torch import nn
from torch.optim.swa_utils import update_bn

from kit import networks, recipes
from kit.recipes.stage import Stage
from kit.training import fabric_setup, fit
from kit.training.averaging import Checkpoints


@pytest.fixture(scope="module")
def five_epochs(tmp_path_factory):
    """A folder with the weights of five epochs: epoch1.safetensors, …."""
    folder, loaded = tmp_path_factory.mktemp("five"), recipes.load("demo", f"{BASE}{FIVE} stages.0.epochs=5")

    def keep(network, row):
        networks.save_weights(folder / f"epoch{row['epoch']}.safetensors", network)

    keep.name = "each epoch"
    fit.fit(fabric_setup.launch(loaded), fit.Task(loaded, 0, 0, data(), folder), [keep])
    return folder


FIVE = "stages.0.keep=last stages.0.schedule=constant stages.0.learning_rate=0.003 threshold.binarization=0.3"


def test_the_best_checkpoints_are_kept_and_their_mean_prediction_is_scored(tmp_path, five_epochs):
    overrides = f"{FIVE} stages.0.epochs=5 stages.0.keep={{best: {{epochs: 3, average: predictions}}}}"
    _, metrics = train(tmp_path, overrides)
    order = metrics[:5].sort_values(["score", "epoch"], ascending=[False, True]).epoch[:3].tolist()
    left = [load_file(tmp_path / f"weights{suffix}.safetensors") for suffix in ("", "-2", "-3")]
    for weights, epoch in zip(left, order, strict=True):
        expected = load_file(five_epochs / f"epoch{epoch}.safetensors")
        assert all(torch.equal(weights[name], expected[name]) for name in expected)
    mean = np.mean([outputs(weights) for weights in left], axis=0)
    truth, scores = np.array(data().cache.masks[data().validation]) > 0, []
    for probability, mask in zip(mean, truth, strict=True):
        predicted = probability >= 0.3
        both = predicted.sum() + mask.sum()
        scores.append(2 * (predicted & mask).sum() / both if both else 1)
    assert metrics.dice.iloc[-1] == pytest.approx(np.mean(scores), abs=1e-6)
    assert not np.allclose(mean, outputs({k: torch.stack([w[k] for w in left]).float().mean(0) for k in left[0]}))


@pytest.mark.parametrize("of", ["dice", "loss"])
def test_the_best_epoch_is_kept_by_score_or_by_loss(tmp_path, five_epochs, of):
    weights, metrics = train(tmp_path, f"{FIVE} stages.0.epochs=5 stages.0.keep={{best: {{of: {of}}}}}")
    epochs = metrics[:5]
    best = epochs.epoch[epochs.score.idxmax() if of == "dice" else epochs.validation_loss.idxmin()]
    expected = load_file(five_epochs / f"epoch{best}.safetensors")
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_chosen_epochs_are_averaged(tmp_path, five_epochs):
    whole, _ = train(tmp_path, f"{FIVE} stages.0.epochs=5 stages.0.keep={{swa: {{epochs: [1, 5]}}}}")
    ends = [load_file(five_epochs / f"epoch{epoch}.safetensors") for epoch in (1, 5)]
    name = "net.decoder.blocks.0.conv1.0.weight"
    assert torch.allclose(whole[name], (ends[0][name] + ends[1][name]) / 2, atol=1e-6)


def test_ema_is_the_weighted_mean_of_all_steps():
    """The reference is the mean over all steps, weighted by decay ** age."""
    network, kept = nn.BatchNorm1d(3), Checkpoints(Stage(size=32, epochs=1, batch_size=1, keep={"ema": {"decay": 0.8}}))
    random, seen = np.random.default_rng(0), []
    for _ in range(7):
        values = random.normal(size=3)
        network.weight.data, network.running_mean = torch.tensor(values), torch.tensor(values + 1)
        network.num_batches_tracked += 1
        kept.add_step(network)
        seen.append(values)
    (left,) = kept.final_weights(network, [])
    shares = 0.8 ** np.arange(6, -1, -1)
    expected = np.average(seen, axis=0, weights=shares)
    np.testing.assert_allclose(left["weight"], expected)
    np.testing.assert_allclose(left["running_mean"], expected + 1)
    assert left["num_batches_tracked"] == 7


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


@pytest.mark.parametrize("key", ["swa", "best"])
def test_averages_are_means_of_the_chosen_epochs(key):
    keep = {"swa": "{swa: {last: 2}}", "best": "{best: {epochs: 2}}"}[key]
    loaded = recipes.load("demo", f"{BASE} stages.0.keep={keep}")
    average, states = Checkpoints(loaded.stages[0]), []
    for epoch, dice in enumerate((0.9, 0.1, 0.5)):
        torch.manual_seed(epoch)
        network = networks.build(loaded.network)
        states.append({name: tensor.clone() for name, tensor in network.named_parameters()})
        average.add(network, epoch, {"score": dice})
    images = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8)
    (left,) = average.final_weights(network, [(images, images)])
    network.load_state_dict(left)
    chosen = (1, 2) if key == "swa" else (0, 2)
    for name, parameter in network.named_parameters():
        expected = torch.stack([states[epoch][name] for epoch in chosen]).double().mean(0)
        assert torch.allclose(parameter.double(), expected, atol=1e-6)
    # Batch-norm statistics are those of the data under the averaged weights.
    seen = []
    network.net.encoder.model.conv1.register_forward_hook(lambda module, inputs, output: seen.append(output))
    network.eval()(images)
    assert torch.allclose(network.net.encoder.model.bn1.running_mean, seen[0].mean((0, 2, 3)), rtol=1e-3, atol=1e-3)


def test_batch_norm_of_an_average_equals_torchs_recomputation():
    loaded = recipes.load("demo", BASE + "stages.0.keep.swa.last=2")
    images = torch.randint(0, 256, (12, 1, 32, 32), dtype=torch.uint8)
    batches = [(images[i : i + 4], None) for i in range(0, 12, 4)]
    network = networks.build(loaded.network)
    average = Checkpoints(loaded.stages[0])
    average.add(network, 1, {"score": 0.5})
    average.add(network, 2, {"score": 0.5})
    reference = networks.build(loaded.network)
    reference.load_state_dict(network.state_dict())
    update_bn(batches, reference)
    (left,) = average.final_weights(network, batches)
    expected = reference.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in left.items())


def test_batch_norm_can_be_averaged_like_the_weights():
    loaded = recipes.load("demo", BASE + "stages.0.keep={swa: {last: 2, batch_norm: averaged}}")
    average, states = Checkpoints(loaded.stages[0]), []
    for epoch in (1, 2):
        network = networks.build(loaded.network).train()
        network(torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8))
        states.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        average.add(network, epoch, {"score": 0.5})
    (left,) = average.final_weights(network, [])  # no image is needed
    for name, tensor in left.items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor, (states[0][name] + states[1][name]) / 2, atol=1e-6), name
    assert not torch.equal(
        states[0]["net.encoder.model.bn1.running_var"], states[1]["net.encoder.model.bn1.running_var"]
    )


def test_an_average_keeps_the_statistics_of_a_frozen_encoder(tmp_path):
    first, _ = train(tmp_path / "one")
    frozen, _ = train(
        tmp_path / "two",
        "stages.1.frozen_epochs=3 stages.1.keep.swa.last=2",
        1,
        tmp_path / "one" / "weights.safetensors",
    )
    assert all(torch.equal(first[name], frozen[name]) for name in first if name.startswith("net.encoder."))
    assert not torch.equal(
        first["net.decoder.blocks.0.conv1.1.running_mean"], frozen["net.decoder.blocks.0.conv1.1.running_mean"]
    )
