"""The verb `import`: converts a folder of pictures and masks, or any mirror, to a competition's folder."""

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
from kit.competition.layout import PATIENTS, SOLUTION
from kit.competition.mirror import ImageFolder
from kit.competition.pictures import Mask
from kit.core.errors import KitError, counted, printable
from kit.core.files import is_file_or_raise, read_json, replacing_folder, sha256, write_csv, write_json, write_text
from kit.core.parallel import map_in_order
from kit.core.progress import progress
from kit.core.version import VERSION
from kit.data.inspection import masks_problem

log = logging.getLogger(__name__)

_MARK = "import.json"
_FOLDERS = _TRAIN, _TEST = "dicom-images-train", "dicom-images-test"
_WRITTEN = ("train-rle.csv", "sample_submission.csv", shapes.NAME, _MARK)
_COPIED = (finding.NAME, PATIENTS, "splits.csv", SOLUTION, "LICENSE", "LICENSE.txt")


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
    """Converts a folder of images and ground truth to round 1's layout: DICOM files, RLE rows, a sample submission.

    Images keep their sizes, which sizes.csv lists if they differ; images that were reduced after their rows were drawn
    are enlarged to fit the rows. A test set with ground truth gets a solution.csv. The new folder appears as a whole or
    not at all. It is left alone if it was made from the same files and made again if they have changed; files that the
    user has added, such as a patients.csv or a solution.csv, are kept.

    Args:
        folder: A folder for `mirror.recognise`, as are `masks`, `mask_suffix`, `rle_format` and `label`.
        out: The competition's folder to write; its name becomes the data set's.
        skip_bad: Leave out images that cannot be read, or have no file.

    Returns:
        The recognised folder, and whether it had to be converted.

    Raises:
        KitError: nothing was recognised, files are missing or cannot be read, or `out` holds something else, such as
            an import of another folder.
    """
    source, out = mirror.recognise(folder, masks, mask_suffix, rle_format, label), Path(out)
    if out.resolve() == source.folder.resolve() or source.folder.resolve() in out.resolve().parents:
        raise KitError(f"--out {out}: lies in the folder that is imported: name one outside of it")
    log.info("%s", source)
    if source.unlabelled:
        count = counted(len(source.unlabelled), "image")
        log.warning("left out: %s without ground truth (first: %s)", count, source.unlabelled[0])
    _check_rows(source, skip_bad=skip_bad)
    made_from, solution = _fingerprint(source), None
    if is_file_or_raise(out / _MARK):
        previous = read_json(out / _MARK)
        solution = previous.pop(SOLUTION, None) if isinstance(previous, dict) else None
        if previous == made_from:
            return source, False
        other = previous.get("folder") if isinstance(previous, dict) else None
        if other not in (None, made_from["folder"]):
            raise KitError(f"--out {out}: holds what was imported from {other}: name another one, or remove it first")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise KitError(f"--out {out}: holds something that was not imported: name another folder")
    with replacing_folder(out) as new:
        _fill(new, source, skip_bad=skip_bad)
        made_solution = sha256(new / SOLUTION) if (new / SOLUTION).exists() else None
        write_json(new / _MARK, made_from | {SOLUTION: made_solution})
        _keep_added_files(out, new, solution)
        if source.masks and not (new / finding.NAME).exists():
            content = finding.from_nnunet(source.folder / "dataset.json", source.label) or finding.UNKNOWN
            write_text(new / finding.NAME, str(content))
            purpose = "for reports and DICOM segmentations: correct it where that is wrong"
            log.info("%s: says what masks show, %s, %s", out / finding.NAME, content.name, purpose)
    return source, True


def describe(out: Path | str, source: ImageFolder) -> str:
    """Returns the number of images in an imported folder, and their size."""
    sizes = "several sizes" if is_file_or_raise(Path(out) / shapes.NAME) else "×".join(map(str, source.shape))
    train, test = (sum(1 for _ in Path(out, folder).iterdir()) for folder in _FOLDERS)
    return f"{train} training and {test} test images of {sizes}"


def _check_rows(source: ImageFolder, *, skip_bad: bool) -> None:
    """Refuses label rows without an image, unless these are to be skipped, and rows whose format is wrong."""
    if source.misfit:
        raise KitError(f"{source.labels_path}: {source.misfit}")
    missing = sorted(source.labels.keys() - source.images.keys())
    if not missing:
        return
    what = f"{source.labels_path}: {len(missing)} of {len(source.labels)} labelled images have no file"
    if not skip_bad:
        remedy = "fetch them, or leave them out with --skip-bad"
        raise KitError(f"{what} in {source.folder} (first: {missing[0]}): {remedy}")
    log.warning("%s, and are left out (first: %s)", what, missing[0])


