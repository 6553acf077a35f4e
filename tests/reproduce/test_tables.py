"""The tables against a run made by hand, whose scores can all be counted."""

import dataclasses
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from kit import recipes
from kit.competition import rle, scoring
from kit.core.errors import KitError
from kit.core.files import read_json, write_json, write_text
from kit.data.resize import resize_mask
from kit.inference import maps
from kit.run import Run
from reproduce import claims, network, paper, tables
from reproduce.scores import RunScores, Variant

QUICK = "network.encoder=resnet18 network.decoder_channels=[8,8,8,8,8] stages.0.size=32 stages.1.size=32"


@pytest.fixture(scope="module")
def runs(phantoms, tmp_path_factory):
    """A run of exp5 whose maps are the shifted truth: 0.8 inside, and a speck of 0.9 in about every second image."""
    folder = tmp_path_factory.mktemp("runs")
    run, random = Run(folder / "exp5"), np.random.default_rng(0)
    write_text(run.recipe_path, recipes.load("exp5", QUICK).dump())
    solution = scoring.read_solution(phantoms.solution_path)
    for target, labels in ((run.oof, phantoms.labels), (run.test, solution.masks)):
        ids = sorted(labels)
        for tta in (False, True):
            levels = np.zeros((len(ids), *phantoms.shape), np.uint8)
            for i, image_id in enumerate(ids):
                levels[i][np.roll(rle.union(labels[image_id], phantoms.shape), 3 if tta else 9, axis=1)] = 204
                if random.random() < 0.5:
                    levels[i, :3, :3] = 230  # 576 pixels of 1024²
            where = target(0, tta=tta) if target == run.oof else target(tta=tta)
            maps.save(where, ids, levels)
    write_json(run.thresholds, {"rule": "image", "binarization": 0.75, "removal": 2048})
    return folder


@pytest.fixture(scope="module")
def text(phantoms, runs):
    """The tables of the run."""
    return tables.fill(RunScores(phantoms, runs))


def count(run_maps, truth, removal=None):
    """Computes Dice and IoU by sets of pixels; masks below `removal` pixels of 1024² are emptied."""
    dice, iou = [], []
    for image_id, levels in zip(run_maps.ids, run_maps, strict=True):
        predicted = set(np.flatnonzero(levels >= 0.75 * 255))
        if removal and len(predicted) * 1024 * 1024 / levels.size < removal:
            predicted = set()
        real = set(np.flatnonzero(truth(image_id)))
        dice.append(2 * len(predicted & real) / (len(predicted) + len(real)) if predicted | real else 1)
        iou.append(len(predicted & real) / len(predicted | real) if predicted | real else 1)
    return np.mean(dice), np.mean(iou)


@pytest.mark.parametrize("tta", [False, True])
@pytest.mark.parametrize(("reading", "removal"), [("none", None), ("image", 2048)])
def test_a_cell_counts_pixels(phantoms, runs, tta, reading, removal):
    expected = count(
        maps.open_maps(Run(runs / "exp5").oof(0, tta=tta)),
        lambda image_id: rle.union(phantoms.labels[image_id], phantoms.shape),
        removal,
    )
    scored, variant = RunScores(phantoms, runs), Variant("exp5", tta, reading)
    assert (scored.dice(variant, test=False).mean(), scored.validation_iou(variant)) == pytest.approx(expected)


def authors_metric(truth, predicted):
    """Computes the metric of the paper's first author for one image, threshold by threshold and pixel by pixel."""
    true, found = (set(np.flatnonzero(mask)) for mask in (truth, predicted))
    if not true and not found:
        return 1.0
    iou = len(true & found) / len(true | found)
    return np.mean([iou > threshold for threshold in (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)])


