"""The verbs: each parses its options, calls one function and prints what it returns. No logic."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from kit.core.errors import KitError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Segments pneumothorax in chest X-rays: folds, training, thresholds, submissions, kernels.",
)

Data = Annotated[Path, typer.Option(help="Folder of the competition's files; the default demo is made when missing.")]
RecipeName = Annotated[str, typer.Option(help="Name of a recipe (`kit recipes`), or the path of a .yaml file.")]
Overrides = Annotated[str, typer.Option("--set", help="KEY=VALUE pairs over the recipe: 'stages.0.epochs=2 seed=1'.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read, and say which.")]
AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="Accept label rows without an image.")]
CompetitionName = Annotated[str | None, typer.Option(help="Name on Kaggle; default: as in kaggle.yaml.")]
UserName = Annotated[str | None, typer.Option(help="Account on Kaggle; default: as in kaggle.yaml.")]
DEMO = Path("data/demo")


def main() -> None:
    """Runs the verb of the command line; a user's mistake is one line and exit code 2."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("kit").setLevel(logging.INFO)
    if os.environ.get("RANK", "0") != "0":  # under torchrun every process runs the verb; the first speaks for all
        logging.getLogger("kit").setLevel(logging.ERROR)
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        app()
    except KitError as error:
        print(f"kit: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("kit: stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = DEMO,
    train: Annotated[int, typer.Option(min=1, help="Training images.")] = 240,
    test: Annotated[int, typer.Option(min=1, help="Test images.")] = 100,
    size: Annotated[int, typer.Option(min=64, help="Pixels a side.")] = 1024,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Write the built-in competition: phantom chest X-rays with labels and a solution."""
    from kit import phantom

    phantom.write(out, train, test, size, seed)
    print(f"{out}: {train} training and {test} test images")


@app.command()
def stats(data: Data = DEMO, allow_missing: AllowMissing = False) -> None:
    """Print the tables of a data set: images, positives, masks; sex × view × finding."""
    from kit.report import stats
    from kit.workflows import workspace

    print(stats.tables(workspace.open_data(data, allow_missing)))


@app.command()
def tables(data: Data = DEMO) -> None:
    """Fill the paper's tables from the runs of a data set, as Markdown."""
    from kit.report import tables
    from kit.workflows import workspace

    competition = workspace.open_data(data)
    print(tables.tables(competition, workspace.RUNS / competition.name))


@app.command()
def folds(
    data: Data = DEMO,
    recipe: RecipeName = "demo",
    folds: Annotated[int | None, typer.Option(min=2, help="How many; default: as the recipe says.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, help="Of the shuffle; default: the recipe's.")
    ] = None,
    holdout: Annotated[float | None, typer.Option(help="Hold out this share instead of K folds.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; default: folds/NAME.csv.")] = None,
    allow_missing: AllowMissing = False,
    hash_patients: Annotated[
        bool, typer.Option("--hash-patients", help="Write a hash in the place of each patient's id.")
    ] = False,
) -> None:
    """Split the training images: stratified by negative / single / multiple, grouped by patient."""
    from kit import recipes
    from kit.workflows import folds as folds_workflow

    path, split, made = folds_workflow.make_folds(
        data, recipes.load(recipe), folds, seed, holdout, out, allow_missing, hash_patients
    )
    print(f"{path}: {'written' if made else 'up to date, nothing to do'}\n{split.counts().to_string()}")


@app.command()
def train(
    data: Data = DEMO,
    recipe: RecipeName = "demo",
    overrides: Overrides = "",
    fold: Annotated[int | None, typer.Option(min=0, help="Train this fold alone.")] = None,
    skip_bad: SkipBad = False,
) -> None:
    """Train all stages of all folds, predict the out-of-fold maps and choose the thresholds."""
    from kit import recipes
    from kit.report import summary
    from kit.workflows import train as train_workflow

    run, done = train_workflow.train(data, recipes.load(recipe, overrides), fold, skip_bad)
    print(summary.describe(run) if done else f"{run.folder}: trained, nothing to do\n{summary.describe(run)}")


@app.command()
def thresholds(
    data: Data = DEMO,
    recipe: RecipeName = "demo",
    overrides: Overrides = "",
    maps: Annotated[Path | None, typer.Option(help="Anyone's maps: .npy (N, H, W), uint8 or float.")] = None,
    masks: Annotated[Path | None, typer.Option(help="Their truth: .npy (N, H, W), bool or uint8.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write for --maps; a subfolder a rule with all.")] = None,
    rule: Annotated[str, typer.Option(help="image, component, triplet, expected or all.")] = "all",
    folds: Annotated[Path | None, typer.Option(help="Fold file of --maps: image_id, patient_id, fold.")] = None,
    removal: Annotated[str | None, typer.Option(help="Values to choose from: 0,512,…; default: all.")] = None,
    prevalence: Annotated[float | None, typer.Option(help="Share of positives to expect, such as 0.22.")] = None,
) -> None:
    """Search the best thresholds of each rule, exactly, on a run's out-of-fold maps or on anyone's."""
    from kit import recipes
    from kit.report import surfaces
    from kit.thresholds import external
    from kit.thresholds.selection import kinds_of, removals_of
    from kit.workflows import thresholds as thresholds_workflow

    kinds, removals = kinds_of(rule), removals_of(removal)
    if maps or masks or out:
        found = external.choose(maps, masks, kinds, out, folds, removals, prevalence)
        folders = {result.rule.name: folder for folder, result in found.items()}
    else:
        wanted = recipes.load(recipe, overrides)
        expected = wanted.prevalence if prevalence is None else prevalence
        folders = thresholds_workflow.search_thresholds(data, wanted, kinds, removals, expected)
    print(surfaces.table(folders))
    for folder in folders.values():
        surfaces.draw(folder)


@app.command()
def predict(
    data: Data = DEMO,
    recipe: RecipeName = "demo",
    overrides: Overrides = "",
    images: Annotated[Path | None, typer.Option(help="Any folder of DICOM files instead of the test images.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for --images' maps and submission.csv.")] = None,
    skip_bad: SkipBad = False,
) -> None:
    """Predict test images with TTA and the chosen rule, and write the submission."""
    from kit import recipes
    from kit.workflows import predict as predict_workflow

    path, done = predict_workflow.predict(data, recipes.load(recipe, overrides), images, out, skip_bad)
    print(f"{path}: {'written' if done else 'up to date, nothing to do'}")


@app.command()
def validate(
    file: Annotated[Path, typer.Argument(help="The submission.")],
    data: Data = DEMO,
    sample: Annotated[Path | None, typer.Option(help="A sample submission instead of --data's.")] = None,
) -> None:
    """Check a submission file against its sample, and list every problem with its line."""
    from kit.workflows import validate as validate_workflow

    problems = validate_workflow.validate(file, data, sample)
    print("\n".join(map(str, problems)) or f"{file}: valid")
    if problems:
        raise typer.Exit(2)


@app.command()
def submit(
    data: Data = DEMO,
    recipe: RecipeName = "demo",
    overrides: Overrides = "",
    to: Annotated[str, typer.Option(help="local or kaggle.")] = "local",
    file: Annotated[Path | None, typer.Option(help="A submission from elsewhere instead of the run's.")] = None,
    kernel: Annotated[str | None, typer.Option(help="OWNER/SLUG/VERSION whose output is submitted.")] = None,
    competition: CompetitionName = None,
    again: Annotated[bool, typer.Option("--again", help="Submit a file that was submitted before.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Spend one of today's submissions without a question.")] = False,
    skip_bad: SkipBad = False,
) -> None:
    """Predict, validate, upload or score locally, and record public and private Dice."""
    from kit import recipes
    from kit.kaggle import settings
    from kit.workflows import submit as handin

    wanted, chosen = recipes.load(recipe, overrides), settings.load(competition)
    print(handin.hand_in(data, wanted, to, file, kernel, chosen, again, yes, skip_bad, confirm))


def confirm(question: str) -> bool:
    """Asks a person; where there is none, the answer is no."""
    return sys.stdin.isatty() and typer.confirm(question)


@app.command()
def scores() -> None:
    """Print the ledger as a table: OOF, nested, public, private."""
    from kit.workflows import submit as handin

    print(handin.scores())


@app.command()
def download(
    competition: CompetitionName = None,
    dataset: Annotated[str | None, typer.Option(help="OWNER/SLUG of a mirror instead of the competition.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to fill; default: data/NAME.")] = None,
) -> None:
    """Fetch the competition's files from Kaggle, or a mirror with the training images."""
    from kit.kaggle import settings
    from kit.workflows import submit as handin

    folder, done = handin.download(settings.load(competition), dataset, out)
    print(f"{folder}: {'complete' if done else 'complete, nothing to do'}")


kernel_app = typer.Typer(no_args_is_help=True, help="Build, rehearse and push the offline kernel of a run.")
app.add_typer(kernel_app, name="kernel")
RunFolder = Annotated[Path | None, typer.Option(help="The run; default: runs/NAME/RECIPE of the data and the recipe.")]


@kernel_app.command()
def build(
    data: Data = DEMO,
    recipe: RecipeName = "demo",
    overrides: Overrides = "",
    run: RunFolder = None,
    competition: CompetitionName = None,
    user: UserName = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Ask Kaggle for a GPU.")] = False,
    time_limit: Annotated[float, typer.Option(min=0, help="Seconds; images that are left get no mask.")] = 30600,
) -> None:
    """Write the kernel and the data set that it needs: wheels, weights, recipe, thresholds, manifest."""
    from kit.kaggle import settings
    from kit.workflows import kernel as kernels

    chosen = settings.load(competition, user)
    kernel = kernels.build(kernels.find_run(run, data, recipe, overrides), data, chosen, gpu, time_limit, say)
    print(f"{kernel.folder}: the kernel\n{kernel.bundle}: its files, {kernel.megabytes():.1f} MB")


@kernel_app.command()
def check(
    data: Data = DEMO,
    recipe: RecipeName = "demo",
    overrides: Overrides = "",
    run: RunFolder = None,
    images: Annotated[Path | None, typer.Option(help="A folder of DICOM files instead of the test images.")] = None,
) -> None:
    """Rehearse the kernel without a network, in each of Kaggle's folder layouts."""
    from kit.workflows import kernel as kernels

    kernels.check(kernels.find_run(run, data, recipe, overrides), data, images, say)
    print("the kernel is fit for `kit kernel push`")


@kernel_app.command()
def push(
    data: Data = DEMO,
    recipe: RecipeName = "demo",
    overrides: Overrides = "",
    run: RunFolder = None,
    user: UserName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print each request's content and send nothing.")] = False,
) -> None:
    """Upload the kernel and its files, wait for its run, fetch and check its submission."""
    from kit.kaggle import settings
    from kit.workflows import kernel as kernels

    found, chosen = kernels.find_run(run, data, recipe, overrides), settings.load(user=user)
    if dry_run:
        print(kernels.push_requests(found, chosen))
    else:
        kernels.push(found, data, chosen, say)


def say(line: str) -> None:
    """Prints a line at once, where a verb tells more than its end."""
    print(line, flush=True)


@app.command()
def report(data: Data = DEMO, recipe: RecipeName = "demo", overrides: Overrides = "") -> None:
    """Write one self-contained HTML page of a run."""
    from kit import recipes
    from kit.report import page
    from kit.workflows import workspace

    competition = workspace.open_data(data)
    print(page.write(workspace.run_of(competition, recipes.load(recipe, overrides)), competition))


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this one resolved, as YAML.")] = None,
    overrides: Overrides = "",
) -> None:
    """List the recipes, or print one resolved."""
    from kit import recipes

    if name is None:
        print("\n".join(f"{known:14} {recipes.load(known).about}" for known in recipes.names()))
    else:
        print(recipes.load(name, overrides).dump(), end="")
