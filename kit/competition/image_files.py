"""Finds the image files below a folder and gives each an id.

An image is a file with the ending of a picture or DICOM file, or with DICOM's first bytes, except DICOM classes without
pixels: reports, DICOMDIR, segmentations. Names that begin with "." or "@", and `__MACOSX`, are skipped. The id is the
file name without the ending, in composed Unicode (NFC), since tables use it even where macOS decomposes file names.
"""

import errno
import logging
import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kit.competition import dicom, pictures
from kit.core.errors import KitError, counted, printable, unreadable
from kit.core.files import opened, sha256

log = logging.getLogger(__name__)

DICOM_ENDINGS = (".dcm", ".dicom", ".dic", ".ima")
_UNSUPPORTED = (".webp", ".heic", ".jp2", ".nii", ".nii.gz", ".nrrd", ".mha", ".npy", ".dcm.gz")
"""Endings of images that cannot be read; they are counted, so that none is dropped silently."""
_IMAGES = re.compile("images?|imgs?")
_MASKS = re.compile("masks?|labels?|seg|segmentations?|truth|groundtruth")
_BEGINNING = 4096
"""Number of bytes that include the identifiers of a DICOM file."""
_AFFIX = re.compile(r"(?:mask|seg)[_-](.+)|(.+)[_-](?:masks?|seg|segmentation)(?:[_-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class ImageFile:
    """An image file and its place below the searched folder."""

    path: Path
    folders: tuple[str, ...]
    """Names of the folders between the searched folder and the file, outermost first."""

    @property
    def stem(self) -> str:
        """File name without the ending, and without the channel number in an image folder of nnU-Net."""
        stem = without_ending(self.path.name)
        in_nnunet = self.folders and re.fullmatch("images(Tr|Ts|Val)", self.folders[-1])
        return stem.removesuffix("_0000") if in_nnunet else stem

    @property
    def in_masks(self) -> bool:
        """Whether the folder names mark the file as a mask; the innermost that names exactly one kind decides."""
        return _kind_of(self.folders, _IMAGES, _MASKS) == 1

    @property
    def in_test(self) -> bool:
        """Whether the folder names mark the file as a test image; decided as in `in_masks`."""
        if "stage_2_images" in self.folders or any(folder.endswith("Ts") for folder in self.folders):
            return True
        return _kind_of(self.folders, re.compile("train.*"), re.compile("test.*")) == 1

    @property
    def id_folders(self) -> tuple[str, ...]:
        """Folder names that tell files of one name apart: all but those that mark images or masks."""
        return tuple(_composed(folder) for folder in self.folders if _kind_of((folder,), _IMAGES, _MASKS) is None)


def _kind_of(folders: Sequence[str], *kinds: re.Pattern[str]) -> int | None:
    """Returns the index of the one kind that the innermost unambiguous folder names; None if no folder does."""
    for folder in reversed(folders):
        # Splits "trainMasks", "png_masks" and "masks2" into words.
        words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", folder)]
        matches = [number for number, kind in enumerate(kinds) if any(map(kind.fullmatch, words))]
        if len(matches) == 1:
            return matches[0]
    return None


def search(*folders: Path | str, pictures_too: bool = True) -> tuple[list[ImageFile], Counter[str]]:
    """Finds the image files below folders, and counts by kind the image files that cannot be read."""
    images: list[ImageFile] = []
    left_out: Counter[str] = Counter()
    for folder in map(Path, folders):
        for path in walk(folder):
            name = path.name.lower()
            if pictures.is_picture(path):
                if pictures_too:
                    images.append(ImageFile(path, path.relative_to(folder).parts[:-1]))
                continue
            if ending := next((ending for ending in _UNSUPPORTED if name.endswith(ending)), None):
                left_out[f"{ending} files"] += 1
                continue
            holds_image = dicom.holds_image(path)
            if holds_image is False:
                left_out["DICOM files without an image"] += 1
            elif holds_image or name.endswith(DICOM_ENDINGS):  # a truncated file is reported on decoding
                images.append(ImageFile(path, path.relative_to(folder).parts[:-1]))
    return images, left_out


def find(folder: Path | str, *, pictures_too: bool = True) -> dict[str, Path]:
    """Finds the images below a folder, as `find_with_masks`, without masks; a warning counts the files left out."""
    images, masks, left_out = find_with_masks(folder, pictures_too=pictures_too)
    left_out["masks"] += len(masks)
    warn_left_out(left_out)
    return {image_id: file.path for image_id, file in images.items()}


def find_with_masks(
    folder: Path | str, masks: Path | str | None = None, suffix: str | None = None, *, pictures_too: bool = True
) -> tuple[dict[str, ImageFile], list[ImageFile], Counter[str]]:
    """Finds the images below a folder by id (sorted), the masks (see `split_masks`), and counts of files left out.

    The id of a file whose name occurs in several folders includes the folder names.

    Args:
        masks: Folder that holds only masks, inside `folder` or elsewhere; if None, masks are told by their names.
        suffix: Ending of the masks' names after the image's name; if None, masks are told by their names.

    Raises:
        KitError: there are no images, two have the same id, an id cannot stand in a CSV file, or a folder cannot be
            listed.
    """
    folders = [folder]
    if masks is not None and Path(masks).resolve().is_relative_to(Path(folder).resolve()):
        masks = folder / Path(masks).resolve().relative_to(Path(folder).resolve())
    elif masks is not None:
        folders.append(masks)
    files, left_out = search(*folders, pictures_too=pictures_too)
    in_images, in_masks = split_masks(files, masks, suffix)
    if not in_images:
        warn_left_out(left_out)
        but = f" but {len(in_masks)} that its folders' names call masks (--masks FOLDER says which are)"
        what = f"DICOM file{' or picture' if pictures_too else ''}{but if in_masks else ''}"
        raise KitError(f"{folder}: holds no {what}: give a folder with images")
    return _assign_ids(in_images, left_out), in_masks, left_out


def find_dicoms(*folders: Path | str) -> dict[str, Path]:
    """Finds all DICOM images below the folders of a competition by id, sorted.

    Raises:
        KitError: two have the same id, an id cannot stand in a CSV file, or a folder cannot be listed.
    """
    images = _assign_ids(*search(*folders, pictures_too=False), folders=False)
    return {image_id: file.path for image_id, file in images.items()}


def _assign_ids(files: Iterable[ImageFile], left_out: Counter[str], *, folders: bool = True) -> dict[str, ImageFile]:
    """Returns image files by id, sorted; ids may include folder names. Counts duplicate files in `left_out`."""
    by_stem: dict[str, list[ImageFile]] = {}
    for file in files:
        stem = file.stem  # tables of ids hold no control characters, invalid UTF-8 or surrounding spaces
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in stem) or stem != stem.strip() or not stem:
            raise KitError(f"{printable(file.path)}: the name cannot stand in a table: rename the file")
        by_stem.setdefault(stem, []).append(file)
    images: dict[str, ImageFile] = {}
    for stem, files_of_stem in by_stem.items():
        unique = _without_copies(files_of_stem)
        left_out["copies of other images"] += len(files_of_stem) - len(unique)
        for file in unique:
            image_id = "-".join((*file.id_folders, stem)) if folders and len(unique) > 1 else stem
            if (other := images.setdefault(image_id, file)) is not file:
                raise KitError(
                    f"{printable(file.path)}: has the name of another image, {printable(other.path)}: "
                    "rename one of them"
                )
    return dict(sorted(images.items()))


