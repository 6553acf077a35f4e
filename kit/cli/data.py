"""Verbs of the data: `doctor`, `demo`, `download`, `check`, `import`, `stats` and `folds`."""

from pathlib import Path
from typing import Annotated

import typer

from kit.cli.app import app, verb
from kit.cli.options import (
    DEMO,
    AllowMissing,
    CompetitionName,
    Data,
    Overrides,
    RecipeName,
    SkipBad,
    recipe_for,
)
from kit.cli.spelling import say
from kit.workflows.workspace import Workspace

Masks = Annotated[Path | None, typer.Option(help="Folder of the masks; default: found by name.")]
MaskSuffix = Annotated[str | None, typer.Option(help="Suffix of the masks' names; default: found by name.")]
RleFormat = Annotated[
    str | None,
    typer.Option("--rle", help="Meaning of label rows: gaps, starts-0 or starts-1; columns or rows; HEIGHTxWIDTH."),
]
Label = Annotated[int | None, typer.Option(min=0, help="Value of the foreground in masks with several values.")]


@verb(app, "doctor", ["kit doctor"])
def examine_machine() -> None:
    """Examine the machine (versions, GPU, threads, memory, disk, weights, credentials) and say what to fix."""
    from kit.workflows import doctor

    checks = []
    for check in doctor.examine(Workspace()):
        say(check)
        checks.append(check)
    doctor.refuse(checks)


@verb(app, "demo", ["kit demo", "kit demo --train 300 --test 200 --size 256 --out data/demo-256"])
def write_demo(
    *,
    out: Annotated[Path, typer.Option(help="Folder to write.")] = DEMO,
    train: Annotated[int, typer.Option(min=1, help="Training images.")] = 240,
    test: Annotated[int, typer.Option(min=1, help="Test images.")] = 100,
    size: Annotated[int, typer.Option(min=64, help="Pixels a side.")] = 1024,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
) -> None:
    """Write the built-in competition: phantom chest X-rays with labels and a solution."""
    from kit import phantom

    phantom.write(out, train, test, size, seed)
    say(f"{out}: {train} training and {test} test images")


@verb(
    app,
    "download",
    ["kit download --competition siim-acr-pneumothorax-segmentation --out ../siim"],
    excludes={"dataset": ["competition"]},
)
def fetch(
    *,
    competition: CompetitionName = None,
    dataset: Annotated[str | None, typer.Option(help="OWNER/SLUG of a mirror instead of the competition.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to fill; default: data/NAME.")] = None,
) -> None:
    """Fetch the competition's files from Kaggle, or a mirror with the training images."""
    from kit.kaggle import settings
    from kit.workflows.download import download

    folder, done = download(settings.load(competition), dataset, out)
    say(f"{folder}: {'complete' if done else 'complete, nothing to do'}")


@verb(app, "check", ["kit check ../siim", "kit check scans --masks labels --label 1"])
def check_data(
    *,
    folder: Annotated[
        Path, typer.Argument(metavar="DATA", help="A competition's folder, or one with images and masks.")
    ] = DEMO,
    masks: Masks = None,
    mask_suffix: MaskSuffix = None,
    rle_format: RleFormat = None,
    label: Label = None,
) -> None:
    """Decode every file of a data set, check each mask against its image, and list what is wrong."""
    from kit.workflows import check

    report = check.check(Workspace(), folder, masks, mask_suffix, rle_format, label)
    say(report.text())
    report.refuse()


@verb(
    app, "import", ["kit import clinic --out data/clinic", "kit import scans --masks labels --label 1 --out data/scans"]
)
def import_folder(
    *,
    folder: Annotated[
        Path, typer.Argument(metavar="DATA", help="Folder of images and masks, or a mirror of the competition.")
    ],
    out: Annotated[Path, typer.Option(metavar="OUT", help="The competition's folder to write.")],
    skip_bad: SkipBad = False,
    masks: Masks = None,
    mask_suffix: MaskSuffix = None,
    rle_format: RleFormat = None,
    label: Label = None,
) -> None:
    """Import pictures or DICOM files with their masks or label rows as a competition's folder."""
    from kit.workflows import importing

    result, done = importing.import_folder(
        folder,
        out,
        skip_bad=skip_bad,
        masks=masks,
        mask_suffix=mask_suffix,
        rle_format=rle_format,
        label=label,
    )
    say(f"{out}: {importing.describe(out, result) if done else 'up to date, nothing to do'}")


@verb(app, "stats", ["kit stats --data ../siim"])
def print_stats(*, data: Data = DEMO, allow_missing: AllowMissing = False) -> None:
    """Print the tables of a data set: images, positives, masks; sex × view × finding."""
    from kit.report import stats

    workspace = Workspace()
    workspace.draw_demo(data)
    say(stats.tables(workspace.open_data(data, allow_missing=allow_missing)))


@verb(app, "folds", ["kit folds", "kit folds --data ../siim --folds 5 --seed 1"])
def make_folds(
    *,
    data: Data = DEMO,
    recipe: RecipeName = None,
    overrides: Overrides,
    count: Annotated[
        int | None,
        typer.Option("--folds", metavar="FOLDS", min=2, help="Number of folds; default: as in the recipe."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, help="Random seed of the split; default: as in the recipe.")
    ] = None,
    holdout: Annotated[float | None, typer.Option(help="Hold out this share instead of K folds.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; default: folds/NAME.csv, or NAME-SPLIT.csv.")] = None,
    allow_missing: AllowMissing = False,
    hash_patients: Annotated[
        bool, typer.Option("--hash-patients", help="Replace each patient's id by a hash.")
    ] = False,
) -> None:
    """Split the training images: stratified by negative / single / multiple, grouped by patient."""
    from kit import recipes
    from kit.workflows import folds

    # With --folds or --holdout only the seed of the recipe matters, which is the same in all recipes.
    name = recipe or ("demo" if count or holdout else None)
    loaded = recipes.load(recipe_for(data, name), overrides)
    path, split, made = folds.make_folds(
        Workspace(),
        data,
        loaded,
        count=count,
        seed=seed,
        holdout=holdout,
        out=out,
        allow_missing=allow_missing,
        hash_patients=hash_patients,
    )
    say(f"{path}: {'written' if made else 'up to date, nothing to do'}\n{split.counts().to_string()}")
    for line in folds.describe_extra(Workspace(), data, loaded, split):
        say(line)
