"""A finished run made by hand: maps that resemble the truth, a search of all four rules, and curves of two stages."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from kit import recipes
from kit.competition import rle, submission
from kit.competition.layout import Competition
from kit.core.files import copy, write_text
from kit.data import folds
from kit.data.folds import Folds
from kit.inference import maps
from kit.report import cases, page
from kit.report.cases import Cases
from kit.report.document import Report
from kit.run import Run
from kit.submissions.ledger import Entry
from kit.thresholds.search import ThresholdSearch

QUICK = "network.encoder=tu-test_resnet network.decoder_channels=[8,8,8,8,8] stages.0.size=32 stages.1.size=64"
METRICS = "epoch,weights,learning_rate,loss,validation_loss,iou,dice,seconds\n"


@dataclass(frozen=True)
class Finished:
    """A run with everything that a report needs."""

    run: Run
    competition: Competition
    split: Folds
    cases: Cases
    entries: list[Entry]
    page: Path
    report: Report


def finish(run: Run, competition: Competition, split: Folds, seed: int) -> None:
    """Fills the folder of a run."""
    random = np.random.default_rng(seed)
    write_text(run.recipe_path, recipes.load("exp5", f"{QUICK} name={run.folder.name}").dump())
    stacks, rows = [], split.table[split.table.fold >= 0].sort_values(["fold", "image_id"])
    for fold, part in rows.groupby("fold"):
        levels = np.stack([_map(competition, image, random) for image in part.image_id])
        maps.save(run.oof(fold), list(part.image_id), levels)
        stacks.append(levels)
        for stage in (1, 2):
            epochs = [f"{n},epoch,0.001,{1 / n + fold},{2 / n},{0.3 + n / 9},{0.4 + n / 9},{n}" for n in (1, 2, 3)]
            text = METRICS + "\n".join([*epochs, "3,final,0.001,,0.5,0.7,0.8,"]) + "\n"
            write_text(run.stage(fold, stage - 1) / "metrics.csv", text)
            write_text(run.weights(fold, stage - 1), "")
    truth = (rle.union(competition.labels[image], competition.shape, image) for image in rows.image_id)
    search = ThresholdSearch(folds=list(rows.fold), patients=list(rows.patient_id), removal=[0, 512, 4096])
    for name, result in search.fit(np.concatenate(stacks), truth).results_.items():
        result.write(run.rule(name), run.folder.name, {})
    copy(run.rule("image") / "thresholds.json", run.thresholds)
    submission.write(run.submission, [(image, "0 9" if n else "-1") for n, image in enumerate(competition.sample_ids)])


def _map(competition: Competition, image: str, random: np.random.Generator) -> np.ndarray:
    truth = rle.union(competition.labels[image], competition.shape, image).astype(np.float32)
    soft = cv2.GaussianBlur(cv2.resize(truth, (64, 64)), (0, 0), 1.5) * random.uniform(0.2, 1.3)
    noise = cv2.GaussianBlur(random.normal(0, 1, (64, 64)), (0, 0), 4) * random.uniform(0, 1.5)
    return np.clip((soft + np.maximum(noise, 0)) * 255, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def finished(phantoms, tmp_path_factory) -> Finished:
    """A run on the small phantoms, and its page; to be read only."""
    run = Run(tmp_path_factory.mktemp("runs") / phantoms.name / "mine")
    split = folds.make(phantoms, folds.Split(2))
    finish(run, phantoms, split, seed=0)
    scored = [
        ("a", "local/tiny", f"{phantoms.name}/mine", 0.79, (0.7, 0.85), 0.8, 0.81, 0.7),
        ("b", "local/tiny", f"{phantoms.name}/other", 0.69, (0.6, 0.75), 0.7, 0.7, 0.6),
        ("c", "local/tiny", f"{phantoms.name}/waiting", 0.9, None, None, None, None),
        ("d", "local/lungs", "lungs/mine", 0.5, (0.4, 0.6), 0.6, 0.1, 0.1),
    ]
    names = ("sha256", "destination", "run", "nested_dice", "interval", "apparent_dice", "public", "private")
    entries = [
        Entry(event="scored", file=f"{values[0]}.csv", **dict(zip(names, values, strict=True))) for values in scored
    ]
    with pytest.MonkeyPatch.context() as patch:
        measured, built = (_remembered(patch, *of) for of in ((cases, "measure"), (page, "build")))
        written = page.write(run, phantoms, split, entries)
    return Finished(run, phantoms, split, *measured, entries, written, *built)


def _remembered(patch: pytest.MonkeyPatch, module: ModuleType, name: str) -> list:
    """Collects the return values of a function."""
    results, real = [], getattr(module, name)
    patch.setattr(module, name, lambda *arguments: results.append(real(*arguments)) or results[-1])
    return results


@pytest.fixture(scope="session")
def another(finished, tmp_path_factory) -> tuple[Run, Cases]:
    """Another run on the same folds, and its cases; to be read only."""
    run = Run(tmp_path_factory.mktemp("others") / "other")
    finish(run, finished.competition, finished.split, seed=1)
    return run, cases.measure(run, finished.competition, finished.split)
