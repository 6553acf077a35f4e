"""The paper's claims as tables: stages before and after averaging, differences of Dice, and the race to a score."""

import numpy as np

from reproduce import claims, convergence
from reproduce.markdown import table
from reproduce.scores import NO_RUN, RunScores


def stages(scored: RunScores) -> str:
    """Every stage of every run: its last epoch, and the weights that it leaves."""
    rows = [
        [stage.run, stage.stage, stage.size, f"{stage.last:.4f}", "-" if stage.final is None else f"{stage.final:.4f}"]
        for stage in claims.averaged(scored)
    ]
    return table(["Run", "Stage", "Pixels a side", "Last epoch", "Averaged"], rows) if rows else "No run."


def differences(scored: RunScores) -> str:
    """Each claim with its difference of Dice on validation and on test images."""
    rows = []
    for claim, pairs in claims.pairs(scored).items():
        parts = [claims.difference(scored, pairs, test) for test in (False, True)]
        cells = [cell for part in parts for cell in ((NO_RUN, None) if part is None else (str(part), part.verdict))]
        rows.append([claim, max((part.pairs for part in parts if part), default=0), *cells])
    gains = [s.final - s.last for s in claims.averaged(scored) if s.run in claims.EXPERIMENTS and s.final is not None]
    better = f"better in {sum(gain > 0 for gain in gains)} of {len(gains)} stages"
    averaged = [f"{np.mean(gains):+.4f} IoU", better] if gains else [NO_RUN, None]
    rows.append(["SWA helps, against the last epoch", len(gains), *averaged, "-", None])
    text = (
        "A claim holds where the interval over patients is above 0 and each of the pairs compared, which are "
        "experiments, readings or seeds, agrees."
    )
    header = ["Claim", "Compared", "validation images", "verdict", "test images", "verdict"]
    return f"{text}\n\n{table(header, rows)}"


def races(scored: RunScores) -> str:
    """What two stages, and one at the final size, spend until both have the same validation Dice."""
    found = convergence.races(scored)
    if not found:
        return "No run: `make claims` trains them."
    rows: list[list[str | None]] = [
        [
            race.name,
            f"{race.score:.4f}",
            *(
                f"{spent.epochs} epochs, {spent.compute:.2f} at the final size, {spent.seconds:.0f} s"
                for spent in (race.two, race.one)
            ),
        ]
        for race in found
    ]
    for what in ("compute", "seconds"):
        mean, low, high = convergence.ratio([getattr(race.two, what) / getattr(race.one, what) for race in found])
        verdict = "holds" if high < 1 else "does not hold" if low > 1 else "not decided"
        rows.append([f"two stages faster, by {what}", None, f"{mean:.2f} times [{low:.2f}, {high:.2f}]", verdict])
    return table(["Run", "validation Dice that both reach", "two stages", "one stage"], rows)
