"""Where images lie: in whatever folders and archives Kaggle has mounted."""

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
"""Of image files, the preferred first; a file without one of them is DICOM, too."""
FOLDERS = ("stage_2", "test")
"""Words in the names of folders with test images, the preferred first."""


def find_images(folder: Path, ids: Collection[str]) -> dict[str, Path]:
    """The file of each image that is there, sorted by id; no other file is looked at.

    Of several files of one id the likeliest is taken, see `offers`.

    Args:
        folder: The competition's.
        ids: Those of the submission.
    """
    found: dict[str, Path] = {}
    for offered in offers(folder, lambda: set(ids) - found.keys(), most=1):
        found.update((image_id, paths[0]) for image_id, paths in offered.items())
    return dict(sorted(found.items()))


def offers(
    folder: Path, missing: Callable[[], Collection[str]], most: int | None = None
) -> Iterator[dict[str, list[Path]]]:
    """The files that are called as images are, by id, the likeliest first: those in folders, then those in archives.

    Masks may be called as their images, and an image may be there in several sizes: a name is no proof. What lies among
    masks comes last, a test folder's files come first, then DICOM before pictures. Archives are opened for images
    without a file alone, and no more than those is unpacked, into temporary folders; a broken one is passed over.

    Args:
        folder: Any folder.
        missing: Ids that have no file yet; asked before each step.
        most: Files of an image that are wanted of an archive; None: all.
    """
    yield _named(folder, image_files.walk(folder), missing())
    for archive in sorted(folder.rglob("*.zip")):
        if ids := missing():
            try:
                unpacked = _unpack(archive, ids, most)
            except Exception as error:  # the zip library's parts raise what they like; other archives may be whole
                log.warning("%s: passed over (%s: %s)", archive, type(error).__name__, error)
            else:
                yield unpacked


def _unpack(archive: Path, ids: Collection[str], most: int | None) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    with zipfile.ZipFile(archive) as content:
        named = _named(PurePath(), map(PurePath, content.namelist()), ids)
        folder = Path(tempfile.mkdtemp(prefix="kit-")) if named else archive
        members = ((image_id, member) for image_id, members in named.items() for member in members[:most])
        for number, (image_id, member) in enumerate(members):
            path = folder / f"{number}{_ending(member)}"
            try:
                with content.open(str(member)) as source, open(path, "wb") as target:
                    shutil.copyfileobj(source, target)
            except Exception as error:
                log.warning("%s: %s: passed over (%s: %s)", archive, member, type(error).__name__, error)
            else:
                found.setdefault(image_id, []).append(path)
    return found


def _named(folder: PurePath, paths: Iterable[P], ids: Collection[str]) -> dict[str, list[P]]:
    """The paths of each id, the preferred first; an id is a file's name, or is made of folders and name."""

    def rank(path: PurePath) -> tuple[bool, int, int, PurePath]:
        folders = path.parent.relative_to(folder)
        place = folders.as_posix().lower()
        kind = next((number for number, word in enumerate(FOLDERS) if word in place), len(FOLDERS))
        ending = _ending(path)
        known = ENDINGS.index(ending.lower()) if ending else len(ENDINGS)
        return ImageFile(Path(path), folders.parts).in_masks, kind + ("train" in place), known, path

    named, wanted = dict[str, list[P]](), set(ids)
    for path in paths:
        file = ImageFile(Path(path), path.relative_to(folder).parts[:-1])
        alone = {file.stem, path.name.removesuffix(_ending(path))} & wanted
        folders = file.id_folders
        for image_id in alone or {"-".join((*folders[at:], file.stem)) for at in range(len(folders))} & wanted:
            named.setdefault(image_id, []).append(path)
    return {image_id: sorted(candidates, key=rank) for image_id, candidates in named.items()}


def _ending(path: PurePath) -> str:
    """A known one, as it is written; empty: the name, dots included, is the id."""
    return path.suffix if path.suffix.lower() in ENDINGS else ""
