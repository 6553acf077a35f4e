"""Finding images in the folders and archives that Kaggle has mounted."""

import logging
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path, PurePath
from typing import TypeVar

from kit.competition import image_files, pictures
from kit.competition.image_files import ImageFile

log = logging.getLogger(__name__)

P = TypeVar("P", bound=PurePath)
ENDINGS = (*image_files.DICOM_ENDINGS, *pictures.ENDINGS)
"""File endings of images, in order of preference; files with any other ending may be DICOM."""
FOLDERS = ("stage_2", "test")
"""Words in the names of folders with test images, in order of preference."""


def find_images(folder: Path, ids: Collection[str]) -> dict[str, Path]:
    """Finds the file of each image, sorted by id; of several candidates the likeliest, see `offers`.

    Args:
        folder: The competition's folder.
        ids: Ids of the images to find.
    """
    files: dict[str, Path] = {}
    for candidates in offers(folder, lambda: set(ids) - files.keys(), most=1):
        files.update((image_id, paths[0]) for image_id, paths in candidates.items())
    return dict(sorted(files.items()))


def offers(
    folder: Path, missing: Callable[[], Collection[str]], most: int | None = None
) -> Iterator[dict[str, list[Path]]]:
    """Yields candidate files by image id, the likeliest first: once for the folders, then once for each archive.

    A matching name is no proof: masks may be named like their images, and an image may exist in several sizes. Files of
    test folders come first and files of mask folders last; DICOM comes before pictures. Archives are searched only for
    ids that are still missing, and only the candidates are unpacked, into temporary folders. Broken archives are
    skipped.

    Args:
        folder: Folder to search.
        missing: Returns the ids that have no file yet; called before each step.
        most: Maximum number of candidates per image from an archive; None: all.
    """
    yield _named(folder, image_files.walk(folder), missing())
    for archive in sorted(folder.rglob("*.zip")):
        if ids := missing():
            try:
                unpacked = _unpack(archive, ids, most)
            except Exception as error:  # zipfile raises errors of many types; other archives may be intact
                log.warning("%s: passed over (%s: %s)", archive, type(error).__name__, error)
            else:
                yield unpacked


def _unpack(archive: Path, ids: Collection[str], most: int | None) -> dict[str, list[Path]]:
    unpacked: dict[str, list[Path]] = {}
    with zipfile.ZipFile(archive) as content:
        named = _named(PurePath(), map(PurePath, content.namelist()), ids)
        if not named:
            return {}
        folder = Path(tempfile.mkdtemp(prefix="kit-"))
        members = ((image_id, member) for image_id, members in named.items() for member in members[:most])
        for number, (image_id, member) in enumerate(members):
            path = folder / f"{number}{_ending(member)}"
            try:
                with content.open(str(member)) as source, open(path, "wb") as target:
                    shutil.copyfileobj(source, target)
            except Exception as error:
                log.warning("%s: %s: passed over (%s: %s)", archive, member, type(error).__name__, error)
            else:
                unpacked.setdefault(image_id, []).append(path)
    return unpacked


def _named(folder: PurePath, paths: Iterable[P], ids: Collection[str]) -> dict[str, list[P]]:
    """Groups paths by image id, the preferred first; an id is a file's name, or folders and name joined by hyphens."""

    def rank(path: PurePath) -> tuple[bool, int, int, PurePath]:
        folders = path.parent.relative_to(folder)
        place = folders.as_posix().lower()
        kind = next((number for number, word in enumerate(FOLDERS) if word in place), len(FOLDERS))
        ending = _ending(path)
        preference = ENDINGS.index(ending.lower()) if ending else len(ENDINGS)
        return ImageFile(Path(path), folders.parts).in_masks, kind + ("train" in place), preference, path

    candidates, missing = dict[str, list[P]](), set(ids)
    for path in paths:
        file = ImageFile(Path(path), path.relative_to(folder).parts[:-1])
        folders = file.id_folders
        names = {file.stem, path.name.removesuffix(_ending(path))} & missing
        for image_id in names or {"-".join((*folders[at:], file.stem)) for at in range(len(folders))} & missing:
            candidates.setdefault(image_id, []).append(path)
    return {image_id: sorted(paths, key=rank) for image_id, paths in candidates.items()}


def _ending(path: PurePath) -> str:
    """Returns the ending of an image file, as written; empty if it is none, so that any dots belong to the id."""
    return path.suffix if path.suffix.lower() in ENDINGS else ""
