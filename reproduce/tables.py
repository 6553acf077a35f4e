"""The paper's tables as Markdown, in its own layout, with the figures of one's own runs beside the paper's."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kit import recipes
from kit.competition import scoring
from kit.competition.layout import Competition
from kit.recipes.magnitudes import PAPER
from kit.recipes.schema import Recipe
from kit.report import stats
from reproduce import claims, network, paper
from reproduce.scores import NO_RUN, READINGS, RunScores, Variant

EXPERIMENTS = claims.EXPERIMENTS
MASKS, NEGATIVES = "Number of masks in training set", "Number of negative cases in training set"
"""Keys of the data set's overview. The paper counts the label row of a negative image as a mask."""
ROUND_1 = (
    "Round 1's leaderboard showed the score of all test images, and has no private part unless solution.csv names one; "
    "the paper's two columns are those of round 2, 1 % and 99 % of its images."
)
TICK = {False: "✗", True: "✓"}


def fill(scored: RunScores) -> str:
    """Fills all tables from the runs on a data set."""
    competition, name = scored.competition, scored.competition.name
    sections = {
        f"Table 1: sex and view position ({name} below the paper's)": _table_1(competition),
        "Table 2: the data set": _table_2(competition),
        "Table 3: the network of exp5": _table_3(),
        "Table 4: settings": _table_4(scored),
        "Table 5: mean precision and IoU on the validation images": _table_5(scored),
        "Table 6: Dice on the test images, with TTA": _table_6(scored),
        "Table 7: mean precision and IoU on the validation images, exp5": _table_7(scored),
        "Table 8: Dice on the test images, exp5": _table_8(scored),
        "Table 9: augmentation groups, and their magnitudes here": _table_9(),
        "Table 10: augmentation": _table_10(scored),
        "Table 11: comparison with the winners, private Dice": _table_11(scored),
        "Stages: IoU on the validation images while training, before and after the weights are averaged": (
            stages(scored)
        ),
        "The paper's claims: difference of Dice with its 95 % interval": differences(scored),
        "Convergence: two stages against one at the final size": races(scored),
        "Parameters, training and prediction time of exp5": _time(scored),
    }
    introduction = (
        f'Figures under "paper" are the paper\'s, on its own data; those under "{name}" come from the runs in '
        f"`{scored.runs}`. Validation figures compare the out-of-fold maps, test figures the test maps, with the "
        "original masks at full size, by the recipe's own B-TH and R-TH. Dice and IoU of an image are 1 where "
        'prediction and truth are both empty. The paper leaves open what R-TH removes: "image" empties a mask of '
        'fewer pixels (section 5.1), "component" removes each component of fewer pixels (section 4.3). What the paper '
        "calls IoU is mean precision over ten thresholds of IoU (docs/explanation/paper.md): it stands in columns of "
        "its own, at the network's size and with R-TH in pixels of the network, as its authors computed it."
    )
    splits = scored.splits()
    if len(splits) > 1:
        introduction += (
            "\n\nNot all runs were made on the same folds. Validation figures can only be compared within a group: "
            f"{'; '.join(', '.join(names) for names in splits)}."
        )
    return "\n\n".join([introduction, *(f"## {title}\n\n{body}" for title, body in sections.items())]) + "\n"


def _table_1(competition: Competition) -> str:
    table = stats.breakdown(stats.metadata(competition), competition.finding)
    table["Dataset"] = competition.name + " " + table["Dataset"]
    return markdown(list(table.columns), [*paper.TABLE_1, *table.itertuples(index=False)])


