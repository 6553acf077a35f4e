"""Training from a notebook: folds, training and the opened model in one call, with lines and bars as on a terminal."""

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
    """Trains a recipe on a data set and opens the run: `kit folds train` from a notebook.

    What is there already is kept, and a training that was interrupted goes on.

    Args:
        data: The competition's folder; `data/demo` of the workspace is drawn where it is missing.
        recipe: Name of a recipe, such as `demo`, or path of a .yaml file.
        overrides: `KEY=VALUE` pairs over the recipe: `"stages.0.epochs=2 seed=1"`.
        workspace: Folder of `runs/`, `folds/` and the cache.

    Returns:
        The trained model, as of `kit.load`.

    Raises:
        KitError: as the verbs `folds` and `train`.
    """
    place, wanted = Workspace(Path(workspace)), recipes.load(recipe, overrides)
    with _heard():
        make_folds(place, data, wanted)
        run, _ = train_run(place, Job(data, wanted))
    return load(run)


@contextmanager
def _heard() -> Iterator[None]:
    """Lines of the kit's log are printed in the block, unless the notebook has a logger of its own."""
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