def _without_copies(files: Sequence[ImageFile]) -> list[ImageFile]:
    """Drops files that equal an earlier file byte for byte.

    A PACS uses one file name for thousands of patients, so whole files are read only if their beginnings are equal.
    """
    if len(files) == 1:
        return list(files)
    beginnings = []
    for file in files:
        with opened(file.path) as handle:
            beginnings.append((os.fstat(handle.fileno()).st_size, handle.read(_BEGINNING)))
    counts = Counter(beginnings)
    kept: dict[tuple[object, str], ImageFile] = {}
    for file, beginning in zip(files, beginnings, strict=True):
        kept.setdefault((beginning, sha256(file.path) if counts[beginning] > 1 else ""), file)
    return list(kept.values())


def warn_left_out(left_out: Mapping[str, int]) -> None:
    """Logs in one warning how many files look like data and are not used."""
    counts = [f"{count} {kind}" for kind, count in sorted(left_out.items()) if count]
    if counts:
        log.warning("left out: %s", ", ".join(counts))


def walk(folder: Path | str) -> Iterator[Path]:
    """Yields all files below a folder, ordered by name; none if the folder does not exist.

    Links to folders are followed, and each folder is visited once, so circular links end; a folder is visited at its
    real place rather than through a link. Names that begin with "." or "@", and `__MACOSX`, are skipped.
    """
    seen: set[tuple[int, int]] = set()
    links: list[str] = []

    def is_folder(entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_dir()
        except OSError as error:
            if error.errno == errno.ELOOP:  # a link to itself is no folder, like a link to a missing file
                return False
            raise unreadable(entry.path, error) from None

    def visit(path: str) -> Iterator[Path]:
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in seen:
                return
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(path) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise unreadable(path, error) from None
        for entry in entries:
            if entry.name.startswith((".", "@")) or entry.name == "__MACOSX":
                continue
            if not is_folder(entry):
                yield Path(entry.path)
            elif entry.is_symlink():
                links.append(entry.path)
            else:
                yield from visit(entry.path)

    yield from visit(str(folder))
    while links:
        yield from visit(links.pop(0))


def without_ending(text: str) -> str:
    """Returns a name without the ending of an image file, in composed Unicode.

    >>> without_ending("case0.PNG"), without_ending("1.2.840.dcm"), without_ending("1.2.840")
    ('case0', '1.2.840', '1.2.840')
    """
    ended = text.lower().endswith((*DICOM_ENDINGS, *pictures.ENDINGS))
    return _composed(text[: text.rindex(".")] if ended else text)


def match(names: Iterable[str], images: Container[str], source: Path | str) -> dict[str, str]:
    """Maps each name in a table to the image that it means; names may have the file's ending, or leading folders.

    Returns:
        Image by name; a name that means no image, or the same image as another name, maps to itself.
    """
    meant, respelled = {}, {}
    for text in dict.fromkeys(names):
        parts = [part for part in re.split(r"[/\\]", without_ending(text)) if part]
        spellings = text, _composed(text), without_ending(text), *("-".join(parts[at:]) for at in range(len(parts)))
        meant[text] = next((spelling for spelling in spellings if spelling in images), text)
        if meant[text] != text:
            respelled[text] = meant[text]
    counts = Counter(meant.values())
    for text, image in [*respelled.items()]:
        if counts[image] > 1:
            meant[text] = text
            del respelled[text]
    if respelled:
        count, (text, image) = counted(len(respelled), "id"), next(iter(respelled.items()))
        log.info("%s: %s spelt unlike the files: %s is taken for %s", source, count, text, image)
    return meant


def split_masks(
    files: Sequence[ImageFile], masks: Path | str | None, suffix: str | None
) -> tuple[list[ImageFile], list[ImageFile]]:
    """Splits image files into images and masks.

    A mask lies in `masks` or in a folder whose name says so, or is named as an image with `_mask`, `_seg` or `mask_`.
    If `masks` is given, the folders of its files begin below it.

    Args:
        masks: Folder that holds only masks, whatever its name.
        suffix: Ending of the masks' names after the image's name.
    """
    stems = {file.stem for file in files}

    def is_mask(file: ImageFile) -> bool:
        if masks is not None:
            return file.path.is_relative_to(masks)
        if suffix:
            return file.stem.endswith(suffix)
        return file.in_masks or without_affix(file.stem) in stems - {file.stem}

    mask_files = [file for file in files if is_mask(file)]
    if masks is not None:
        mask_files = [replace(file, folders=file.path.relative_to(masks).parts[:-1]) for file in mask_files]
    return [file for file in files if not is_mask(file)], mask_files


def pair(
    images: Mapping[str, ImageFile], masks: Iterable[ImageFile], suffix: str | None
) -> tuple[dict[str, Path], list[Path]]:
    """Finds the image of each mask.

    A mask has the name of its image, or the image's id. If several images have that name, the folders decide: the
    mask's folders must end with the image's folders, or the other way round.

    Returns:
        The mask of each image, and the masks without an image.

    Raises:
        KitError: an image has two masks.
    """
    by_stem: dict[str, list[str]] = {}
    for image_id, file in images.items():
        by_stem.setdefault(file.stem, []).append(image_id)
    folders = {image_id: file.id_folders for image_id, file in images.items()}

    def image_of(mask: ImageFile) -> str | None:
        name = mask.stem.removesuffix(suffix or "")
        for stem in dict.fromkeys((name, without_affix(name))):
            candidates = by_stem.get(stem, [stem] if stem in images else [])
            if len(candidates) > 1:
                common = {image: _common_ending(folders[image], mask.id_folders) for image in candidates}
                candidates = [image for image in candidates if common[image] == max(common.values()) > 0]
            if len(candidates) == 1:
                return candidates[0]
        return None

    paired: dict[str, Path] = {}
    unpaired: list[Path] = []
    for mask in masks:
        image = image_of(mask)
        if image is None:
            unpaired.append(mask.path)
        elif paired.setdefault(image, mask.path) != mask.path:
            raise KitError(
                f"{printable(mask.path)}: {printable(paired[image])} is a mask of the same image: "
                "draw both into one file, or rename one of them"
            )
    return paired, unpaired


def _common_ending(first: tuple[str, ...], second: tuple[str, ...]) -> float:
    """Returns the number of folders that two paths share at their ends, 0 unless one path ends with the other.

    >>> [_common_ending(a, b) for a, b in [(("D", "P1", "S1"), ("P1", "S1")), (("P2", "S1"), ("P1", "S1")), ((), ())]]
    [2, 0, inf]
    """
    length = min(len(first), len(second))
    if first == second:
        return math.inf
    return length if length and first[-length:] == second[-length:] else 0


def without_affix(stem: str) -> str:
    """Returns the image's name from that of a mask, which may have a prefix or suffix.

    >>> [without_affix(stem) for stem in ("a_mask", "a-seg", "mask_a", "a")]
    ['a', 'a', 'a', 'a']
    """
    match = _AFFIX.fullmatch(stem)
    return (match[1] or match[2]) if match else stem


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)