def _table_2(competition: Competition) -> str:
    counts = stats.overview(competition)
    rows = [
        [attribute, *(f"{value:,}" for value in paper.TABLE_2.get(attribute, ())), f"{count:,}"]
        if attribute in paper.TABLE_2
        else [attribute, None, None, f"{count:,}"]
        for attribute, count in counts.items()
        if attribute != MASKS
    ]
    rows.append([MASKS, *(f"{count:,}" for count in paper.MASKS), f"{counts[MASKS] + counts[NEGATIVES]:,}"])
    positive, single, multiple = (
        "Number of positive cases in training set",
        "Number of cases has single mask in training set",
        "Number of cases has multiple masks in training set",
    )
    for share, part in (("Single masks among positives", single), ("Multiple masks among positives", multiple)):
        published = [f"{paper.TABLE_2[part][i] / paper.TABLE_2[positive][i]:.2%}" for i in (0, 1)]
        rows.append([share, *published, f"{counts[part] / counts[positive]:.2%}" if counts[positive] else "-"])
    return markdown(["Attribute", "paper, Round-1", "paper, Round-2", competition.name], rows)


def _table_3() -> str:
    layers = {name: cells for name, *cells in network.layers(recipes.load("exp5"))}
    rows = [[name, *cells, *layers.get(name, ["-", "-"])] for name, cells in paper.TABLE_3.items()]
    header = ["Layer", "paper: output size", "paper: filters", "the kit's: output size", "the kit's: filters"]
    return markdown(header, rows)


def _table_9() -> str:
    magnitudes = recipes.load("exp5").magnitudes.model_dump()
    rows = [[group, technique, _listed(magnitudes[PAPER[group]])] for group, technique in paper.TABLE_9.items()]
    return markdown(["Group", "Technique", "the kit's magnitudes"], rows)


def _listed(magnitudes: dict[str, Any]) -> str:
    """Formats magnitudes for a cell, without switches that are off."""
    return ", ".join(f"{name} {value}" for name, value in magnitudes.items() if value is not False)


def _table_4(scored: RunScores) -> str:
    run_recipes, rows = scored.recipes(), []
    for name in EXPERIMENTS:
        recipe = recipes.load(name)
        stages = [*(recipes.load(recipe.start).stages if recipe.start else ()), *recipe.stages]
        by_size = {stage.size: stage for stage in stages}
        settings = [
            cell
            for size in (256, 512)
            for cell in ((by_size[size].batch_size, by_size[size].epochs) if size in by_size else ("-", "-"))
        ]
        swa = TICK[any(stage.swa for stage in stages)]
        rows.append(
            [
                name,
                swa,
                recipe.threshold.binarization,
                recipe.network.channels,
                *settings,
                _run_settings(scored, name, run_recipes.get(name)),
            ]
        )
    header = ["Experiment", "SWA", "B-TH", "Channels", "256×256 batch size", "epochs", "512×512 batch size", "epochs"]
    return markdown([*header, f"{scored.competition.name}: as it was run"], rows)


def _run_settings(scored: RunScores, name: str, recipe: Recipe | None) -> str:
    """Formats the same settings of a run, and the number of its validation images, for a cell."""
    if recipe is None:
        return NO_RUN
    stages = [f"{s.size}×{s.size}: batch {s.batch_size}, {s.epochs} epochs, SWA {len(s.swa)}" for s in recipe.stages]
    rule = f"B-TH {recipe.threshold.binarization}, R-TH {recipe.threshold.removal}"
    dice = scored.dice(Variant(name), test=False)
    images = dice if isinstance(dice, str) else f"{len(dice)} images validated"
    return "; ".join([*stages, rule, f"{recipe.network.channels} × grey, {recipe.network.encoder}", images])


def _table_5(scored: RunScores) -> str:
    rows = []
    for name, figures in paper.TABLE_5.items():
        variants = [Variant(name, tta, reading) for tta in (False, True) for reading in READINGS]
        precision = [scored.mean_precision(variant) for variant in variants if variant.reading != "component"]
        rows.append([name, *map(_four, [*figures, *precision, *map(scored.validation_iou, variants)])])
    ttas = "without TTA", "with TTA"
    columns = [f"mean precision, {tta}, R-TH {reading}" for tta in ttas for reading in ("none", "image")]
    columns += [f"IoU, {tta}, R-TH {reading}" for tta in ttas for reading in READINGS]
    return markdown(["Experiment", "paper, without TTA", "paper, with TTA", *_here(scored, columns)], rows)


