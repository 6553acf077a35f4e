"""A kernel that trains: what it brings along beside the code, and how much of Kaggle's disk it fills."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kit.competition import levels, pictures
from kit.competition.layout import Competition
from kit.core import files
from kit.core.documents import read_document
from kit.core.parallel import map_in_order
from kit.core.progress import progress
from kit.data.extra import ExtraData
from kit.kernel import bundle, code, kaggle_image, metadata
from kit.kernel.bundle import Kernel
from kit.kernel.session import Image, Plan, hash_pixels
from kit.recipes.schema import Recipe
from kit.run import Run

TIME_LIMIT = 11 * 3600.0
"""Seconds; Kaggle ends a session after twelve hours, and what was trained has to be written before."""
OUTPUT = 20e9
"""Bytes that Kaggle keeps of what a session leaves."""


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
    extra: Mapping[str, ExtraData] = field(default_factory=dict)
    """Extra data, which are trained on as well, by what `extra.data` says."""
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

    @property
    def brought(self) -> dict[str, Path]:
        """All that it needs beside the recipe and the images, by its path in the working folder there."""
        found = {**self.carried, f"folds/{self.fold_file.name}": self.fold_file}
        for data in (self.competition, *(one.competition for one in self.extra.values())):
            sample = data.sample_path if data is self.competition else None
            tables = (data.labels_path, sample, data.folder / "patients.csv", data.folder / "sizes.csv")
            found |= {f"data/{data.name}/{path.name}": path for path in tables if path is not None and path.is_file()}
        return found

    @property
    def images(self) -> dict[str, tuple[str, Path]]:
        """Id and file of each image, by its path in the working folder there: those to train on, and to predict."""
        own = self.competition
        extra = [one.competition for one in self.extra.values()]
        listed = [(own, own.train), (own, own.test), *((data, data.train) for data in extra)]
        return {
            f"data/{data.name}/{path.relative_to(data.folder).as_posix()}": (image_id, path)
            for data, images in listed
            for image_id, path in images.items()
        }


def build(
    work: Work,
    datasets: Sequence[str],
    competitions: Sequence[str] = (),
    user: str = metadata.ACCOUNT,
    time_limit: float = TIME_LIMIT,
    notebook: bool = False,
    session: int = 1,
) -> Kernel:
    """Writes the kernel that trains a recipe, or predicts, and its bundle, replacing older ones.

    Args:
        datasets: Each `OWNER/NAME` on Kaggle that has images.
        competitions: Names of those that do.
        time_limit: Seconds after which a session ends.
        session: Number of the session; a later one gets the output of the one before.

    Raises:
        KitError: pretrained weights cannot be had, or an image cannot be read.
    """
    from kit import networks  # it loads torch, which takes seconds, and what is refused before does without

    kernel, recipe, competition = work.kernel, work.recipe, work.competition

    def fill(folder: Path) -> Plan:
        files.write_text(folder / "recipe.yaml", recipe.dump())
        memo = kernel.bundle.with_name(f"{kernel.slug}.pixels-{levels.READER}.json")
        files.write_json(folder / "images.json", _images(work.images, memo))
        for part in recipe.parts() if work.trains else ():
            target = folder / networks.pretrained_name(part.network)
            if part.network.encoder_weights is not None and not target.exists():
                networks.save_weights(target, networks.build(part.network).net.encoder)
        carried = {f"{recipe.name}.yaml": "recipe.yaml"}
        for number, (place, path) in enumerate(work.brought.items()):
            carried[place] = f"{number}-{path.name}"
            files.copy(path, folder / carried[place])
        return Plan(
            kernel=kernel.slug,
            run=work.name,
            data=competition.name,
            recipe=recipe.name,
            fold_file=work.fold_file.name,
            tests=len(competition.sample_ids),
            carried=carried,
            trains=work.trains,
        )

    bundle.assemble(kernel, fill, kaggle_image.BROUGHT_TO_TRAIN)
    text = code.script("train", kernel.dataset, files.sha256(kernel.manifest), time_limit)
    text = text.replace("SESSION = 1", f"SESSION = {session}")
    bundle.write_code(
        kernel,
        text,
        user=user,
        gpu=True,
        notebook=notebook,
        competitions=competitions,
        datasets=datasets,
        resumes=session > 1,
    )
    return kernel


def files_of(run: Run) -> list[Path]:
    """The files of a finished run that predict, or that another run starts from.

    Raises:
        KitError: it is not trained to its end.
    """
    recipe = run.read_recipe()
    weights = [path for part in recipe.parts() for path in run.part(part).final_weights(part)]
    beside = [run.recipe_path, run.inputs_path, run.thresholds, run.stack(tta=True), run.stack(tta=False)]
    return [*weights, *filter(Path.is_file, beside)]


def _images(named: Mapping[str, tuple[str, Path]], memo: Path) -> dict[str, dict[str, object]]:
    """What each image is, by its name.

    Args:
        named: Id and file of each.
        memo: File that keeps what was found of images, so that each is decoded once.
    """
    digests = list(map_in_order(files.sha256, [path for _, path in named.values()]))
    known: dict[str, Image] = {}
    if files.is_file_or_raise(memo):
        known = read_document(memo, dict[str, Image], "remove it and run the same command again")

    def image(given: tuple[tuple[str, Path], str]) -> Image:
        (image_id, path), digest = given
        if digest in known:
            return known[digest].model_copy(update={"id": image_id})
        found = pictures.read_image(path)
        return Image(id=image_id, sha256=digest, shape=found.shape, pixels=hash_pixels(found.pixels))

    images: Iterable[Image] = progress(
        map_in_order(image, zip(named.values(), digests, strict=True)), "hashing", len(named)
    )
    listed = [one.model_dump(mode="json") for one in images]
    files.write_json(memo, dict(zip(digests, listed, strict=True)))
    return dict(zip(named, listed, strict=True))
