"""A kernel that trains: what it brings along beside the code, and how much of Kaggle's disk it fills."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kit import networks
from kit.competition.layout import Competition
from kit.core import files
from kit.core.errors import KitError
from kit.core.parallel import map_in_order
from kit.kernel import bundle, code, kaggle_image, metadata
from kit.kernel.bundle import Kernel
from kit.kernel.session import Image, Plan
from kit.recipes.schema import Recipe
from kit.run import Run

TIME_LIMIT = 11 * 3600.0
"""Seconds; Kaggle ends a session after twelve hours, and what was trained has to be written before."""
OUTPUT = 20e9
"""Bytes that Kaggle keeps of what a session leaves."""


class Sources(NamedTuple):
    """Where Kaggle gives a kernel its images from."""

    competitions: Sequence[str]
    """Names of competitions."""
    datasets: Sequence[str]
    """Each `OWNER/NAME`."""


def kernel_of(run: Run) -> Kernel:
    """The kernel that trains a run.

    >>> kernel_of(Run(Path("runs/siim/exp5"))).slug
    'kit-siim-exp5-train'
    """
    return bundle.kernel_of(run, "train")


def check(recipe: Recipe) -> None:
    """Refuses what cannot be trained on Kaggle.

    Raises:
        KitError: the recipe starts from another run, or has extra data.
    """
    for part in recipe.parts():
        if part.start is not None:
            raise KitError(f"{recipe.name}: starts from the run {part.start}, which is not on Kaggle: train it here")
        if part.extra is not None:
            raise KitError(f"{recipe.name}: extra data are not brought to Kaggle ({part.extra.data}): train it here")


def check_output(recipe: Recipe, output: float) -> None:
    """Refuses a run that is too large for Kaggle.

    Args:
        recipe: What is to be trained.
        output: Bytes that the run takes in the end.

    Raises:
        KitError: Kaggle keeps less.
    """
    if output > OUTPUT:
        raise KitError(
            f"{recipe.name}: the run takes up to {output / 1e9:.1f} GB, and Kaggle keeps {OUTPUT / 1e9:.0f} GB: ask "
            "for fewer folds or a smaller size"
        )


def build(
    run: Run,
    recipe: Recipe,
    competition: Competition,
    fold_file: Path,
    sources: Sources,
    user: str = metadata.ACCOUNT,
    time_limit: float = TIME_LIMIT,
    notebook: bool = False,
    session: int = 1,
) -> Kernel:
    """Writes the kernel that trains a recipe, and its bundle, replacing older ones.

    Args:
        competition: The data, which Kaggle must have the very same images of.
        time_limit: Seconds after which a session ends.
        session: Number of the session; a later one gets the output of the one before.

    Raises:
        KitError: pretrained weights cannot be had, or an image cannot be read.
    """
    kernel = kernel_of(run)

    def fill(folder: Path) -> Plan:
        files.write_text(folder / "recipe.yaml", recipe.dump())
        files.copy(fold_file, folder / f"folds.{fold_file.name}")
        for path in _tables(competition):
            files.copy(path, folder / f"data.{path.name}")
        files.write_json(folder / "images.json", _images(competition))
        for part in recipe.parts():
            target = folder / networks.pretrained_name(part.network)
            if part.network.encoder_weights is not None and not target.exists():
                networks.save_weights(target, networks.build(part.network).net.encoder)
        name = f"{competition.name}/{recipe.name}"
        return Plan(kernel=kernel.slug, run=name, data=competition.name, tests=len(competition.sample_ids))

    bundle.assemble(kernel, fill, kaggle_image.BROUGHT_TO_TRAIN)
    text = code.script("train", kernel.dataset, files.sha256(kernel.manifest), time_limit)
    text = text.replace("SESSION = 1", f"SESSION = {session}")
    before = [f"{user}/{kernel.slug}{'-nb' if notebook else ''}"] if session > 1 else []
    bundle.write_code(kernel, text, user, True, notebook, sources.competitions, sources.datasets, before)
    return kernel


def _tables(competition: Competition) -> list[Path]:
    """The files of a competition's folder beside its images that a training reads."""
    beside = [competition.folder / name for name in ("patients.csv", "sizes.csv")]
    known = [competition.labels_path, competition.sample_path, *beside]
    return [path for path in known if path is not None and path.is_file()]


def _images(competition: Competition) -> Mapping[str, dict[str, str]]:
    """Id and hash of each image by its path in the competition's folder."""
    paths = [*competition.train.items(), *competition.test.items()]
    hashes = map_in_order(files.sha256, [path for _, path in paths])
    return {
        path.relative_to(competition.folder).as_posix(): Image(id=image_id, sha256=digest).model_dump()
        for (image_id, path), digest in zip(paths, hashes, strict=True)
    }
