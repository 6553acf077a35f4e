"""The flow of the verbs that make, rehearse and push an offline kernel."""

import json
import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from kit import lineage, recipes
from kit.competition import image_files, pictures, submission
from kit.core.errors import KitError
from kit.kaggle.settings import Settings
from kit.kernel import bundle, environment, metadata, rehearsal
from kit.run import Run
from kit.workflows import thresholds
from kit.workflows.predict import predict_files
from kit.workflows.workspace import Workspace, check_maps, open_run

log = logging.getLogger(__name__)

Say = Callable[[str], None]


def find_run(workspace: Workspace, data: Path | str, recipe: str, overrides: str | Sequence[str] = "") -> Run:
    """The recipe's run on the data, with the recipe's rule in use.

    Raises:
        KitError: it was trained with other settings.
    """
    wanted = recipes.load(recipe, overrides)
    run = workspace.run(workspace.open_data(data), wanted)
    if run.recipe_path.is_file():
        lineage.require_same_recipe(run, wanted)
    if run.thresholds.is_file():
        thresholds.put_recipes_rule_in_use(run, wanted)
    return run


def build(
    workspace: Workspace,
    run: Run,
    data: Path | str,
    settings: Settings,
    *,
    gpu: bool,
    time_limit: float | None,
    notebook: bool,
) -> bundle.Kernel:
    """Writes a run's kernel and the files that it needs.

    Args:
        time_limit: Seconds after which the kernel leaves the remaining images empty; None: before Kaggle ends it.

    Raises:
        KitError: the run is not complete or not of these data, or a needed package is missing.
    """
    if run.folder.resolve().parent.name != Path(data).resolve().name:
        raise KitError(f"{run.folder}: is not a run on {data}: give its data with --data")
    recipe = run.read_recipe()
    run.trained(recipe)
    opened = open_run(workspace, data, recipe, run)
    check_maps(opened)
    competition = opened.competition
    for extra in lineage.extra_data(run):
        log.info("trained on %s and on the extra data %s", competition.name, extra)
    return bundle.build(
        run,
        competition=settings.competition or metadata.COMPETITION,
        user=settings.user or metadata.ACCOUNT,
        gpu=gpu,
        time_limit=bundle.TIME_LIMIT if time_limit is None else time_limit,
        notebook=notebook,
    )


def check(workspace: Workspace, run: Run, data: Path | str, images: Path | str | None, say: Say) -> None:
    """Rehearses the run's kernel on test images.

    Args:
        images: Any folder of DICOM files instead of its test images.

    Raises:
        KitError: the kernel would fail, or predicts something else than `kit predict`.
    """
    kernel = checked(run)
    competition = workspace.open_data(data)
    paths = image_files.find(images, pictures_too=False) if images else competition.test
    order = tuple(paths) if images else competition.sample_ids
    recipe = run.read_recipe()
    some = max(part.stages[-1].batch_size for part in recipe.parts())

    def predict(paths: dict[str, Path], ids: Sequence[str]) -> dict[str, str]:
        with tempfile.TemporaryDirectory(prefix="kit-reference-") as folder:
            target, shapes = Run(Path(folder)), pictures.shapes_of(paths)
            predict_files(run.trained(recipe), paths, ids, target, shapes, skip_bad=True, whole=True)
            return submission.read(target.submission)

    rehearsal.rehearse(kernel, paths, order, predict, some, environment.image(say), say)


def checked(run: Run) -> bundle.Kernel:
    """The run's kernel, if its metadata, its bundle and its run are as they were built."""
    kernel = bundle.kernel_of(run)
    rehearsal.check_metadata(kernel)
    bundle.check_current(run, kernel)
    return kernel


def push(workspace: Workspace, run: Run, data: Path | str, chosen: Settings, variables: str, say: Say) -> Path:
    """Brings the run's kernel to Kaggle and fetches what it writes there.

    Args:
        variables: Of `make`, that name the run: DATA, RECIPE, SET.

    Returns:
        The submission that the kernel has written.
    """
    from kit.kaggle.client import connect
    from kit.kernel import push
    from kit.submissions import kaggle

    kernel = checked(run)
    named = metadata.read(kernel.metadata).competition_sources[0]
    if chosen.competition not in (None, named):
        raise KitError(
            f"{kernel.metadata}: the kernel was built for {named}, and kaggle.yaml names {chosen.competition}: "
            "correct kaggle.yaml, or build the kernel again"
        )
    competition = workspace.open_data(data)
    client = connect(chosen.timeout)
    owner = chosen.owner(client.user)
    kaggle.require_same_competition(client, named, competition)
    path, version = push.push(client, kernel, owner, competition, say)
    say(f"submit it with: make submit TO=kaggle {variables} ARGS='--kernel {owner}/{kernel.name}/{version}'")
    return path


def push_requests(run: Run, chosen: Settings) -> str:
    """What `push` would send: the name and the content of each request."""
    from kit.kernel import push

    sent = push.requests(checked(run), chosen.user or metadata.ACCOUNT)
    return "\n".join(f"{name} {json.dumps(content, indent=2)}" for name, content in sent)
