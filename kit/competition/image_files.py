"""Which files below a folder are images, and what each is called.

An image is a file that ends as a picture or DICOM file, or begins as a DICOM file, but for DICOM's classes without
pixels: reports, DICOMDIR, segmentations. What begins with "." or "@", and `__MACOSX`, is passed over. Its id is the
file's name without such an ending, in Unicode's composed form (NFC), in which tables write names that macOS decomposes.
"""

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
from kit.core.errors import KitError, printable, unreadable
from kit.core.files import opened, sha256

log = logging.getLogger(__name__)

DICOM_ENDINGS = (".dcm", ".dicom", ".dic", ".ima")
_UNREAD = (".webp", ".heic", ".jp2", ".nii", ".nii.gz", ".nrrd", ".mha", ".npy", ".dcm.gz")
"""Images of kinds that are not read: counted, so that none vanishes without a word."""
_IMAGES = re.compile("images?|imgs?")
_MASKS = re.compile("masks?|labels?|seg|segmentations?|truth|groundtruth")
_BEGINNING = 4096
"""Bytes that hold the identifiers of a DICOM file."""
_AFFIX = re.compile(r"(?:mask|seg)[_-](.+)|(.+)[_-](?:masks?|seg|segmentation)(?:[_-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class ImageFile:
    """An image file and where it lies."""

    path: Path
    folders: tuple[str, ...]
    """Names of the folders on the way to it, from the one that was searched on."""

    @property
    def stem(self) -> str:
        """Its name without the ending; without nnU-Net's number of the channel in a folder of nnU-Net's."""
        stem = without_ending(self.path.name)
        in_nnunet = self.folders and re.fullmatch("images(Tr|Ts|Val)", self.folders[-1])
        return stem.removesuffix("_0000") if in_nnunet else stem

    @property
    def in_masks(self) -> bool:
        """Whether it lies among masks by the names of its folders: the nearest that speaks of one kind alone counts."""
        return _kind_of(self.folders, _IMAGES, _MASKS) == 1

    @property
    def in_test(self) -> bool:
        """Whether it lies among test images by the names of its folders, as `in_masks`."""
        if "stage_2_images" in self.folders or any(folder.endswith("Ts") for folder in self.folders):
            return True
        return _kind_of(self.folders, re.compile("train.*"), re.compile("test.*")) == 1

    @property
    def place(self) -> tuple[str, ...]:
        """What tells it from files of its name in other folders: folders that speak of images or masks do not."""
        return tuple(_composed(folder) for folder in self.folders if _kind_of((folder,), _IMAGES, _MASKS) is None)


def _kind_of(folders: Sequence[str], *kinds: re.Pattern[str]) -> int | None:
    """Which of several kinds of word stands in the last folder that has words of just one kind; None: in none."""
    for folder in reversed(folders):
        # "trainMasks", "png_masks", "masks2": words of any writing.
        words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", folder)]
        said = [number for number, kind in enumerate(kinds) if any(map(kind.fullmatch, words))]
        if len(said) == 1:
            return said[0]
    return None


def search(*folders: Path | str, pictures_too: bool = True) -> tuple[list[ImageFile], Counter[str]]:
    """The image files below folders, and how many files of which kinds are images that nothing reads."""
    found: list[ImageFile] = []
    left_out: Counter[str] = Counter()
    for folder in map(Path, folders):
        for path in walk(folder):
            name = path.name.lower()
            if pictures.is_picture(path):
                if pictures_too:
                    found.append(ImageFile(path, path.relative_to(folder).parts[:-1]))
                continue
            if ending := next((ending for ending in _UNREAD if name.endswith(ending)), None):
                left_out[f"{ending} files"] += 1
                continue
            holds_image = dicom.holds_image(path)
            if holds_image is False:
                left_out["DICOM files without an image"] += 1
            elif holds_image or name.endswith(DICOM_ENDINGS):  # a torn one is reported when it is decoded
                found.append(ImageFile(path, path.relative_to(folder).parts[:-1]))
    return found, left_out


def find(folder: Path | str, pictures_too: bool = True) -> dict[str, Path]:
    """The images below a folder by id, sorted; masks beside them do not count, and a warning tells what is left out.

    Raises:
        KitError: as `find_with_masks`.
    """
    images, masks, left_out = find_with_masks(folder, pictures_too=pictures_too)
    left_out["masks"] += len(masks)
    warn_left_out(left_out)
    return {image_id: file.path for image_id, file in images.items()}


def find_with_masks(
    folder: Path | str, masks: Path | str | None = None, suffix: str | None = None, pictures_too: bool = True
) -> tuple[dict[str, ImageFile], list[ImageFile], Counter[str]]:
    """The images below a folder by id, sorted; the masks, see `split_masks`; and how much of what is left out.

    Ids of files of one name in several folders are made of folder and name.

    Args:
        masks: A folder in which all are masks, in it or elsewhere; None: names tell masks.
        suffix: What the names of masks end with, beside the image's; None: names tell masks.

    Raises:
        KitError: there are no images, two have one id, or a name that no CSV file of ids can hold; or a folder cannot
            be listed.
    """
    files, left_out = search(folder, pictures_too=pictures_too)
    if masks is not None and not Path(masks).resolve().is_relative_to(Path(folder).resolve()):
        inside, more = search(masks, pictures_too=pictures_too)
        files, left_out = files + inside, left_out + more
    elif masks is not None:
        masks = folder / Path(masks).resolve().relative_to(Path(folder).resolve())
    in_images, in_masks = split_masks(files, masks, suffix)
    if not in_images:
        warn_left_out(left_out)
        but = f" but {len(in_masks)} that its folders' names call masks (--masks FOLDER says which are)"
        what = f"DICOM file{' or picture' if pictures_too else ''}{but if in_masks else ''}"
        raise KitError(f"{folder}: holds no {what}: give a folder with images")
    return name(in_images, left_out), in_masks, left_out


def find_dicoms(*folders: Path | str) -> dict[str, Path]:
    """All DICOM images below the folders of a competition by id, sorted.

    Raises:
        KitError: two files have one name, or one that no CSV file of ids can hold; a folder cannot be listed.
    """
    named = name(*search(*folders, pictures_too=False), by_place=False)
    return {image_id: file.path for image_id, file in named.items()}


def name(files: Iterable[ImageFile], left_out: Counter[str], by_place: bool = True) -> dict[str, ImageFile]:
    """Image files by id, sorted by it; copies of one file are counted in `left_out`."""
    by_stem: dict[str, list[ImageFile]] = {}
    for file in files:
        stem = file.stem  # no table of ids holds control characters and what is not UTF-8, or spaces around
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in stem) or stem != stem.strip() or not stem:
            raise KitError(f"{printable(file.path)}: the name cannot stand in a table: rename the file")
        by_stem.setdefault(stem, []).append(file)
    named: dict[str, ImageFile] = {}
    for stem, files_of_stem in by_stem.items():
        alike = _without_copies(files_of_stem)
        left_out["copies of other images"] += len(files_of_stem) - len(alike)
        for file in alike:
            image_id = "-".join((*file.place, stem)) if by_place and len(alike) > 1 else stem
            if (other := named.setdefault(image_id, file)) is not file:
                raise KitError(
                    f"{printable(file.path)}: has the name of another image, {printable(other.path)}: "
                    "rename one of them"
                )
    return dict(sorted(named.items()))


