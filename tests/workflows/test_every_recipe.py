"""Every recipe of the kit, all its networks and stages, from folds to submission at a tiny size."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiny_recipes import TRAINED, tiny

from kit import networks, recipes
from kit.competition import layout, rle
from kit.core.errors import KitError
from kit.inference import cleaning, maps, rules, thresholds_file
from kit.kaggle.settings import Settings
from kit.run import Run
from kit.training import losses
from kit.training.state import build_optimizer
from kit.workflows import kernel as kernels
from kit.workflows.predict import predict
from kit.workflows.train import Job, train
from kit.workflows.validate import validate
from kit.workflows.workspace import Workspace

KINDS = {
    (own.rule, own.top is None, own.smallest_contour > 0, own.transfer, wanted.is_gated): name
    for name, wanted in ((name, recipes.load(name)) for name in TRAINED)
    for own in (wanted.threshold,)
}
"""One recipe for each kind of thresholds."""


@pytest.fixture
def data(tiny_competition):
    return tiny_competition


@pytest.mark.parametrize("name", TRAINED)
class TestEveryRecipe:
    def test_from_training_to_submission(self, name, data):
        wanted = tiny(name)
        if wanted.start:
            train(Workspace(), Job(data, tiny(wanted.start)))
        run, done = train(Workspace(), Job(data, wanted))
        assert done
        for part in wanted.parts():
            own = run.part(part)
            assert own.finished_stages() == [(fold, stage) for fold in (0, 1) for stage in range(len(part.stages))]
            assert own.read_recipe().resolved() == part.resolved()
            for fold, stage in own.finished_stages():
                metrics = pd.read_csv(own.stage(fold, stage) / "metrics.csv")
                assert metrics.weights.tolist() == ["epoch", "final"]
                assert np.isfinite(metrics.validation_loss).all()
        sizes = [part.stages[-1].size for part in wanted.parts() if part.role == "segment"]
        ids = [image_id for fold in (0, 1) for image_id in maps.open_maps(run.oof(fold)).ids]
        assert sorted(ids) == sorted(layout.open_folder(data).train)
        assert maps.open_maps(run.oof(0)).array.shape[1:] == (max(sizes), max(sizes))
        assert ("gate" in json.loads(run.thresholds.read_text())) == wanted.is_gated

        submission, done = predict(Workspace(), data, wanted)
        assert done
        assert validate(submission, data) == []
        assert len(submission.read_text().splitlines()) == 1 + 8

    def test_a_second_time_there_is_nothing_to_do(self, name, data):
        assert not train(Workspace(), Job(data, tiny(name)))[1]
        assert not predict(Workspace(), data, tiny(name))[1]


@pytest.mark.parametrize("name", KINDS.values())
def test_the_search_promised_what_the_rule_gives(name, data, slow):
    wanted, competition = tiny(name), layout.open_folder(data)
    run = Workspace().run(competition, wanted)
    rule, scores, weights, means = thresholds_file.read(run.thresholds).rule, [], [], []
    table = pd.read_csv("folds/tiny.csv").set_index("image_id")
    promised = json.loads(run.thresholds.read_text())
    ids = [image_id for fold in (0, 1) for image_id in maps.open_maps(run.oof(fold)).ids]
    prevalence = wanted.prevalence or np.mean([bool(competition.labels[image_id]) for image_id in ids])
    positives = sum(bool(competition.labels[image_id]) for image_id in ids)
    for fold in (0, 1):
        stack = maps.open_maps(run.oof(fold, tta=wanted.tta))
        presence = [None] * len(stack)
        if wanted.is_gated:
            presence = np.load(run.oof(fold, tta=wanted.tta, role="classify"))
        truths = [rle.union(competition.labels[image_id], competition.shape) for image_id in stack.ids]
        known = np.array([truth.any() for truth in truths])
        weights.extend(np.where(known, prevalence / positives, (1 - prevalence) / (len(ids) - positives)))
        full = [maps.upsample(levels, competition.shape) for levels in stack]
        if promised.get("share") is None:
            masks = [rule.mask(levels, given) for levels, given in zip(full, presence, strict=True)]
            scores += [slow.dice(mask, truth) for mask, truth in zip(masks, truths, strict=True)]
        else:  # each fold is a test set: those with the most evidence get their mask
            masks, evidence = zip(*map(rule.candidate, full, presence), strict=True)
            dice = [slow.dice(mask, truth) for mask, truth in zip(masks, truths, strict=True)]
            patients = table.patient_id[list(stack.ids)].nunique()
            mean, _ = slow.matched(promised["share"], evidence, dice, (~known).astype(float), prevalence, patients)
            means.append(mean * len(stack) / len(ids))
    want = sum(means) if means else np.average(scores, weights=weights)
    assert want == pytest.approx(promised["apparent_dice"], abs=1e-9)


def by_hand(threshold, levels, image_probability):
    """The mask by a recipe's own thresholds, counted pixel by pixel."""
    if threshold.gate is not None and image_probability is not None and image_probability < threshold.gate:
        return np.zeros(levels.shape, bool)
    top = threshold.binarization if threshold.top is None else threshold.top
    counted = sum(1 for level in levels.ravel().tolist() if level / 255 >= top)
    enough = counted * 1024 * 1024 / levels.size >= threshold.removal
    return (levels / 255 >= threshold.binarization) & enough