def _fill(new: Path, source: ImageFolder, *, skip_bad: bool) -> None:
    texts: dict[str, list[str]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    covers: list[float] = []
    notes: dict[str, list[str]] = {}

    def convert(image: str) -> KitError | None:
        folder = _TEST if image in test else _TRAIN
        try:
            radiograph = pictures.read_image(source.images[image])
            truth = source.truth(image)
        except KitError as error:
            return error
        radiograph = pictures.resized(radiograph, source.shape_of(image))
        sizes[image] = radiograph.shape
        dicom_writer.write(new / folder / f"{image}.dcm", image, radiograph)
        if truth is not None:
            covers.append(float(truth.pixels.mean()))
            if truth.note:
                notes.setdefault(truth.note.rpartition(": ")[2], []).append(image)
            texts[image] = _regions(source, image, truth)
        return None

    test = set(source.test)
    for name in _FOLDERS:
        (new / name).mkdir()
    images = [*source.train, *source.test]
    errors = [error for error in progress(map_in_order(convert, images), "importing", len(images)) if error]
    report_bad(errors, skip_bad=skip_bad)
    if problem := masks_problem(covers, source.label):
        raise KitError(f"{source.folder}: {problem}")
    for note, noted in notes.items():
        log.warning("%s (first: %s): %s", counted(len(noted), "mask"), min(noted), note)
    tests = [image for image in source.test if (new / _TEST / f"{image}.dcm").exists()]
    write_csv(new / "train-rle.csv", labels.COLUMNS, _rows(texts, source.train))
    if len(set(sizes.values())) > 1:
        write_csv(new / shapes.NAME, shapes.COLUMNS, [(image, *map(str, sizes[image])) for image in sorted(sizes)])
    if tests:
        submission.write(new / "sample_submission.csv", [(image, rle.EMPTY) for image in tests])
    if tests and all(image in texts for image in tests):
        usage = dict(zip(tests, scoring.assign_usage([bool(texts[image]) for image in tests]), strict=True))
        rows = [(image, text, usage[image]) for image, text in _rows(texts, tests)]
        write_csv(new / SOLUTION, (*labels.COLUMNS, "Usage"), rows)
    for name in _COPIED:
        if is_file_or_raise(source.folder / name):
            shutil.copyfile(source.folder / name, new / name)


def _keep_added_files(old: Path, new: Path, solution: str | None) -> None:
    """Copies the files that neither an earlier import nor this one has written, and a solution.csv of the user.

    Args:
        solution: SHA-256 of the solution.csv that the earlier import made, or None; any other file is the user's.
    """
    if not old.is_dir():
        return
    for path in sorted(old.iterdir()):
        if path.name == SOLUTION and path.is_file() and sha256(path) != solution:
            (new / SOLUTION).unlink(missing_ok=True)
        elif path.name in (*_WRITTEN, *_FOLDERS, SOLUTION) or (new / path.name).exists():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, new / path.name, symlinks=True)
        else:
            shutil.copy2(path, new / path.name, follow_symlinks=False)
        log.info("%s: kept", printable(path))


def _regions(source: ImageFolder, image: str, truth: Mask) -> list[str]:
    """Returns the rows of an image: those in the label file, or one per region or component of its mask picture."""
    if image in source.labels:
        return [source.format.as_gaps(row, truth.pixels.shape, image) for row in source.labels[image]]
    regions = truth.regions
    if regions is None:
        _, regions = cv2.connectedComponents(truth.pixels.astype(np.uint8), connectivity=8)
    return [rle.encode(regions == number) for number in np.unique(regions[regions > 0])]


def _rows(texts: dict[str, list[str]], images: Iterable[str]) -> list[tuple[str, str]]:
    return [(image, text) for image in images if image in texts for text in texts[image] or [rle.EMPTY]]


def _fingerprint(source: ImageFolder) -> dict[str, str | int]:
    """Returns what an import depends on: files by name, size and modification time, their meaning, and versions.

    Much of the kit takes part (which files are images, how rows are decoded), so every release imports once more;
    equal pixels give equal files, so that their cached rows stay.
    """
    paths: list[Path] = [*source.images.values(), *source.masks.values()]
    paths += [path for path in (source.labels_path, *(source.folder / name for name in _COPIED)) if path]
    stats: list[tuple[str, os.stat_result]] = [(printable(path), path.stat()) for path in paths if path.exists()]
    listed = "\n".join(
        [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats]
        + [f"test {image}" for image in source.test]
        + [f"rows {source.format}"]
    )
    files = hashlib.sha256(listed.encode()).hexdigest()
    versions = {"reader": levels.READER, "kit": VERSION}
    folder = printable(source.folder.resolve())
    return {"folder": folder, "images": len(source.images), "files": files, "label": str(source.label), **versions}
