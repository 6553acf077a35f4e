"""The kit's recipes at a tiny size, and a small competition to train them on."""

import json

import pytest

from kit import phantom, recipes
from kit.recipes.schema import Recipe
from kit.recipes.stage import Stage
from kit.workflows.folds import make_folds
from kit.workflows.workspace import Workspace

SMALLEST = {"efficient": "tu-test_efficientnet", "": "tu-test_resnet"}
"""The smallest encoder of the family, else the smallest ResNet."""

LIKE_OTHERS = {"ens4b", "exp4", "large", "large-ensemble", "mit-b2", "small-ensemble", "sneddy-round2", "unetpp-b4"}
TRAINED = [name for name in recipes.names() if name not in LIKE_OTHERS]
"""All recipes but those that differ from others in figures alone, or need a second data set."""


def keys(value: object, before: str = "") -> set[str]:
    """The names of all keys of a mapping, `a.b` for those of a mapping in it."""
    if not isinstance(value, dict):
        return {before}
    return set().union(*(keys(inner, f"{before}.{name}") for name, inner in value.items()))


def unlike(stages: list[Stage]) -> list[dict]:
    """The first two of some stages, and the others that differ from the one before in more than figures."""
    found = [stage.model_dump(mode="json", exclude_defaults=True) for stage in stages]
    return [stage for i, stage in enumerate(found) if i < 2 or keys(stage) != keys(found[i - 1])]


def tiny(name: str, more: str = "") -> Recipe:
    """The recipe with networks, sizes and batches for a test: two folds, an epoch of two steps a stage.

    Of stages and members that differ in figures alone the first ones stay.
    """
    whole, members = recipes.load(name), {}
    for label, changes in whole.members.items():
        if "stages" in changes:
            changes = changes | {"stages": unlike([Stage.model_validate(stage) for stage in changes["stages"]])}
        if keys(changes) not in [keys(member) for member in members.values()]:
            members[label] = changes
    overrides = ["folds.count=2", "folds.holdout=null", f"stages={json.dumps(unlike(whole.stages))}"]
    if members:  # after the stages, which would go for all of them
        overrides.append(f"members={json.dumps(members)}")
    whole = recipes.load(name, overrides)

    def shrink(prefix: str, stages: list, encoder: str, decoder: bool) -> None:
        encoder = next(small for family, small in SMALLEST.items() if family in encoder)
        overrides.extend([f"{prefix}network.encoder={encoder}", f"{prefix}network.encoder_weights=none"])
        if decoder:
            overrides.append(f"{prefix}network.decoder_channels=[16,16,16,16,16]")
        for i, stage in enumerate(stages):
            stage = Stage.model_validate(stage)
            size = 64 if i or stage.size == 1024 else 32
            values = {"size": size, "epochs": 1, "batch_size": 6}
            if stage.keep.swa is not None:
                values["keep.swa"] = "{last: 1}"
            if stage.schedule.cosine is not None:
                values["schedule.cosine"] = f"{{to: {stage.schedule.cosine.to}}}"
            overrides.extend(f"{prefix}stages.{i}.{key}={value}" for key, value in values.items())

    shrink("", whole.stages, whole.network.encoder, "decoder_channels" not in whole.network.idle)
    for part in whole.parts():
        if whole.members:
            own = whole.members[part.label].get("stages", [])
            shrink(f"members.{part.label}.", own, part.network.encoder, part.network.decoder_channels is not None)
    return recipes.load(name, " ".join([*overrides, more]))


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory):
    """A folder to work in, which the tests of a module share."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture
def tiny_competition(tiny_folder, monkeypatch):
    """The folder of a small competition with folds; the working folder is the one that it lies in."""
    monkeypatch.chdir(tiny_folder)
    path = tiny_folder / "tiny"
    if not path.exists():
        phantom.write(path, train=24, test=8, size=64)
        make_folds(Workspace(), path, recipes.load("demo"), count=2)
    return path
