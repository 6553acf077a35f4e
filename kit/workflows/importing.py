"""The verb `import`: a folder of pictures and masks, or any mirror, as a competition's folder."""

import hashlib
import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from kit.competition import dicom_writer, finding, labels, levels, mirror, pictures, rle, scoring, shapes, submission
from kit.competition.dicom import report_bad
from kit.competition.mirror import ImageFolder
from kit.competition.pictures import Mask
from kit.core.errors import KitError, printable
from kit.core.files import is_file_or_raise, read_json, replacing_folder, write_csv, write_json, write_text
from kit.core.parallel import map_in_order
from kit.core.progress import progress
from kit.core.version import VERSION
from kit.data.inspection import masks_problem

log = logging.getLogger(__name__)

_MARK = "import.json"
_FOLDERS = ("dicom-images-train", "dicom-images-test")
_MADE = ("train-rle.csv", "sample_submission.csv", "solution.csv", shapes.NAME, _MARK)
_COPIED = (finding.NAME, "patients.csv", "splits.csv", "solution.csv", "LICENSE", "LICENSE.txt")


def import_folder(
    folder: Path | str,
    out: Path | str,
    *,
    skip_bad: bool = False,
    masks: Path | str | None = None,
    mask_suffix: str | None = None,
    rle_format: str | None = None,
    label: int | None = None,
) -> tuple[ImageFolder, bool]:
    """Writes a folder of images and their truth as round 1's layout: DICOM files, RLE rows, a sample submission.

    Images keep their size, which sizes.csv tells where they differ; reduced ones beside rows of the originals are
    enlarged to fit these. A test set whose truth is known gets a solution.csv.
    The folder is there as a whole or not at all, is left alone where it was made from just these files, and is made
    again where they have changed. What else has been put into it, such as a patients.csv, stays there.

    Args:
        folder: What `mirror.recognise` recognises.
        out: The competition's folder to write; its name is the data set's.
        skip_bad: Leave out images that cannot be read, or have no file.
        masks: As `mirror.recognise` takes it.

    Returns:
        What was found, and whether it had to be written.

    Raises:
        KitError: nothing was recognised, files are missing or cannot be read, or `out` holds something else, such as
            what was imported from another folder.
    """
    found, out = mirror.recognise(folder, masks, mask_suffix, rle_format, label), Path(out)
    if out.resolve() == found.folder.resolve() or found.folder.resolve() in out.resolve().parents:
        raise KitError(f"--out {out}: lies in the folder that is imported: name one outside of it")
    log.info("%s", found)
    if found.unlabelled:
        log.warning("%d images have no truth and are left out (first: %s)", len(found.unlabelled), found.unlabelled[0])
    _check_rows(found, skip_bad)
    made_from = _fingerprint(found)
    if is_file_or_raise(out / _MARK):
        known = read_json(out / _MARK)
        if known == made_from:
            return found, False
        other = known.get("folder") if isinstance(known, dict) else None
        if other not in (None, made_from["folder"]):
            raise KitError(f"--out {out}: holds what was imported from {other}: name another one, or remove it first")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise KitError(f"--out {out}: holds something that was not imported: name another folder")
    with replacing_folder(out) as new:
        _fill(new, found, skip_bad)
        write_json(new / _MARK, made_from)
        _keep(out, new)
        if found.masks and not (new / finding.NAME).exists():
            shown = finding.from_nnunet(found.folder / "dataset.json", found.label) or finding.UNKNOWN
            write_text(new / finding.NAME, str(shown))
            log.info(
                "%s: says what masks show, %s, for reports and DICOM segmentations: correct it where that is wrong",
                out / finding.NAME,
                shown.name,
            )
    return found, True


def describe(out: Path | str, found: ImageFolder) -> str:
    """How many images of which size lie in an imported folder."""
    sizes = "several sizes" if is_file_or_raise(Path(out) / shapes.NAME) else "×".join(map(str, found.shape))
    train, test = (sum(1 for _ in Path(out, folder).iterdir()) for folder in _FOLDERS)
    return f"{train} training and {test} test images of {sizes}"


def _check_rows(found: ImageFolder, skip_bad: bool) -> None:
    """Refuses rows of images that are not there, unless they are to be left out."""
    if found.misfit:
        raise KitError(f"{found.labels_path}: {found.misfit}")
    missing = sorted(found.labels.keys() - found.images.keys())
    if not missing:
        return
    what = f"{found.labels_path}: {len(missing)} of {len(found.labels)} labelled images have no file"
    if not skip_bad:
        raise KitError(f"{what} in {found.folder} (first: {missing[0]}): fetch them, or leave them out with --skip-bad")
    log.warning("%s, and are left out (first: %s)", what, missing[0])