@pytest.mark.parametrize(("reading", "removal"), [("none", 0), ("image", 30)])
def test_mean_precision_is_counted_in_pixels_of_the_network(phantoms, runs, tmp_path, reading, removal):
    """The maps have half the height and width of the images, and 30 pixels of them are not 30 pixels of 1024²."""
    run, found = damaged(runs, tmp_path / "a"), []
    write_text(run.recipe_path, recipes.load("exp5", f"{QUICK} threshold.removal=30").dump())
    whole = maps.open_maps(run.oof(0, tta=True))
    side = phantoms.shape[0] // 2
    halves = np.stack([levels[::2, ::2] for levels in whole])
    maps.save(run.oof(0, tta=True), whole.ids, halves)
    for image_id, levels in zip(whole.ids, halves, strict=True):
        truth = resize_mask(rle.union(phantoms.labels[image_id], phantoms.shape), side, "bilinear")
        predicted = levels >= 192
        found.append(authors_metric(truth, predicted & (predicted.sum() >= removal)))
    scored = RunScores(phantoms, tmp_path / "a")
    assert scored.mean_precision(Variant("exp5", True, reading)) == pytest.approx(np.mean(found))
    assert scored.mean_precision(Variant("exp4", True, reading)) == "no run"
    assert len(set(found)) > 3


def test_public_and_private_scores_are_those_of_the_leaderboard(phantoms, runs):
    solution = scoring.read_solution(phantoms.solution_path)
    stack = maps.open_maps(Run(runs / "exp5").test(tta=True))
    rule = RunScores(phantoms, runs)
    rows = {
        image_id: rle.encode(levels >= 192) if np.sum(levels >= 192) * 64 >= 2048 else "-1"
        for image_id, levels in zip(stack.ids, stack, strict=True)
    }
    scores = scoring.score(rows, solution, phantoms.shape)
    assert rule.test_dice(Variant("exp5"), scoring.PUBLIC) == pytest.approx(scores.public)
    assert rule.test_dice(Variant("exp5"), scoring.PRIVATE) == pytest.approx(scores.private)
    chosen = Variant("exp5", True, "chosen")
    assert rule.test_dice(chosen, scoring.PRIVATE) == rule.test_dice(Variant("exp5"), scoring.PRIVATE)


def test_a_missing_run_has_no_score(phantoms, runs):
    scored = RunScores(phantoms, runs)
    assert scored.validation_iou(Variant("exp1")) == scored.test_dice(Variant("exp1")) == "no run"


def damaged(runs, folder):
    shutil.copytree(runs, folder)
    return Run(folder / "exp5")


def test_a_missing_score_has_a_reason(phantoms, runs, tmp_path):
    run = damaged(runs, tmp_path / "a")
    run.test(tta=True).unlink()
    assert RunScores(phantoms, tmp_path / "a").test_dice(Variant("exp5", True, "none")) == "not predicted"
    write_json(run.thresholds, read_json(run.thresholds) | {"hashes": {"fold0.npy": "", "fold1.npy": ""}})
    assert RunScores(phantoms, tmp_path / "a").validation_iou(Variant("exp5", True, "none")) == "not predicted"
    run.thresholds.unlink()
    assert RunScores(phantoms, tmp_path / "a").validation_iou(Variant("exp5", True, "none")) == "not trained to the end"
    unlabelled = dataclasses.replace(phantoms, solution_path=None)
    assert RunScores(unlabelled, runs).test_dice(Variant("exp5", True, "none")) == "no solution.csv"
    (tmp_path / "s.csv").write_text(phantoms.solution_path.read_text().replace("Private", "Public"))
    public = dataclasses.replace(phantoms, solution_path=tmp_path / "s.csv")
    assert RunScores(public, runs).test_dice(Variant("exp5", True, "none"), scoring.PRIVATE) == "no private images"


