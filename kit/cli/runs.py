"""Verbs of a run: `train`, `thresholds`, `predict`, `export` and `recipes`."""

from pathlib import Path
from typing import Annotated

import typer

from kit.cli.app import app, verb
from kit.cli.options import (
    DEMO,
    CompetitionName,
    Data,
    Overrides,
    RecipeName,
    SkipBad,
    Sources,
    UserName,
    load_recipe,
    one_of,
    recipe_for,
)
from kit.cli.spelling import say
from kit.workflows.workspace import Workspace


@verb(
    app,
    "train",
    [
        "kit train",
        "kit train --data ../siim --recipe exp5 --set 'stages.0.epochs=2 seed=1'",
        "kit train --data ../siim --recipe sneddy --fold 0",
        "kit train --data ../siim --recipe exp5 --on kaggle --source your-name/siim",
        "kit train --data ../siim --on kaggle --sweep exp4 --sweep exp5",
    ],
    needs=dict.fromkeys(
        ("source", "time_limit", "no_wait", "competition", "user", "predict_only", "sweep"), "on=kaggle"
    ),
    excludes={
        "fold": ["jobs"],
        "on=kaggle": ["fold", "jobs", "logger", "skip_bad"],
        "sweep": ["recipe"],
    },
)
def train_all(
    *,
    data: Data = DEMO,
    recipe: RecipeName = None,
    overrides: Overrides,
    fold: Annotated[int | None, typer.Option(metavar="FOLD", min=0, help="Train only this fold.")] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="Number of folds to train at the same time, in processes that share the threads.")
    ] = 1,
    logger: Annotated[
        str | None,
        typer.Option(help="Also send figures and pictures to wandb, whose package must be installed."),
    ] = None,
    skip_bad: SkipBad = False,
    on: Annotated[
        str,
        typer.Option(
            metavar="ON",
            callback=one_of("here", "kaggle"),
            help="Where to train: here, or kaggle: on Kaggle's GPUs, session by session.",
        ),
    ] = "here",
    source: Sources,
    time_limit: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds until a session on Kaggle ends and the next one resumes; default: 39600."),
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Return once a session runs on Kaggle; the same command continues later.")
    ] = False,
    predict_only: Annotated[
        bool,
        typer.Option("--predict-only", help="Only predict the test images on Kaggle, with the finished run."),
    ] = False,
    sweep: Annotated[
        list[str] | None, typer.Option(help="A recipe to train on Kaggle; repeat the option for each recipe.")
    ] = None,
    competition: CompetitionName = None,
    user: UserName = None,
) -> None:
    """Train all stages of all folds, predict the out-of-fold maps and choose the thresholds."""
    from kit import recipes

    if on == "kaggle":
        from kit.kaggle import settings
        from kit.kernel import bundle

        chosen = settings.load(competition, user)
        loaded = [recipes.load(name, overrides) for name in sweep or [recipe_for(data, recipe)]]
        bundle.require_distinct([entry.name for entry in loaded])  # before the imports that take seconds

        from kit.report import summary
        from kit.workflows import train_on_kaggle

        orders = [train_on_kaggle.Order(data, entry, chosen, source, time_limit, not predict_only) for entry in loaded]
        done = "predicted" if predict_only else "trained"
        for run in train_on_kaggle.train_there(Workspace(), orders, say, patient=not no_wait):
            say(f"{run.folder}: {done} on Kaggle, nothing left to do\n{summary.describe(run)}")
        return
    from kit.report import summary
    from kit.workflows.jobs import train_side_by_side
    from kit.workflows.train import Job, train

    name = recipe_for(data, recipe)
    job = Job(data, recipes.load(name, overrides), fold, skip_bad, logger)
    if jobs == 1 or fold is not None:
        run, trained = train(Workspace(), job)
    else:
        options = ["--data", str(data), "--recipe", name, *(word for pairs in overrides for word in ("--set", pairs))]
        run, trained = train_side_by_side(Workspace(), job, options, jobs)
    # The log has already reported each stage that was trained now.
    say(summary.outcome(run) if trained else f"{run.folder}: trained, nothing to do\n{summary.describe(run)}")


