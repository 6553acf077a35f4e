"""An ensemble that gets another member, or whose settings change: what is trained again, and what is refused when."""

import numpy as np
import pytest
from tiny_recipes import tiny

from kit.core.errors import KitError
from kit.workflows.predict import predict
from kit.workflows.train import Job, train
from kit.workflows.workspace import Workspace

PAIR = "name=pair members.a.seed=1 members.b.seed=2"


@pytest.fixture
def pair(tiny_competition):
    """The run of an ensemble of two."""
    return train(Workspace(), Job(tiny_competition, tiny("exp2", PAIR)))[0]


def _written(run):
    return {path: path.stat().st_mtime_ns for path in run.folder.rglob("*.safetensors")}


def test_a_further_member_is_trained_and_joins_the_mean(pair, tiny_competition):
    before, wanted = _written(pair), tiny("exp2", PAIR + " members.c.seed=3")
    assert len(wanted.parts()) == 3
    run, done = train(Workspace(), Job(tiny_competition, wanted))
    assert done
    after = _written(run)
    assert before == {path: after[path] for path in before}
    assert {path.relative_to(run.folder).parts[0] for path in after.keys() - before.keys()} == {"c"}
    _check_mean(run, tiny_competition, wanted)


def test_a_member_that_is_left_out_leaves_the_mean(pair, tiny_competition):
    train(Workspace(), Job(tiny_competition, tiny("exp2", PAIR + " members.c.seed=3")))
    before, wanted = _written(pair), tiny("exp2", PAIR)
    run, done = train(Workspace(), Job(tiny_competition, wanted))
    assert done
    assert before == _written(run)
    _check_mean(run, tiny_competition, wanted)


def _check_mean(run, data, wanted):
    predict(Workspace(), data, wanted)
    members = [np.load(run.part(part).oof(0, tta=True)).astype(int) for part in wanted.parts()]
    assert abs(np.load(run.oof(0, tta=True)) - np.mean(members, axis=0)).max() < 1
    assert not train(Workspace(), Job(data, wanted))[1]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (f"{PAIR} members.d.seed=5 stages.0.batch_size=3", r"pair: .*stages\.0\.batch_size"),
        ("name=pair members.d.seed=5 members.b.seed=4", r"pair/b: .*seed: 2 → 4"),
    ],
)
def test_other_settings_are_refused_before_anything_is_trained(pair, tiny_competition, changed, told):
    files = {path: path.read_bytes() for path in pair.folder.rglob("*") if path.is_file() and path != pair.log}
    with pytest.raises(KitError, match=told):
        train(Workspace(), Job(tiny_competition, tiny("exp2", changed)))
    assert files == {path: path.read_bytes() for path in pair.folder.rglob("*") if path.is_file() and path != pair.log}