def _table_6(scored: RunScores) -> str:
    rows = [
        [name, _four(figure), *(_four(scored.test_dice(Variant(name, reading=reading))) for reading in READINGS)]
        for name, figure in paper.TABLE_6.items()
    ]
    return markdown(["Experiment", "paper", *_here(scored, [f"R-TH {reading}" for reading in READINGS])], rows)


def _table_7(scored: RunScores) -> str:
    rows = []
    for (tta, removed), figure in paper.TABLE_7.items():
        variants = _variants("exp5", tta=tta, removed=removed)
        cells = [scored.mean_precision(variants[0]), *map(scored.validation_iou, variants)]
        rows.append([TICK[tta], TICK[removed], *map(_four, [figure, *cells])])
    header = ["mean precision", "IoU, image", "IoU, component"]
    return markdown(["TTA", "R-TH", "paper", *_here(scored, header)], rows)


def _table_8(scored: RunScores) -> str:
    rows = [
        [f"paper, {train_set}", TICK[tta], None, *map(_four, figures)]
        for (train_set, tta), figures in paper.TABLE_8.items()
    ]
    for name, train_set in scored.trained_on("exp5").items():
        for reading in ("image", "component"):
            for tta in (False, True):
                variant = Variant(name, tta, reading)
                parts = [scored.test_dice(variant, usage) for usage in (scoring.PUBLIC, scoring.PRIVATE)]
                rows.append([train_set, TICK[tta], reading, *map(_four, parts)])
    table = markdown(["Train set", "TTA", "R-TH", "Public", "Private"], rows)
    return f"{table}\n\n{ROUND_1}" if scored.all_public else table


def _table_10(scored: RunScores) -> str:
    runs, rows = scored.studies(), []
    for groups, figures in paper.TABLE_10.items():
        for (tta, removed), (iou, dice) in zip(
            ((False, False), (True, False), (False, True), (True, True)), figures, strict=True
        ):
            variants = _variants(runs.get(groups, ""), tta=tta, removed=removed)
            validation = [iou, scored.mean_precision(variants[0]), *map(scored.validation_iou, variants)]
            test = [dice, *map(scored.test_dice, variants)]
            label = " + ".join(groups) or "Non-Augmentation"
            rows.append([label, TICK[tta], TICK[removed], *map(_four, [*validation, *test])])
    header = ["Augmentation group", "TTA", "R-TH", "validation: paper"]
    header += _here(scored, ["mean precision", "IoU, image", "IoU, component"])
    header += ["test Dice: paper", *_here(scored, ["test Dice, image", "test Dice, component"])]
    return markdown(header, rows)


def _table_11(scored: RunScores) -> str:
    run_recipes, rows = scored.recipes(), []
    for name, (team, architecture, size, dice) in paper.TABLE_11.items():
        recipe, result = run_recipes.get(name), NO_RUN
        if recipe is not None:
            cell = scored.test_dice(Variant(name, recipe.tta, "chosen"), scoring.PRIVATE)
            side = max(part.stages[-1].size for part in recipe.parts())
            rule = "" if isinstance(cell, str) else f" ({side}×{side}, {scored.rule(name)})"
            result = f"{_four(cell)}{rule}"
        rows.append([team, architecture, f"{size}×{size}", _four(dice), result])
    header = ["Team", "Model", "Image size", "paper", f"{scored.competition.name}, by the rule in use"]
    return markdown(header, rows)


