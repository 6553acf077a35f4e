"""Where the images of a submission lie: in whatever folders and archives Kaggle has mounted."""

import logging
import shutil
import tempfile
import zipfile
from collections.abc import Collection, Iterable
from pathlib import Path, PurePath
from typing import TypeVar

from kit.competition import image_files, pictures

log = logging.getLogger(__name__)

P = TypeVar("P", bound=PurePath)
ENDINGS = (".dcm", ".dicom", *pictures.ENDINGS)
"""Of image files, the preferred first; a file without one of them is DICOM, too."""
FOLDERS = ("stage_2", "test")
"""Words in the names of folders with test images, the preferred first."""


def find_images(folder: Path, ids: Collection[str]) -> dict[str, Path]:
    """The file of each image that is there, sorted by id; no other file is looked at.

    Of several files of one id a test folder's comes first, then DICOM before pictures. Archives are opened for ids
    without a file alone, and no more than those is unpacked, into temporary folders; a broken archive is passed over.

    Args:
        folder: The competition's.
        ids: Those of the submission.
    """
    found = _choose(folder, image_files.walk(folder), ids)
    for archive in sorted(folder.rglob("*.zip")):
        if missing := set(ids) - found.keys():
            try:
                found |= _unpack(archive, missing)
            except Exception as error:  # the zip library's parts raise what they like; other archives may be whole
                log.warning("%s: passed over (%s: %s)", archive, type(error).__name__, error)
    return dict(sorted(found.items()))


def _unpack(archive: Path, ids: Collection[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    with zipfile.ZipFile(archive) as content:
        members = _choose(PurePath(), map(PurePath, content.namelist()), ids)
        folder = Path(tempfile.mkdtemp(prefix="kit-")) if members else archive
        for number, (image_id, member) in enumerate(members.items()):
            path = folder / f"{number}{_ending(member)}"
            try:
                with content.open(str(member)) as source, open(path, "wb") as target:
                    shutil.copyfileobj(source, target)
            except Exception as error:
                log.warning("%s: %s: passed over (%s: %s)", archive, member, type(error).__name__, error)
            else:
                found[image_id] = path
    return found


def _choose(folder: PurePath, paths: Iterable[P], ids: Collection[str]) -> dict[str, P]:
    """The best path of each id."""

    def rank(path: PurePath) -> tuple[int, int, PurePath]:
        place = path.parent.relative_to(folder).as_posix().lower()
        kind = next((number for number, word in enumerate(FOLDERS) if word in place), len(FOLDERS))
        ending = _ending(path)
        return kind + ("train" in place), ENDINGS.index(ending.lower()) if ending else len(ENDINGS), path

    named: dict[str, list[P]] = {}
    for path in paths:
        image_id = path.name[: -len(ending)] if (ending := _ending(path)) else path.name
        if image_id in ids:
            named.setdefault(image_id, []).append(path)
    return {image_id: min(candidates, key=rank) for image_id, candidates in named.items()}


def _ending(path: PurePath) -> str:
    """A known one, as it is written; empty: the name, dots included, is the id."""
    return path.suffix if path.suffix.lower() in ENDINGS else ""
