"""The race of `make claims` against a count by hand, and its interval against Student's table."""

import math

import pytest

from kit import recipes
from kit.core.files import write_text
from kit.run import Run
from reproduce import claims, studies, tables
from reproduce.scores import RunScores

ONE = "stages=[{size: 128, epochs: 3, batch_size: 8}]"


def trained(runs, name, stages, more=""):
    """Writes a run of the demo's recipe with the given validation Dice and seconds of each epoch."""
    run = Run(runs / name)
    write_text(run.recipe_path, recipes.load("demo", f"name={name} {more}").dump())
    for number, epochs in enumerate(stages):
        write_text(run.weights(0, number), "")
        rows = [f"{at},epoch,1,1,0.5,{dice},{seconds}" for at, (dice, seconds) in enumerate(epochs, 1)]
        rows.append(f"{len(epochs)},final,,1,0.5,0.99,")  # the averaged weights do not count
        head = "epoch,weights,loss,validation_loss,iou,dice,seconds"
        write_text(run.stage(0, number) / "metrics.csv", "\n".join([head, *rows, ""]))


@pytest.fixture
def runs(tmp_path):
    trained(tmp_path, "claims-two-stages-0", [[(0.2, 1), (0.6, 1)], [(0.5, 4), (0.8, 4), (0.9, 4)]])
    trained(tmp_path, "claims-one-stage-0", [[(0.1, 5), (0.7, 5), (0.75, 5)]], ONE)
    trained(tmp_path, "claims-two-stages-1", [[(0.7, 1)], [(0.1, 4)]])
    trained(tmp_path, "claims-one-stage-1", [[(0.8, 5)]], ONE)
    trained(tmp_path, "claims-two-stages-2", [[(0.7, 1)]])  # its second stage is not there
    trained(tmp_path, "claims-one-stage-2", [[(0.8, 5)]], ONE)
    trained(tmp_path, "claims-two-stages-3", [[(0.7, 1)], [(0.1, 4)]])  # one-stage-3 is not there
    return tmp_path


def test_a_race_ends_where_both_have_the_score(phantoms, runs):
    first, second = claims.races(RunScores(phantoms, runs))
    # 0.75 is the best of one stage: two have it after two epochs at half the size and two at the whole.
    assert first == ("claims-two-stages-0", 0.75, (4, 2 * 0.25 + 2, 10), (3, 3, 15))
    assert second == ("claims-two-stages-1", 0.7, (1, 0.25, 1), (1, 1, 5))


def test_ratios_are_means_of_logarithms_with_students_interval():
    mean, low, high = claims.ratio([0.25, 0.5, 1.0, 0.5])
    logs = [math.log(value) for value in (0.25, 0.5, 1.0, 0.5)]
    centre = sum(logs) / 4
    half = 3.182446 * math.sqrt(sum((log - centre) ** 2 for log in logs) / 3 / 4)  # t of 3 degrees of freedom
    assert (mean, low, high) == pytest.approx([math.exp(centre + side) for side in (0, -half, half)], rel=1e-5)
    assert claims.ratio([0.5]) == (0.5, 0, math.inf)


def test_the_table_says_who_was_faster(phantoms, runs):
    scored = RunScores(phantoms, runs)
    text = tables.races(scored)
    assert "| claims-two-stages-0 | 0.7500 | 4 epochs, 2.50 at the final size, 10 s | 3 epochs, 3.00 at" in text
    assert f"| two stages faster, by compute |  | {math.sqrt(2.5 / 3 * 0.25):.2f} times" in text
    assert claims.seeds(scored, studies.TWO, studies.ONE)[0][1].name == "claims-one-stage-0"
    assert "No run" in tables.races(RunScores(phantoms, runs / "none"))