def _fill(new: Path, found: ImageFolder, skip_bad: bool) -> None:
    texts: dict[str, list[str]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    covers: list[float] = []
    notes: dict[str, list[str]] = {}

    def one(image: str) -> KitError | None:
        folder = _FOLDERS[image in test]
        try:
            radiograph = pictures.read_image(found.images[image])
            truth = found.truth(image)
        except KitError as error:
            return error
        radiograph = pictures.resized(radiograph, found.shape_of(image))
        sizes[image] = radiograph.shape
        dicom_writer.write(new / folder / f"{image}.dcm", image, radiograph)
        if truth is not None:
            covers.append(float(truth.pixels.mean()))
            if truth.note:
                notes.setdefault(truth.note.rpartition(": ")[2], []).append(image)
            texts[image] = _regions(found, image, truth)
        return None

    test = set(found.test)
    for name in _FOLDERS:
        (new / name).mkdir()
    wanted = [*found.train, *found.test]
    errors = [error for error in progress(map_in_order(one, wanted), "importing", len(wanted)) if error]
    report_bad(errors, skip_bad=skip_bad)
    if problem := masks_problem(covers, found.label):
        raise KitError(f"{found.folder}: {problem}")
    for note, noted in notes.items():
        log.warning("%d masks (first: %s): %s", len(noted), min(noted), note)
    there = [image for image in found.test if (new / _FOLDERS[True] / f"{image}.dcm").exists()]
    write_csv(new / "train-rle.csv", labels.COLUMNS, _rows(texts, found.train))
    if len(set(sizes.values())) > 1:
        write_csv(new / shapes.NAME, shapes.COLUMNS, [(image, *map(str, sizes[image])) for image in sorted(sizes)])
    if there:
        submission.write(new / "sample_submission.csv", [(image, rle.EMPTY) for image in there])
    if there and all(image in texts for image in there):
        usage = dict(zip(there, scoring.assign_usage([bool(texts[image]) for image in there]), strict=True))
        rows = [(image, text, usage[image]) for image, text in _rows(texts, there)]
        write_csv(new / "solution.csv", (*labels.COLUMNS, "Usage"), rows)
    for name in _COPIED:
        if is_file_or_raise(found.folder / name):
            shutil.copyfile(found.folder / name, new / name)


def _keep(old: Path, new: Path) -> None:
    """Takes along what lies in the folder and is neither made by an import nor brought by this one."""
    if not old.is_dir():
        return
    for path in sorted(old.iterdir()):
        if path.name in _MADE or path.name in _FOLDERS or (new / path.name).exists():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, new / path.name, symlinks=True)
        else:
            shutil.copy2(path, new / path.name, follow_symlinks=False)
        log.info("%s: kept", printable(path))


def _regions(found: ImageFolder, image: str, truth: Mask) -> list[str]:
    """The rows of an image: those that its label file has, or one for each region or component of its mask picture."""
    if image in found.labels:
        return [found.format.as_gaps(row, truth.pixels.shape, image) for row in found.labels[image]]
    regions = truth.regions
    if regions is None:
        _, regions = cv2.connectedComponents(truth.pixels.astype(np.uint8), connectivity=8)
    return [rle.encode(regions == number) for number in np.unique(regions[regions > 0])]


def _rows(texts: dict[str, list[str]], images: Iterable[str]) -> list[tuple[str, str]]:
    return [(image, text) for image in images if image in texts for text in texts[image] or [rle.EMPTY]]


def _fingerprint(found: ImageFolder) -> dict[str, str | int]:
    """What an import is made from: files, what they are taken for, and the versions of what makes it.

    A file is known by its name, size and time of change.

    Much of the kit takes part (which files are images, how rows are understood), so a new release imports once more;
    equal pixels give equal files, and cached rows of them stay.
    """
    paths: list[Path] = [*found.images.values(), *found.masks.values()]
    paths += [path for path in (found.labels_path, *(found.folder / name for name in _COPIED)) if path]
    stats: list[tuple[str, os.stat_result]] = [(printable(path), path.stat()) for path in paths if path.exists()]
    listed = "\n".join(
        [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats]
        + [f"test {image}" for image in found.test]
        + [f"rows {found.format}"]
    )
    files = hashlib.sha256(listed.encode()).hexdigest()
    versions = {"reader": levels.READER, "kit": VERSION}
    folder = printable(found.folder.resolve())
    return {"folder": folder, "images": len(found.images), "files": files, "label": str(found.label), **versions}