def _without_copies(files: Sequence[ImageFile]) -> list[ImageFile]:
    """Files of one name without those that hold, byte for byte, what an earlier one does.

    A PACS gives the images of thousands of patients one name, so whole files are compared only where they begin alike.
    """
    if len(files) == 1:
        return list(files)
    beginnings = []
    for file in files:
        with opened(file.path) as handle:
            beginnings.append((os.fstat(handle.fileno()).st_size, handle.read(_BEGINNING)))
    times = Counter(beginnings)
    kept: dict[tuple[object, str], ImageFile] = {}
    for file, beginning in zip(files, beginnings, strict=True):
        kept.setdefault((beginning, sha256(file.path) if times[beginning] > 1 else ""), file)
    return list(kept.values())


def warn_left_out(left_out: Mapping[str, int]) -> None:
    """One warning of all files that look like a part of the data and are not used."""
    counts = [f"{count} {kind}" for kind, count in sorted(left_out.items()) if count]
    if counts:
        log.warning("left out: %s", ", ".join(counts))


def walk(folder: Path | str) -> Iterator[Path]:
    """All files below a folder in the order of their names; none below one that does not exist.

    Links to folders are followed, each folder once, so that links in a circle end; a folder's own place counts before
    a link to it. Files and folders that begin with "." or "@", and `__MACOSX`, are not the user's.
    """
    seen: set[tuple[int, int]] = set()
    links: list[str] = []

    def below(place: str) -> Iterator[Path]:
        try:
            about = os.stat(place)
            if (about.st_dev, about.st_ino) in seen:
                return
            seen.add((about.st_dev, about.st_ino))
            with os.scandir(place) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise unreadable(place, error) from None
        for entry in entries:
            if entry.name.startswith((".", "@")) or entry.name == "__MACOSX":
                continue
            if not entry.is_dir():
                yield Path(entry.path)
            elif entry.is_symlink():
                links.append(entry.path)
            else:
                yield from below(entry.path)

    yield from below(str(folder))
    while links:
        yield from below(links.pop(0))