def test_maps_of_other_images_are_refused(phantoms, runs, tmp_path):
    image_id, *_ = maps.open_maps(Run(runs / "exp5").oof(0)).ids
    fewer = dataclasses.replace(
        phantoms, labels={key: rows for key, rows in phantoms.labels.items() if key != image_id}
    )
    with pytest.raises(KitError, match=r"is not in .*train-rle"):
        RunScores(fewer, runs).validation_iou(Variant("exp5", True, "none"))
    run = damaged(runs, tmp_path / "a")
    run.oof(0).with_suffix(".ids.txt").unlink()
    with pytest.raises(KitError, match=r"fold0\.ids\.txt: cannot be read"):
        RunScores(phantoms, tmp_path / "a").validation_iou(Variant("exp5", True, "none"))


COLUMNS = "epoch,weights,loss,validation_loss,iou,dice,seconds\n"


@pytest.mark.parametrize(
    "content", ["", "a,b\n1,2\n", COLUMNS, COLUMNS + "1,epoch,1,1,0.5,0.5,1\n", COLUMNS + "1,epoch,1,1,x,0.5,1\n" * 2]
)
def test_broken_metrics_are_named(phantoms, runs, tmp_path, content):
    run = damaged(runs, tmp_path / "a")
    write_text(run.weights(0, 0), "")
    write_text(run.stage(0, 0) / "metrics.csv", content)
    with pytest.raises(KitError, match=r"metrics\.csv: is not the metrics"):
        claims.averaged(RunScores(phantoms, tmp_path / "a"))


def test_an_average_of_one_is_none(phantoms, runs, tmp_path):
    run = damaged(runs, tmp_path / "a")
    write_text(run.recipe_path, recipes.load("exp5", QUICK + " stages.0.keep.swa.last=1").dump())
    for stage in (0, 1):
        write_text(run.weights(0, stage), "")
        rows = "1,epoch,1,1,0.25,1,1\n2,epoch,1,1,0.5,1,1\n2,final,,1,0.75,1,\n"
        write_text(run.stage(0, stage) / "metrics.csv", COLUMNS + rows)
    assert [(found.last, found.final) for found in claims.averaged(RunScores(phantoms, tmp_path / "a"))] == [
        (0.5, None),
        (0.5, 0.75),
    ]


def test_the_document_has_the_papers_layout_and_figures(phantoms, runs, text):
    for number in range(1, 12):
        assert f"## Table {number}:" in text
    for block in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.strip().splitlines()}) == 1
    cell = RunScores(phantoms, runs).validation_iou(Variant("exp5", True, "component"))
    assert "| exp5 | 0.7638 | 0.7822 |" in text
    assert f"{cell:.4f} |" in text
    assert "| exp1 | 0.7242 | 0.7395 | no run |" in text
    for figures in (paper.TABLE_6.values(), paper.TABLE_7.values(), (row[3] for row in paper.TABLE_11.values())):
        assert all(f"| {figure:.4f} |" in text for figure in figures)
    assert "| exp3 | ✓ | 0.55 | 3 | 40 | 35 | 14 | 10 | no run |" in text
    assert f"B-TH 0.75, R-TH 2048; 3 × grey, resnet18; {len(phantoms.train)} images validated |" in text
    assert "| milliseconds a sample | 25.6 at 512×512 on a Titan Xp | no run |" in text
    assert "| Encoder3 | 32×32 | 256 | 32×32 | 256 |" in text
    assert "| A4 | Random Sized Crop | probability 0.25, smallest 0.6875 |" in text
    positive = sum(map(bool, phantoms.labels.values()))
    single = sum(len(rows) == 1 for rows in phantoms.labels.values())
    assert f"| Single masks among positives | 73.77% | 76.62% | {single / positive:.2%} |" in text
    rows = sum(max(1, len(rows)) for rows in phantoms.labels.values())
    assert f"| Number of masks in training set | 11,582 | 12,954 | {rows:,} |" in text


def test_runs_on_different_folds_are_listed(phantoms, runs, tmp_path):
    for name, split in (("exp1", "a"), ("exp2", "b"), ("exp4", "b")):
        run = Run(tmp_path / name)
        write_text(run.recipe_path, recipes.load(name, "network.encoder=resnet18").dump())
        write_json(run.inputs_path, {"images": "", "folds": split, "fold_file": f"{split}.csv"})
    assert "within a group: exp1; exp2, exp4." in tables.fill(RunScores(phantoms, tmp_path))
    shutil.rmtree(tmp_path / "exp1")
    assert "same folds" not in tables.fill(RunScores(phantoms, tmp_path))