@pytest.mark.parametrize("name", KINDS.values())
def test_the_recipes_own_thresholds_can_be_submitted(name, data):
    """`threshold.rule=fixed` of a trained run, and back to the rule that the search found."""
    wanted, competition = tiny(name, "threshold.rule=fixed"), layout.open_folder(data)
    run, _ = train(Workspace(), Job(data, tiny(name, "threshold.rule=searched")))
    searched = json.loads(run.thresholds.read_text())
    submission, _ = predict(Workspace(), data, wanted)
    own, rows = wanted.threshold, pd.read_csv(submission, dtype=str).set_index("ImageId").EncodedPixels
    chosen = json.loads(run.thresholds.read_text())
    keys = ("rule", "binarization", "removal", "smallest_contour")
    assert [chosen.get(key, 0) for key in keys] == [
        "image" if own.top is None else "triplet",
        own.binarization,
        own.removal,
        own.smallest_contour,
    ]
    stack = maps.open_maps(run.test(tta=wanted.tta))
    given = np.load(run.test(tta=wanted.tta, role="classify")).tolist() if wanted.is_gated else [None] * len(stack)
    for image_id, levels, probability in zip(stack.ids, stack, given, strict=True):
        expected = by_hand(own, maps.upsample(levels, competition.shape), probability)
        if own.smallest_contour:  # what is dropped or filled is small
            expected = cleaning.clean(expected, rules.contour_limit(own.smallest_contour, expected.size))
        assert (rle.decode(rows[image_id], competition.shape) == expected).all()
    assert predict(Workspace(), data, tiny(name, "threshold.rule=searched"))[1]
    assert json.loads(run.thresholds.read_text()) == searched


@pytest.mark.parametrize("name", ["sneddy", "x5"])
def test_an_ensembles_maps_are_the_mean_of_its_segmenting_members(name, data):
    wanted = tiny(name)
    run, _ = train(Workspace(), Job(data, wanted))
    parts = wanted.members_that("segment")
    members = [np.load(run.part(part).oof(1, tta=False)) for part in parts]
    resized = [[cv2.resize(levels, (64, 64)) for levels in stack] for stack in members]
    mean = np.average(resized, axis=0, weights=[part.weight for part in parts])
    assert abs(np.load(run.oof(1, tta=False)).astype(int) - mean).max() <= 1


def test_a_shut_gate_empties_an_image_in_prediction_too(data):
    wanted = tiny("x5")
    run, _ = train(Workspace(), Job(data, wanted))
    chosen = json.loads(run.thresholds.read_text())
    predict(Workspace(), data, wanted)
    presence = np.load(run.test(tta=wanted.tta, role="classify"))
    gate = float(np.median(presence))
    run.thresholds.write_text(json.dumps(chosen | {"binarization": 0.0, "removal": 0, "gate": gate}))
    submission, _ = predict(Workspace(), data, wanted)
    masks = pd.read_csv(submission, dtype=str).EncodedPixels.tolist()
    assert [mask == "-1" for mask in masks] == [bool(value < gate) for value in presence]
    run.thresholds.write_text(json.dumps(chosen))


def test_a_kernel_of_an_ensemble_holds_exactly_its_networks(data):
    run, _ = train(Workspace(), Job(data, tiny("x5")))
    kernel = kernels.build(Workspace(), run, data, Settings(), gpu=False, time_limit=60.0, notebook=False)
    expected = {
        f"{label}/{number}/{name}": tensor
        for label, paths in run.trained(tiny("x5")).weights.items()
        for number, path in enumerate(paths)
        for name, tensor in load_file(path).items()
    }
    [path] = kernel.bundle.glob("*.safetensors")
    found = load_file(path)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_fold_whose_weights_are_gone_is_told(data):
    run, _ = train(Workspace(), Job(data, tiny("sneddy")))
    lost = Run(run.folder / "r50").weights(1, 1)
    kept = lost.rename(lost.with_name("kept"))
    for use in (
        lambda: predict(Workspace(), data, tiny("sneddy")),
        lambda: kernels.build(Workspace(), run, data, Settings(), gpu=False, time_limit=60.0, notebook=False),
    ):
        with pytest.raises(KitError, match=r"r50/fold1/stage2: its weights are missing"):
            use()
    kept.rename(lost)


PARTS = [part for name in recipes.names() for part in recipes.load(name).parts()]
REAL = {
    (part.network.architecture, part.network.encoder, part.network.output_stride): part
    for part in sorted(PARTS, key=lambda part: part.network.image_head)
}
"""A part for each; where there is one, one with an image head."""


@pytest.mark.parametrize("of", REAL, ids=lambda of: f"{of[0]}-{of[1]}")
def test_every_real_network_can_be_built_and_trained(of):
    """By its shapes alone, without a number in it."""
    part = REAL[of]
    network = part.network.model_copy(update={"encoder_weights": None})
    with torch.device("cpu" if network.encoder == "mit_b2" else "meta"):  # that encoder counts with numbers of tensors
        built = networks.build(network).to("meta").train()
    with torch.device("meta"):
        build_optimizer(part.optimizer, built, part.stages[0].learning_rate)
        images = torch.zeros((2, 1, 64, 64), dtype=torch.uint8)
        masks, image = built(images)
        losses.total(part.loss, masks, image, images).backward()
    assert masks.shape == (2, 1, 64, 64)
    assert (image is not None) == network.image_head
    assert sum(weight.grad is not None for weight in built.parameters()) > len(list(built.parameters())) / 2