def _time(scored: RunScores) -> str:
    name, competition = "exp5", scored.competition
    recipe, run, machine = scored.recipes().get(name), scored.run(name), network.device()
    counts = [
        f"{count / 1e6:.1f} million" for count in (paper.PARAMETERS, network.parameters(recipe or recipes.load(name)))
    ]
    rows = [["trainable parameters", *counts]]
    for number, published in enumerate(paper.MINUTES):
        minutes = network.minutes_an_epoch(run, number) if recipe else None
        measured = NO_RUN if minutes is None else f"{minutes:.2f} on {machine}"
        rows.append([f"minutes an epoch, stage {number + 1}", f"{published} on a Titan Xp", measured])
    paths = list((competition.test or competition.train).values())[: network.SAMPLES]
    sample = NO_RUN
    if recipe is not None and run.finished_stages() and run.thresholds.is_file():
        size, time = recipe.stages[-1].size, network.milliseconds(run, recipe, paths)
        sample = f"{time:.1f} at {size}×{size} on {machine}, mean of {len(paths)} images"
    rows.append(["milliseconds a sample", f"{paper.MILLISECONDS} at 512×512 on a Titan Xp", sample])
    return markdown(["", "paper", competition.name], rows)


def _here(scored: RunScores, columns: Sequence[str]) -> list[str]:
    return [f"{scored.competition.name}: {column}" for column in columns]


def _variants(name: str, *, tta: bool, removed: bool) -> list[Variant]:
    """Returns both readings of a row of the paper, which leaves open what R-TH removes."""
    return [Variant(name, tta, reading if removed else "none") for reading in ("image", "component")]


def _four(figure: float | str) -> str:
    """Formats a score with four digits; a text says why there is no score."""
    return figure if isinstance(figure, str) else f"{figure:.4f}"


def stages(scored: RunScores) -> str:
    """Lists the IoU of every stage of every run after its last epoch and with its final weights."""
    rows = [
        [stage.run, stage.stage, stage.size, f"{stage.last:.4f}", "-" if stage.final is None else f"{stage.final:.4f}"]
        for stage in claims.averaged(scored)
    ]
    return markdown(["Run", "Stage", "Pixels a side", "Last epoch", "Averaged"], rows) if rows else "No run."


def differences(scored: RunScores) -> str:
    """Lists each claim with its difference of Dice on validation and on test images."""
    rows = []
    for claim, pairs in claims.pairs(scored).items():
        parts = [claims.difference(scored, pairs, test=test) for test in (False, True)]
        cells = [cell for part in parts for cell in ((NO_RUN, None) if part is None else (str(part), part.verdict))]
        rows.append([claim, max((part.pairs for part in parts if part), default=0), *cells])
    gains = [s.final - s.last for s in claims.averaged(scored) if s.run in claims.EXPERIMENTS and s.final is not None]
    better = f"better in {sum(gain > 0 for gain in gains)} of {len(gains)} stages"
    averaged = [f"{np.mean(gains):+.4f} IoU", better] if gains else [NO_RUN, None]
    rows.append(["SWA helps, against the last epoch", len(gains), *averaged, "-", None])
    text = (
        "A claim holds if the interval over patients is above 0 and each of the compared pairs (experiments, readings "
        "or seeds) agrees."
    )
    header = ["Claim", "Compared", "validation images", "verdict", "test images", "verdict"]
    return f"{text}\n\n{markdown(header, rows)}"


def races(scored: RunScores) -> str:
    """Compares what two stages and one stage at the final size spend until both reach the same validation Dice."""
    finished = claims.races(scored)
    if not finished:
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
        for race in finished
    ]
    for what in ("compute", "seconds"):
        mean, low, high = claims.ratio([getattr(race.two, what) / getattr(race.one, what) for race in finished])
        verdict = "holds" if high < 1 else "does not hold" if low > 1 else "not decided"
        rows.append([f"two stages faster, by {what}", None, f"{mean:.2f} times [{low:.2f}, {high:.2f}]", verdict])
    return markdown(["Run", "validation Dice that both reach", "two stages", "one stage"], rows)


def markdown(header: Sequence[str], rows: Sequence[Sequence]) -> str:
    """Formats a Markdown table; None is an empty cell.

    >>> print(markdown(["a", "b"], [[1, None]]))
    | a | b |
    |---|---|
    | 1 |  |
    """
    lines = [header, *rows]
    text = [
        "| " + " | ".join("" if cell is None else str(cell).replace("|", "\\|") for cell in line) + " |"
        for line in lines
    ]
    return "\n".join([text[0], "|" + "---|" * len(header), *text[1:]])