def test_a_claim_is_a_difference_paired_by_image(phantoms, runs):
    scored = RunScores(phantoms, runs)
    gain = scored.dice(Variant("exp5"), test=False) - scored.dice(Variant("exp5", False), test=False)
    found = claims.difference(scored, claims.pairs(scored)["TTA helps"], test=False)
    assert found.pairs == 1
    assert found.mean == pytest.approx(gain.mean())
    # Patients of phantoms have one image each or a few: the interval is near that of the normal distribution.
    half = 1.96 * gain.std() / len(gain) ** 0.5
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.35)
    assert found.low < found.mean < found.high
    assert found.verdict == ("holds" if found.low > 0 else "not decided")


def test_each_of_the_papers_claims_has_its_pair(phantoms, tmp_path):
    for groups in ("", "A1", "A2", "A1,A2"):
        name = f"augmentation{groups.replace(',', '')}"
        recipe = recipes.load("augmentation", f"augmentation=[{groups}] name={name}")
        write_text(Run(tmp_path / name).recipe_path, recipe.dump())
    for seed in (0, 1):
        for variant in ("two-stages", "deeper-encoder"):
            name = f"claims-{variant}-{seed}"
            write_text(Run(tmp_path / name).recipe_path, recipes.load("demo", f"name={name}").dump())
    found = {
        claim: {(one.name, other.name) for one, other in pairs}
        for claim, pairs in claims.pairs(RunScores(phantoms, tmp_path)).items()
    }
    assert found["Augmentation by A2 alone is worse than none"] == {("augmentation", "augmentationA2")}
    assert found["Augmentation by A1 + A2 beats A1"] == {("augmentationA1A2", "augmentationA1")}
    assert found["Augmentation by A1 helps"] == {("augmentationA1", "augmentation")}
    assert "Augmentation by A2 helps" not in found
    assert found["A deeper encoder helps, same epochs"] == {
        (f"claims-deeper-encoder-{seed}", f"claims-two-stages-{seed}") for seed in (0, 1)
    }


def test_verdicts():
    bounds = (0.1, 0.2, 0.1, 0.2), (-0.2, -0.1, -0.2, -0.1), (-0.1, 0.1, 0.0, 0.0)
    verdicts = [claims.Difference(3, 0.0, *these).verdict for these in bounds]
    assert verdicts == ["holds", "does not hold", "not decided"]
    # One seed of three contradicts the others.
    assert claims.Difference(3, 0.15, 0.1, 0.2, -0.1, 0.4).verdict == "not decided"
    assert claims.Difference(3, -0.15, -0.2, -0.1, -0.4, 0.1).verdict == "not decided"
    assert str(claims.Difference(3, 0.1, 0.05, 0.2, 0.0, 0.3)) == "+0.1000 [+0.0500, +0.2000]; each +0.0000 to +0.3000"


def test_claims_without_their_runs_say_so(phantoms, runs, text):
    scored = RunScores(phantoms, runs)
    assert claims.difference(scored, claims.pairs(scored)["TTA helps"][:1], test=True) is None
    assert "| Two stages beat one: exp3 against exp2 | 0 | no run |  | no run |  |" in text


def test_table_11_names_the_rule(phantoms, runs, text, tmp_path):
    run = damaged(runs, tmp_path / "a")
    assert ", searched rule image) |" in text
    write_json(run.thresholds, read_json(run.thresholds) | {"rules": []})
    assert ", fixed rule image) |" in tables.fill(RunScores(phantoms, tmp_path / "a"))


