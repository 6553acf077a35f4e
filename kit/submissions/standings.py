"""What a score would have meant in the competition: place, medal, and the paper's result.

The final leaderboard of 2019 is not available as a file. The number of teams, Kaggle's rule for medals, and the scores
at some places are known; they bound the place of any other score.
"""

COMPETITION = "siim-acr-pneumothorax-segmentation"
TEAMS = 1475
"""Paper, section 3; https://siim.org, Pneumothorax Kaggle Challenge."""
MEDALS = (("gold", 10 + TEAMS * 2 // 1000), ("silver", TEAMS * 5 // 100), ("bronze", TEAMS * 10 // 100))
"""Last place of each medal, by Kaggle's rule for 1,000 or more teams: 10 + 0.2 %, 5 % and 10 % of the teams."""
PAPER = 0.8356
"""Private Dice of the paper's best system (its table 11)."""
KNOWN = (
    # place, private Dice, where it was published
    (1, 0.8679, "the paper's table 11"),
    (2, 0.8665, "the paper's table 11"),
    (8, 0.8627, "the team's own account (Ian Pan and Felipe Kitamura)"),
    (42, 0.8512, "github.com/adam9500370/Kaggle-SIIM"),
    (124, PAPER, "the paper, abstract and section 5"),
    (309, 0.7740, "github.com/seculayer/AutoAPE-challenge2: 309 of 1475, submitted in 2021"),
)
"""Scores at known places of the final leaderboard, best first."""


def places(private: float) -> tuple[int, int]:
    """Returns the first and the last possible place of a private score; they are equal for a known score.

    >>> places(0.8700), places(0.8627), places(0.8356), places(0.8357)
    ((1, 1), (8, 8), (124, 124), (43, 124))
    """
    private = round(private, 4)  # the precision of the known scores
    for place, score, _ in KNOWN:
        if score == private:
            return place, place
    above = [place for place, score, _ in KNOWN if score > private]
    below = [place for place, score, _ in KNOWN if score < private]
    return max(above, default=0) + 1, min(below, default=TEAMS)


def medals(private: float) -> str:
    """Returns the medal of a private score, or all medals that are possible.

    >>> medals(0.8650), medals(0.8550), medals(0.8356), medals(0.5)
    ('gold', 'gold or silver', 'bronze', 'none')
    """
    first, last = places(private)
    ends = [0, *(end for _, end in MEDALS), TEAMS]
    names = [*(name for name, _ in MEDALS), "none"]
    fitting = [names[i] for i in range(len(names)) if first <= ends[i + 1] and last > ends[i]]
    return " or ".join([", ".join(fitting[:-1]), fitting[-1]] if len(fitting) > 1 else fitting)


def describe(private: float) -> str:
    """Returns one line about a private score.

    >>> describe(0.8650)
    'private 0.8650 would be between places 3 and 8 of 1,475; medal: gold; the paper: 0.8356'
    """
    first, last = places(private)
    place = f"place {first}" if first == last else f"between places {first} and {last}"
    return f"private {private:.4f} would be {place} of {TEAMS:,}; medal: {medals(private)}; the paper: {PAPER}"