def without_ending(text: str) -> str:
    """A name without the ending of an image file, in composed Unicode.

    >>> without_ending("case0.PNG"), without_ending("1.2.840.dcm"), without_ending("1.2.840")
    ('case0', '1.2.840', '1.2.840')
    """
    ended = text.lower().endswith((*DICOM_ENDINGS, *pictures.ENDINGS))
    return _composed(text[: text.rindex(".")] if ended else text)


def match(names: Iterable[str], images: Container[str], source: Path | str) -> dict[str, str]:
    """The image that each name of a table means: names may have the file's ending, or folders before it.

    Returns:
        By name; one that means no image, or an image that another name means too, stands for itself.
    """
    meant, spelled = {}, {}
    for given in dict.fromkeys(names):
        parts = [part for part in re.split(r"[/\\]", without_ending(given)) if part]
        spellings = given, _composed(given), without_ending(given), *("-".join(parts[at:]) for at in range(len(parts)))
        meant[given] = next((spelling for spelling in spellings if spelling in images), given)
        if meant[given] != given:
            spelled[given] = meant[given]
    times = Counter(meant.values())
    for given, image in [*spelled.items()]:
        if times[image] > 1:
            meant[given] = given
            del spelled[given]
    if spelled:
        first = next(iter(spelled))
        log.info("%s: %d ids are written otherwise: %s is taken for %s", source, len(spelled), first, spelled[first])
    return meant


def split_masks(
    files: Sequence[ImageFile], masks: Path | str | None, suffix: str | None
) -> tuple[list[ImageFile], list[ImageFile]]:
    """Images and masks apart.

    A mask lies in a folder that says so, or in `masks`, or is called as an image with `_mask`, `_seg` or `mask_`. Where
    `masks` is given, folders on the way to a mask are those below it.

    Args:
        masks: A folder in which all are masks; it may be any folder's name.
        suffix: What the names of masks end with, beside the image's.
    """
    stems = {file.stem for file in files}

    def is_mask(file: ImageFile) -> bool:
        if masks is not None:
            return file.path.is_relative_to(masks)
        if suffix:
            return file.stem.endswith(suffix)
        return file.in_masks or without_affix(file.stem) in stems - {file.stem}

    found = [file for file in files if is_mask(file)]
    if masks is not None:
        found = [replace(file, folders=file.path.relative_to(masks).parts[:-1]) for file in found]
    return [file for file in files if not is_mask(file)], found


def pair(
    images: Mapping[str, ImageFile], masks: Iterable[ImageFile], suffix: str | None
) -> tuple[dict[str, Path], list[Path]]:
    """The mask of each image, and masks of none.

    A mask's name is that of one image, or the id of one; where several images have it, the folders decide: those on the
    way to the mask end as those on the way to the image do, or the other way round.

    Raises:
        KitError: an image has two masks.
    """
    by_stem: dict[str, list[str]] = {}
    for image_id, file in images.items():
        by_stem.setdefault(file.stem, []).append(image_id)
    places = {image_id: file.place for image_id, file in images.items()}

    def image_of(mask: ImageFile) -> str | None:
        own = mask.stem.removesuffix(suffix or "")
        for stem in dict.fromkeys((own, without_affix(own))):
            alike = by_stem.get(stem, [stem] if stem in images else [])
            if len(alike) > 1:
                common = {image_id: _agreement(places[image_id], mask.place) for image_id in alike}
                alike = [image_id for image_id in alike if common[image_id] == max(common.values()) > 0]
            if len(alike) == 1:
                return alike[0]
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


def _agreement(first: tuple[str, ...], second: tuple[str, ...]) -> float:
    """How many folders two ways have in common at their ends, 0 where neither is the end of the other.

    >>> _agreement(("DICOM", "P1", "S1"), ("P1", "S1")), _agreement(("P2", "S1"), ("P1", "S1")), _agreement((), ())
    (2, 0, inf)
    """
    length = min(len(first), len(second))
    if first == second:
        return math.inf
    return length if length and first[-length:] == second[-length:] else 0


def without_affix(stem: str) -> str:
    """The name of the image of a mask, whatever marks the mask's.

    >>> [without_affix(stem) for stem in ("a_mask", "a-seg", "mask_a", "a")]
    ['a', 'a', 'a', 'a']
    """
    found = _AFFIX.fullmatch(stem)
    return (found[1] or found[2]) if found else stem


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)
