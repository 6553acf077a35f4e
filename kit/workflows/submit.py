"""The verb `submit`: predicts what is missing, then validates and submits the submission."""

from pathlib import Path
from typing import Any

from kit.competition import scoring
from kit.core.errors import KitError
from kit.core.files import copy
from kit.inference import thresholds_file
from kit.kaggle import settings
from kit.recipes.schema import Recipe
from kit.run import Run
from kit.submissions.submit import Ask, Outcome, never, submit_local
from kit.workflows.workspace import Workspace


def submit(
    workspace: Workspace,
    data: Path | str,
    recipe: Recipe,
    to: str,
    *,
    file: Path | str | None = None,
    kernel: str | None = None,
    kaggle_settings: settings.Settings | None = None,
    again: bool = False,
    yes: bool = False,
    skip_bad: bool = False,
    ask: Ask = never,
) -> Outcome | str:
    """Predicts what is missing, validates the submission and submits it.

    Without test images there is nothing to submit; the result is then a text that says so, with the out-of-fold Dice.

    Args:
        to: `local` or `kaggle`.
        file: Path to a submission from elsewhere; if None, the run's own is submitted.
        kernel: `OWNER/SLUG/VERSION` of a kernel whose output is submitted instead of a file.
    """
    if to == "kaggle" and Path(data).resolve() == Path(workspace.demo).resolve():
        raise KitError(f"--to kaggle: {data} holds phantoms: give a competition's folder with --data")
    competition = workspace.open_data(data)
    run = workspace.run(competition, recipe)
    if to == "local" and file is None and not competition.sample_ids:
        return _without_test(competition.folder, run)
    folder = workspace.submissions / competition.name

    def keep(path: Path | str) -> None:
        if file is None and kernel is None:
            copy(path, folder / f"{recipe.name}.csv")
            copy(run.thresholds, folder / f"{recipe.name}.thresholds.json")

    def given_or_predicted() -> Path:
        if file:
            return Path(file)
        from kit.workflows.predict import predict

        return predict(workspace, data, recipe, skip_bad=skip_bad)[0]

    if to == "local":
        path = given_or_predicted()
        oof = {} if file else _oof_scores(run)
        return submit_local(path, competition, workspace.ledger, oof, again=again, ask=ask, keep=keep)
    from kit.kaggle import kernel_output
    from kit.kaggle.client import connect
    from kit.kernel.bundle import kernel_of
    from kit.submissions import kaggle

    kaggle_settings = kaggle_settings or settings.load()
    name = kaggle_settings.named_competition()
    client = connect(kaggle_settings.timeout)
    account = kaggle_settings.owner(client.user)
    if kernel:
        owner, slug, version = kernel_output.split(kernel)
        is_own = (owner, slug) == (account, kernel_of(run).name)
        path = kernel_output.fetch_submission(client, owner, slug, version, competition)
    else:
        is_own, path = file is None, given_or_predicted()
    oof = _oof_scores(run) if is_own else {}
    return kaggle.submit_kaggle(
        path, competition, workspace.ledger, oof, client, name, again=again, yes=yes, ask=ask, kernel=kernel, keep=keep
    )


def _without_test(folder: Path, run: Run) -> str:
    oof = _oof_scores(run)
    if not oof:
        raise KitError(f"{run.folder}: has no thresholds yet: run `make train` first")
    nested = oof.get("nested_dice")  # none in a file written by hand, or if all images are of one group
    dice = f"out of fold: {scoring.format_dice({**oof, 'dice': nested})}" if nested is not None else "no nested Dice"
    message = f"{folder}: has no test images, so nothing is submitted; {dice}"
    return "\n".join(filter(None, (message, scoring.verdict(oof))))


def _oof_scores(run: Run) -> dict[str, Any]:
    """Returns what the run's thresholds.json says of the rule in use, once a prediction has brought it up to date."""
    if not run.thresholds.exists():
        return {}
    content = thresholds_file.read(run.thresholds)
    return content.measures | ({} if content.recipe is None else {"recipe": content.recipe})