@verb(
    app,
    "thresholds",
    ["kit thresholds --draws 200", "kit thresholds --maps maps.npy --masks masks.npy --rule image --out found"],
    needs={"masks": "maps", "out": "maps", "folds": "maps"},
    excludes={"maps": ["data", "recipe", "overrides"]},
)
def search_thresholds(
    *,
    data: Data = DEMO,
    recipe: RecipeName = None,
    overrides: Overrides,
    maps: Annotated[
        Path | None, typer.Option(help="Probability maps from elsewhere: .npy (N, H, W), uint8 or float.")
    ] = None,
    masks: Annotated[Path | None, typer.Option(help="True masks of --maps: .npy (N, H, W), bool or uint8.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write for --maps; with --rule all, a subfolder for each.")
    ] = None,
    rule: Annotated[str, typer.Option(help="image, component, triplet, expected or all.")] = "all",
    folds: Annotated[Path | None, typer.Option(help="Fold file of --maps: image_id, patient_id, fold.")] = None,
    prevalence: Annotated[float | None, typer.Option(help="Expected share of positives, such as 0.22.")] = None,
    draws: Annotated[
        int,
        typer.Option(min=0, help="Number of bootstrap samples, such as 200, for the spread of the best thresholds."),
    ] = 0,
) -> None:
    """Search the best thresholds of each rule, exactly, on a run's out-of-fold maps or on external maps.

    The rule that a run predicts with is set by its recipe: threshold.rule.
    """
    from kit.report import surfaces
    from kit.thresholds.search import parse_rules
    from kit.workflows import thresholds

    names, in_use, note = parse_rules(rule), None, ""
    if maps:
        folders = thresholds.explore_arrays(maps, masks, names, out, folds, prevalence, draws)
    else:
        loaded = load_recipe(data, recipe, overrides)
        explored = thresholds.explore(Workspace(), data, loaded, names, prevalence, draws)
        folders, in_use, note = explored.folders, explored.in_use, f"\nin use: {explored.reason}"
        if in_use.name.startswith("searched"):
            note += " (the row “searched” chooses it again in each fold)"
    say(f"{surfaces.table(folders, in_use)}{note}")
    for folder in folders.values():
        for figure in surfaces.draw(folder):
            figure.write(folder)
    if verdict := surfaces.verdict([in_use] if in_use else folders.values()):
        say(verdict)


@verb(
    app,
    "predict",
    ["kit predict", "kit predict --data ../siim --recipe exp5 --images clinic --save png,overlay"],
    needs={"out": "images"},
    excludes={"trained_on": ["images"]},
)
def predict_images(
    *,
    data: Data = DEMO,
    recipe: RecipeName = None,
    overrides: Overrides,
    images: Annotated[
        Path | None, typer.Option(help="Any folder of images instead of the test set: DICOM files or pictures.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for --images' maps and submission.csv.")] = None,
    trained_on: Annotated[
        str | None, typer.Option(help="Predict with the recipe's run on this other data set, such as round 1's.")
    ] = None,
    save: Annotated[str, typer.Option(help="Files to save for each image: png,overlay,npy,rle,dicom-seg.")] = "",
    skip_bad: SkipBad = False,
) -> None:
    """Predict test images with TTA and the chosen rule, and write the submission."""
    from kit.workflows import predict, saving

    loaded, kinds = load_recipe(data, recipe, overrides), saving.kinds_of(save)
    path, done = predict.predict(
        Workspace(),
        data,
        loaded,
        images=images,
        out=out,
        skip_bad=skip_bad,
        save=kinds,
        trained_on=trained_on,
    )
    say(f"{path}: {'written' if done else 'up to date, nothing to do'}")


@verb(app, "export", ["kit export --data ../siim --recipe exp5"])
def export_networks(*, data: Data = DEMO, recipe: RecipeName = None, overrides: Overrides) -> None:
    """Write a run as one file, model.safetensors, and its networks as ONNX (opset 17) beside their weights."""
    from kit.workflows import export

    for path in export.export(Workspace(), data, load_recipe(data, recipe, overrides)):
        say(path)


@verb(app, "recipes", ["kit recipes", "kit recipes exp5 --set stages.0.epochs=2"], needs={"overrides": "name"})
def print_recipes(
    *,
    name: Annotated[str | None, typer.Argument(metavar="RECIPE", help="Print this one resolved, as YAML.")] = None,
    overrides: Overrides,
) -> None:
    """List the recipes, or print one resolved."""
    from kit import recipes

    if name is None:
        say("\n".join(f"{recipe:14} {recipes.load(recipe).described}" for recipe in recipes.names()))
    else:
        print(recipes.load(name, overrides).dump(), end="")
