import pytest

from kit.submissions import standings
from kit.submissions.ledger import Entry
from kit.submissions.submit import Outcome


def slow_places(private):
    """The first and last place at which the score contradicts no known score; lower places never score more."""
    fitting = []
    for place in range(1, standings.TEAMS + 1):
        better_is_above = all(known < place for known, score, _ in standings.KNOWN if score > private)
        not_worse_is_below = all(known >= place for known, score, _ in standings.KNOWN if score < private)
        if any(score == private and known != place for known, score, _ in standings.KNOWN):
            continue
        if better_is_above and not_worse_is_below:
            fitting.append(place)
    return fitting[0], fitting[-1]


@pytest.mark.parametrize(
    "private", [0.0, 0.7740, 0.78, 0.8355, 0.8356, 0.8357, 0.8512, 0.86, 0.8627, 0.8665, 0.867, 0.8679, 0.9]
)
def test_places_are_all_that_the_known_scores_allow(private):
    assert standings.places(private) == slow_places(private)


def test_the_known_scores_fall_with_the_place_and_name_their_source():
    places, scores, sources = zip(*standings.KNOWN, strict=True)
    assert list(places) == sorted(places)
    assert list(scores) == sorted(scores, reverse=True)
    assert all(sources)
    assert dict(standings.MEDALS) == {"gold": 12, "silver": 73, "bronze": 147}


def test_a_score_in_the_competition_is_shown_with_its_place(tmp_path):
    known = {"event": "scored", "sha256": "a", "public": 0.9023, "private": 0.8356}
    told = str(Outcome(Entry(destination="kaggle/siim-acr-pneumothorax-segmentation", **known), True, tmp_path))
    assert "public 0.9023 · private 0.8356 (private 0.8356 would be place 124 of 1,475" in told
    assert "medal: bronze; the paper: 0.8356" in told
    assert "place" not in str(Outcome(Entry(destination="kaggle/other", **known), True, tmp_path))
