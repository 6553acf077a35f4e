"""A kernel that trains: what it brings along beside the code, and how much of Kaggle's disk it fills."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from kit.competition import levels, pictures
from kit.competition.layout import Competition
from kit.core import files
from kit.core.documents import read_document
from kit.core.errors import KitError
from kit.core.parallel import map_in_order
from kit.core.progress import progress
from kit.kernel import bundle, code, kaggle_image, metadata
from kit.kernel.bundle import Kernel
from kit.kernel.session import Image, Plan, hash_pixels
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


@dataclass(frozen=True)
class Work:
    """What is done on Kaggle's GPUs."""

    run: Run
    recipe: Recipe
    competition: Competition
    """The data, which Kaggle must have the very same images of."""
    fold_file: Path
    carried: Mapping[str, Path] = field(default_factory=dict)
    """Files of finished runs, by their path in the working folder there."""
    trains: bool = True
    """Else the finished run, which is carried, predicts the test images."""

    @property
    def kernel(self) -> Kernel:
        """The kernel that does it; one that predicts is named by the files that it predicts with.

        >>> Work(Run(Path("runs/siim/exp5")), ..., ..., ...).kernel.slug
        'kit-siim-exp5-train'
        """
        if self.trains:
            return bundle.kernel_of(self.run, "train")
        content = "".join(map(files.sha256, self.carried.values()))
        return bundle.kernel_of(self.run, f"test-{hashlib.sha256(content.encode()).hexdigest()[:6]}")

    @property
    def name(self) -> str:
        """`NAME/RECIPE` of the run that it leaves: where it predicts, as `kit predict --trained-on NAME` calls it."""
        name = f"{self.competition.name}/{self.recipe.name}"
        return name if self.trains else f"{name}@{self.competition.name}"


def check(recipe: Recipe) -> None:
    """Refuses what cannot be trained on Kaggle.

    Raises:
        KitError: the recipe has extra data.
    """
    for part in recipe.parts():
        if part.extra is not None:
            raise KitError(
                f"{recipe.name}: extra data ({part.extra.data}) are not brought to Kaggle: train it on a machine of "
                "your own (docs/how-to/no-gpu.md), or without them, as another run: SET='extra=null name=…'"
            )


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
    work: Work,
    sources: Sources,
    user: str = metadata.ACCOUNT,
    time_limit: float = TIME_LIMIT,
    notebook: bool = False,
    session: int = 1,
) -> Kernel:
    """Writes the kernel that trains a recipe, or predicts, and its bundle, replacing older ones.

    Args:
        sources: Where Kaggle has the images.
        time_limit: Seconds after which a session ends.
        session: Number of the session; a later one gets the output of the one before.

    Raises:
        KitError: pretrained weights cannot be had, or an image cannot be read.
    """
    from kit import networks  # it loads torch, which takes seconds, and what is refused before does without

    kernel, recipe, competition = work.kernel, work.recipe, work.competition

    def fill(folder: Path) -> Plan:
        files.write_text(folder / "recipe.yaml", recipe.dump())
        files.copy(work.fold_file, folder / f"folds.{work.fold_file.name}")
        for path in _tables(competition):
            files.copy(path, folder / f"data.{path.name}")
        memo = kernel.bundle.with_name(f"{kernel.slug}.pixels-{levels.READER}.json")
        files.write_json(folder / "images.json", _images(competition, memo))
        for part in recipe.parts() if work.trains else ():
            target = folder / networks.pretrained_name(part.network)
            if part.network.encoder_weights is not None and not target.exists():
                networks.save_weights(target, networks.build(part.network).net.encoder)
        carried = {}
        for number, (name, path) in enumerate(work.carried.items()):
            carried[name] = f"carried-{number}{path.suffix}"
            files.copy(path, folder / carried[name])
        return Plan(
            kernel=kernel.slug,
            run=work.name,
            data=competition.name,
            recipe=recipe.name,
            tests=len(competition.sample_ids),
            carried=carried,
            trains=work.trains,
        )

    bundle.assemble(kernel, fill, kaggle_image.BROUGHT_TO_TRAIN)
    text = code.script("train", kernel.dataset, files.sha256(kernel.manifest), time_limit)
    text = text.replace("SESSION = 1", f"SESSION = {session}")
    before = [f"{user}/{kernel.slug}{'-nb' if notebook else ''}"] if session > 1 else []
    bundle.write_code(kernel, text, user, True, notebook, sources.competitions, sources.datasets, before)
    return kernel


def files_of(run: Run) -> list[Path]:
    """The files of a finished run that predict, or that another run starts from.

    Raises:
        KitError: it is not trained to its end.
    """
    recipe = run.read_recipe()
    weights = [path for part in recipe.parts() for path in run.part(part).final_weights(part)]
    beside = [run.recipe_path, run.inputs_path, run.thresholds, run.stack(True), run.stack(False)]
    return [*weights, *filter(Path.is_file, beside)]


def _tables(competition: Competition) -> list[Path]:
    """The files of a competition's folder beside its images that a training reads."""
    beside = [competition.folder / name for name in ("patients.csv", "sizes.csv")]
    known = [competition.labels_path, competition.sample_path, *beside]
    return [path for path in known if path is not None and path.is_file()]


def _images(competition: Competition, memo: Path) -> Mapping[str, dict[str, object]]:
    """What each image is, by its path in the competition's folder.

    Args:
        competition: Whose images.
        memo: File that keeps what was found of images, so that each is decoded once.
    """
    paths = [*competition.train.items(), *competition.test.items()]
    digests = list(map_in_order(files.sha256, [path for _, path in paths]))
    known: dict[str, Image] = {}
    if files.is_file_or_raise(memo):
        known = read_document(memo, dict[str, Image], "remove it and run the same command again")

    def image(given: tuple[tuple[str, Path], str]) -> Image:
        (image_id, path), digest = given
        if digest in known:
            return known[digest].model_copy(update={"id": image_id})
        found = pictures.read_image(path)
        return Image(id=image_id, sha256=digest, shape=found.shape, pixels=hash_pixels(found.pixels))

    images: Iterable[Image] = progress(map_in_order(image, zip(paths, digests, strict=True)), "hashing", len(paths))
    listed = [one.model_dump(mode="json") for one in images]
    files.write_json(memo, dict(zip(digests, listed, strict=True)))
    names = [path.relative_to(competition.folder).as_posix() for _, path in paths]
    return dict(zip(names, listed, strict=True))
