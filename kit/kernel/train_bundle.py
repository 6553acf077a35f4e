"""The bundle of a kernel that trains on Kaggle: everything that the training needs except the images."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kit.competition import levels, pictures, shapes
from kit.competition.layout import PATIENTS, Competition
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
"""Seconds; Kaggle ends a session after twelve hours, and the checkpoint must be written before that."""
OUTPUT = 20e9
"""Kaggle's limit on a session's output, in bytes."""


@dataclass(frozen=True)
class Work:
    """A training, or a prediction of test images, to run on Kaggle's GPUs."""

    run: Run
    recipe: Recipe
    competition: Competition
    """The data; Kaggle must have identical images."""
    fold_file: Path
    carried: Mapping[str, Path] = field(default_factory=dict)
    """Files of finished runs, by their path in Kaggle's working folder."""
    extra: Mapping[str, ExtraData] = field(default_factory=dict)
    """Extra training data, by their name in the recipe's `extra.data`."""
    trains: bool = True
    """If false, the kernel only predicts the test images, with the finished run in `carried`."""

    @property
    def kernel(self) -> Kernel:
        """The kernel for this work; the name of one that predicts has a hash of the run's files.

        >>> Work(Run(Path("runs/siim/exp5")), ..., ..., ...).kernel.slug
        'kit-siim-exp5-train'
        """
        if self.trains:
            return bundle.kernel_of(self.run, "train")
        content = "".join(map(files.sha256, self.carried.values()))
        return bundle.kernel_of(self.run, f"test-{hashlib.sha256(content.encode()).hexdigest()[:6]}")

    @property
    def name(self) -> str:
        """`NAME/RECIPE` of the resulting run; for a prediction, as `kit predict --trained-on NAME` names it."""
        name = f"{self.competition.name}/{self.recipe.name}"
        return name if self.trains else f"{name}@{self.competition.name}"

    @property
    def brought(self) -> dict[str, Path]:
        """Every file that is needed except recipe and images, by its path in Kaggle's working folder."""
        paths = {**self.carried, f"folds/{self.fold_file.name}": self.fold_file}
        for data in (self.competition, *(extra.competition for extra in self.extra.values())):
            sample = data.sample_path if data is self.competition else None
            tables = (data.labels_path, sample, data.folder / PATIENTS, data.folder / shapes.NAME)
            paths |= {f"data/{data.name}/{path.name}": path for path in tables if path is not None and path.is_file()}
        return paths

    @property
    def images(self) -> dict[str, tuple[str, Path]]:
        """Id and file of each training and test image, by its path in Kaggle's working folder."""
        main, extra = self.competition, [extra.competition for extra in self.extra.values()]
        sets = [(main, main.train), (main, main.test), *((data, data.train) for data in extra)]
        return {
            f"data/{data.name}/{path.relative_to(data.folder).as_posix()}": (image_id, path)
            for data, images in sets
            for image_id, path in images.items()
        }


def build(
    work: Work,
    datasets: Sequence[str],
    competitions: Sequence[str] = (),
    user: str = metadata.ACCOUNT,
    time_limit: float = TIME_LIMIT,
    session: int = 1,
    *,
    notebook: bool = False,
) -> Kernel:
    """Writes the kernel for some work and its bundle, replacing older ones.

    Args:
        work: The training or prediction.
        datasets: Data sets on Kaggle with images, each as `OWNER/NAME`.
        competitions: Names of competitions with images.
        time_limit: Seconds after which a session ends.
        session: Number of the session; from 2 on, the output of the previous version is attached.

    Raises:
        KitError: pretrained weights are not available, or an image cannot be read.
    """
    from kit import networks  # it loads torch, which takes seconds, and errors before this point need not wait

    kernel, recipe, competition = work.kernel, work.recipe, work.competition

    def fill(folder: Path) -> Plan:
        files.write_text(folder / "recipe.yaml", recipe.dump())
        cache = kernel.bundle.with_name(f"{kernel.slug}.pixels-{levels.READER}.json")
        files.write_json(folder / "images.json", _describe_images(work.images, cache))
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
    blanks = {"SESSION = 1": f"SESSION = {session}"}
    text = code.script("train", kernel.dataset, files.sha256(kernel.manifest), time_limit, **blanks)
    bundle.write_code(kernel, text, user, competitions, datasets, gpu=True, notebook=notebook, resumes=session > 1)
    return kernel


def _describe_images(images: Mapping[str, tuple[str, Path]], cache: Path) -> dict[str, dict[str, object]]:
    """Returns what images.json says of each image, by its path in the working folder.

    Args:
        images: Id and file of each image.
        cache: File of earlier results, so that each image is decoded only once.
    """
    digests = list(map_in_order(files.sha256, [path for _, path in images.values()]))
    cached: dict[str, Image] = {}
    if files.is_file_or_raise(cache):
        cached = read_document(cache, dict[str, Image], "remove it and run the same command again")

    def describe(item: tuple[tuple[str, Path], str]) -> dict[str, object]:
        (image_id, path), digest = item
        if digest in cached:
            return cached[digest].model_copy(update={"id": image_id}).model_dump(mode="json")
        picture = pictures.read_image(path)
        image = Image(id=image_id, sha256=digest, shape=picture.shape, pixels=hash_pixels(picture.pixels))
        return image.model_dump(mode="json")

    items = zip(images.values(), digests, strict=True)
    described = list(progress(map_in_order(describe, items), "hashing", len(images)))
    files.write_json(cache, dict(zip(digests, described, strict=True)))
    return dict(zip(images, described, strict=True))