def test_table_3_is_the_network_itself():
    assert network.layers(recipes.load("exp5")) == [(name, *cells) for name, cells in paper.TABLE_3.items()]
    assert network.layers(recipes.load("x5").parts()[-1]) == []
    assert round(network.parameters(recipes.load("exp5")) / 1e6, 1) == 24.4


def test_table_8_has_a_row_per_training_set(phantoms, runs, tmp_path):
    run = damaged(runs, tmp_path / "a")
    other = Run(tmp_path / "a" / "exp5@round1")
    shutil.copytree(run.folder, other.folder)
    for tta in (False, True):
        stack = maps.open_maps(run.test(tta=tta))
        maps.save(other.test(tta=tta), stack.ids, np.zeros(stack.array.shape, np.uint8))
    scored = RunScores(phantoms, tmp_path / "a")
    assert scored.trained_on("exp5") == {"exp5@round1": "round1", "exp5": phantoms.name}
    empty = scored.test_dice(Variant("exp5@round1"), scoring.PUBLIC)
    rows = re.findall(
        rf"\| (round1|{phantoms.name}) \| ✓ \| image \| (\S+) \| (\S+) \|",
        tables.fill(RunScores(phantoms, tmp_path / "a")),
    )
    assert [name for name, *_ in rows] == ["round1", phantoms.name]
    assert rows[0][1] == f"{empty:.4f}"


def test_round_1s_leaderboard_shows_the_whole_test_set(phantoms, runs, text, tmp_path):
    """With a solution without Usage all images are public."""
    texts = scoring.read_solution(phantoms.solution_path).masks
    write_text(
        tmp_path / "solution.csv",
        "ImageId,EncodedPixels\n" + "".join(f"{i},{t}\n" for i, rows in texts.items() for t in rows or ["-1"]),
    )
    assert phantoms.labels_path.name == "train-rle.csv"
    whole = dataclasses.replace(phantoms, solution_path=tmp_path / "solution.csv")
    every = RunScores(phantoms, runs).test_dice(Variant("exp5"))
    assert RunScores(whole, runs).test_dice(Variant("exp5"), scoring.PUBLIC) == every
    shown = tables.fill(RunScores(whole, runs))
    assert f"| {phantoms.name} | ✓ | image | {every:.4f} | no private images |" in shown
    assert tables.ROUND_1 in shown
    assert tables.ROUND_1 not in text
    solution = scoring.read_solution(whole.solution_path)
    scores = scoring.score(dict.fromkeys(texts, "-1"), solution, whole.shapes)
    assert (scores.public, scores.private) == (pytest.approx(np.mean([not rows for rows in texts.values()])), None)


def test_minutes_an_epoch_are_the_mean_over_folds(phantoms, runs, tmp_path):
    run = damaged(runs, tmp_path / "a")
    for fold, seconds in ((0, (60, 120)), (1, (180, 240))):
        write_text(run.weights(fold, 0), "")
        rows = "".join(f"{epoch},epoch,1,1,0.5,0.5,{spent}\n" for epoch, spent in enumerate(seconds, 1))
        write_text(run.stage(fold, 0) / "metrics.csv", COLUMNS + rows + "2,final,,1,0.5,0.5,\n")
    assert network.minutes_an_epoch(run, 0) == pytest.approx(2.5)
    assert network.minutes_an_epoch(run, 1) is None


def test_out_of_fold_maps_go_with_out_of_fold_answers(phantoms, runs, monkeypatch):
    """The rule may be gated by classifiers, whose answers for the test set are for other images."""
    asked = []

    def noting(rule, file, answers, shape, truth):
        asked.append((file.name, answers.name))
        return pd.Series(dtype=float)

    monkeypatch.setattr("reproduce.scores.score", noting)
    RunScores(phantoms, runs).dice(Variant("exp5"), test=False)
    assert asked
    assert all(answers == file.replace(".npy", "-image.npy") for file, answers in asked)
    asked.clear()
    RunScores(phantoms, runs).dice(Variant("exp5"), test=True)
    assert asked == [("test.npy", "test-image.npy")]
