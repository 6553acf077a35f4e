"""Training from a notebook: folds, training and the loaded model in one call, with log lines and progress bars."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kit import recipes
from kit.core.progress import Console
from kit.inference.model import Model, load
from kit.workflows.folds import make_folds
from kit.workflows.train import Job
from kit.workflows.train import train as train_run
from kit.workflows.workspace import Workspace


def train(
    data: Path | str, recipe: Path | str, overrides: str | Sequence[str] = "", workspace: Path | str = "."
) -> Model:
    """Trains a recipe on a data set and loads the run: `kit folds train` for a notebook.

    Existing results are kept, and an interrupted training is resumed.

    Args:
        data: The competition's folder; if `data/demo` of the workspace is missing, the demo is drawn.
        recipe: Name of a recipe, such as `demo`, or path to a .yaml file.
        overrides: `KEY=VALUE` pairs that override keys of the recipe: `"stages.0.epochs=2 seed=1"`.
        workspace: Folder of `runs/`, `folds/` and the cache.

    Returns:
        The trained model, as from `kit.load`.

    Raises:
        KitError: for the same reasons as the verbs `folds` and `train`.
    """
    folder, loaded = Workspace(Path(workspace)), recipes.load(recipe, overrides)
    with _printed_log():
        make_folds(folder, data, loaded)
        run, _ = train_run(folder, Job(data, loaded))
    return load(run)


@contextmanager
def _printed_log() -> Iterator[None]:
    """Prints the kit's log during the block, unless the notebook has configured logging."""
    logger, console = logging.getLogger("kit"), Console()
    before = logger.level
    if not logging.getLogger().handlers and not logger.handlers:
        logger.addHandler(console)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(console)
        logger.setLevel(before)
