"""The verbs `kernel build`, `kernel check` and `kernel push`."""

import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kit import lineage, recipes
from kit.competition import image_files, pictures, submission
from kit.core.errors import KitError
from kit.core.logs import Say
from kit.kaggle.settings import Settings
from kit.kernel import bundle, environment, metadata, rehearsal
from kit.run import Run
from kit.workflows import thresholds
from kit.workflows.predict import predict_files
from kit.workflows.workspace import Workspace, check_maps, open_run

log = logging.getLogger(__name__)


def find_run(workspace: Workspace, data: Path | str, recipe: str, overrides: str | Sequence[str] = "") -> Run:
    """Returns the recipe's run on the data, after activating the recipe's rule.

    Raises:
        KitError: the run was trained with other settings.
    """
    loaded = recipes.load(recipe, overrides)
    run = workspace.run(workspace.open_data(data), loaded)
    if run.recipe_path.is_file():
        lineage.require_same_recipe(run, loaded)
    if run.thresholds.is_file():
        thresholds.put_recipes_rule_in_use(run, loaded)
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
    """Writes a run's kernel and bundle.

    Args:
        time_limit: Seconds after which the kernel leaves the remaining images empty; default: before Kaggle ends it.

    Raises:
        KitError: the run is not complete or not on this data, or a needed package is missing.
    """
    if run.folder.resolve().parent.name != Path(data).resolve().name:
        raise KitError(f"{run.folder}: is not a run on {data}: give its data with --data")
    opened = open_run(workspace, data, run.read_recipe(), run)
    run.trained(opened.recipe)  # names the weights that are missing
    check_maps(opened)
    for extra in lineage.extra_data(run):
        log.info("trained on %s and on the extra data %s", opened.competition.name, extra)
    name, user = settings.competition or metadata.COMPETITION, settings.user or metadata.ACCOUNT
    limit = bundle.TIME_LIMIT if time_limit is None else time_limit
    return bundle.build(run, name, user, limit, gpu=gpu, notebook=notebook)


def check(workspace: Workspace, run: Run, data: Path | str, images: Path | str | None, say: Say) -> None:
    """Rehearses the run's kernel on test images.

    Args:
        images: Folder of DICOM files to use instead of the test images.

    Raises:
        KitError: the kernel would fail, or its predictions differ from those of `kit predict`.
    """
    kernel = current_kernel(run)
    competition = workspace.open_data(data)
    paths = image_files.find(images, pictures_too=False) if images else competition.test
    order = tuple(paths) if images else competition.sample_ids
    recipe = run.read_recipe()
    batch_size = max(part.stages[-1].batch_size for part in recipe.parts())

    def predict(paths: dict[str, Path], ids: Sequence[str]) -> dict[str, str]:
        with tempfile.TemporaryDirectory(prefix="kit-reference-") as folder:
            target, shapes = Run(Path(folder)), pictures.shapes_of(paths)
            predict_files(run.trained(recipe), paths, ids, target, shapes, skip_bad=True, whole=True)
            return submission.read(target.submission)

    rehearsal.rehearse(kernel, paths, order, predict, batch_size, environment.image(say), say)


def current_kernel(run: Run) -> bundle.Kernel:
    """Returns the run's kernel; refuses one whose metadata, bundle or run has changed since the build."""
    kernel = bundle.kernel_of(run)
    rehearsal.check_metadata(kernel)
    bundle.check_current(run, kernel)
    return kernel


def push(workspace: Workspace, run: Run, data: Path | str, settings: Settings, variables: str, say: Say) -> Path:
    """Pushes the run's kernel to Kaggle and fetches its submission.

    Args:
        variables: The variables of `make` that name the run: DATA, RECIPE, SET.

    Returns:
        The kernel's submission.
    """
    from kit.kaggle.client import connect
    from kit.kernel import push
    from kit.submissions import kaggle

    kernel = current_kernel(run)
    named = metadata.read(kernel.metadata).competition_sources[0]
    if settings.competition not in (None, named):
        raise KitError(
            f"{kernel.metadata}: the kernel was built for {named}, and kaggle.yaml names {settings.competition}: "
            "correct kaggle.yaml, or build the kernel again"
        )
    competition = workspace.open_data(data)
    client = connect(settings.timeout)
    owner = settings.owner(client.user)
    kaggle.require_same_competition(client, named, competition)
    path, version = push.push(client, kernel, owner, competition, say)
    say(f"submit it with: make submit TO=kaggle {variables} ARGS='--kernel {owner}/{kernel.name}/{version}'")
    return path


def push_requests(run: Run, settings: Settings) -> str:
    """Describes the requests that `push` would send, each with its name and content."""
    from kit.kernel import push

    requests = push.requests(current_kernel(run), settings.user or metadata.ACCOUNT)
    return "\n".join(f"{name} {json.dumps(content, indent=2)}" for name, content in requests)
