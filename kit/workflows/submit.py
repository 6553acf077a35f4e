"""The flow of the verb `submit`."""

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
    chosen: settings.Settings | None = None,
    again: bool = False,
    yes: bool = False,
    skip_bad: bool = False,
    ask: Ask = never,
) -> Outcome | str:
    """Predicts what is missing, validates the submission and submits it.

    A data set without test images has nothing to submit: the answer says so, and what the run is worth out of fold.

    Args:
        to: `local` or `kaggle`.
        file: A submission from elsewhere instead of the run's.
        kernel: `OWNER/SLUG/VERSION` whose output is submitted instead.
    """
    if to == "kaggle" and Path(data).resolve() == Path(workspace.demo).resolve():
        raise KitError(f"--to kaggle: {data} holds phantoms: give a competition's folder with --data")
    competition = workspace.open_data(data)
    run = workspace.run(competition, recipe)
    if to == "local" and file is None and not competition.sample_ids:
        return _without_test(competition.folder, run)
    kept = workspace.submissions / competition.name

    def keep(path: Path | str) -> None:
        if file is None and kernel is None:
            copy(path, kept / f"{recipe.name}.csv")
            copy(run.thresholds, kept / f"{recipe.name}.thresholds.json")

    def own_or_given() -> Path:
        if file:
            return Path(file)
        from kit.workflows.predict import predict

        return predict(workspace, data, recipe, skip_bad=skip_bad)[0]

    if to == "local":
        path = own_or_given()
        known = _known(run, file is None)
        return submit_local(path, competition, workspace.ledger, known, again, ask, keep)
    from kit.kaggle import kernel_output
    from kit.kaggle.client import connect
    from kit.kernel.bundle import kernel_of
    from kit.submissions import kaggle

    chosen = chosen or settings.load()
    name = chosen.named_competition()
    client = connect(chosen.timeout)
    account = chosen.owner(client.user)
    if kernel:
        owner, slug, version = kernel_output.split(kernel)
        own = (owner, slug) == (account, kernel_of(run).name)
        path = kernel_output.fetch_submission(client, owner, slug, version, competition)
    else:
        own, path = file is None, own_or_given()
    known = _known(run, own)
    return kaggle.submit_kaggle(path, competition, workspace.ledger, known, client, name, again, yes, ask, kernel, keep)


def _without_test(folder: Path, run: Run) -> str:
    known = _known(run, own=True)
    if not known:
        raise KitError(f"{run.folder}: is not trained to its thresholds: run `make train` first")
    figures = {**known, "dice": known["nested_dice"]}
    told = f"{folder}: has no test images, so nothing is submitted; out of fold: {scoring.format_dice(figures)}"
    return "\n".join(filter(None, (told, scoring.verdict(known))))


def _known(run: Run, own: bool) -> dict[str, Any]:
    """What a run's thresholds promise, if the submission is its own; read once the prediction has put them in use."""
    if not (own and run.thresholds.exists()):
        return {}
    found = thresholds_file.read(run.thresholds)
    return found.measures | ({} if found.recipe is None else {"recipe": found.recipe})
