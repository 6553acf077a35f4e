import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from dicoms import write_dicom

from kit.competition import dicom, levels, rle
from kit.core.errors import KitError
from kit.data import cache, resize
from kit.data.resize import resize_image, resize_mask


@pytest.fixture
def few(phantoms, tmp_path):
    """Folder of eight phantoms, some of them positive."""
    ids = sorted(phantoms.train, key=lambda image_id: (not phantoms.labels[image_id], image_id))[:4]
    ids = sorted(ids + [image_id for image_id in phantoms.train if not phantoms.labels[image_id]][:4])
    paths = {}
    for image_id in ids:
        paths[image_id] = tmp_path / "images" / f"{image_id}.dcm"
        paths[image_id].parent.mkdir(exist_ok=True)
        shutil.copy(phantoms.train[image_id], paths[image_id])
    return dataclasses.replace(phantoms, train=paths, labels={image_id: phantoms.labels[image_id] for image_id in ids})


@pytest.fixture
def reads(monkeypatch):
    """Paths in the order of decoding."""
    seen, read = [], dicom.read
    monkeypatch.setattr(dicom, "read", lambda path, *rest: (seen.append(path), read(path, *rest))[1])
    return seen


def test_each_row_is_the_resized_image_and_mask(few, tmp_path):
    for size, cached in cache.ensure(few, [64, 32], tmp_path / "cache").items():
        for row, (image_id, path) in enumerate(few.train.items()):
            assert (cached.images[row] == resize_image(dicom.read(path).pixels, size)).all()
            assert (cached.masks[row] == resize_mask(rle.union(few.labels[image_id], few.shape), size)).all()
        assert isinstance(cached.images, np.memmap)
        assert cached.images.dtype == cached.masks.dtype == np.uint8
        assert not cached.bad.any()


def test_each_way_of_resizing_masks_has_its_own_file(few, tmp_path, reads):
    area, bilinear = (
        cache.ensure(few, [32], tmp_path / "cache", mask_resizing=how)[32].masks for how in ("area", "bilinear")
    )
    for row, image_id in enumerate(few.train):
        mask = rle.union(few.labels[image_id], few.shape)
        assert (bilinear[row] == resize_mask(mask, 32, "bilinear")).all()
    assert bilinear.sum() > area.sum()
    reads.clear()
    assert (cache.ensure(few, [32], tmp_path / "cache")[32].masks == area).all()
    assert reads == []


def test_an_image_is_decoded_once_for_all_sizes_and_never_again(few, tmp_path, reads):
    cache.ensure(few, [64, 32], tmp_path / "cache")
    assert sorted(reads) == sorted(few.train.values())
    cache.ensure(few, [32, 64], tmp_path / "cache")
    assert len(reads) == len(few.train)


def test_only_a_changed_image_or_label_is_made_again(few, tmp_path, reads):
    cache.ensure(few, [32], tmp_path / "cache")
    first, second, third, *_ = few.train
    shutil.copy(few.train[second], few.train[first])
    changed = dataclasses.replace(few, labels=few.labels | {third: ("0 40",)})
    reads.clear()
    cached = cache.ensure(changed, [32], tmp_path / "cache")[32]
    assert sorted(reads) == sorted([few.train[first], few.train[third]])
    assert (cached.images[0] == cached.images[1]).all()
    assert cached.masks[2].any()


@pytest.mark.parametrize("maker", [(levels, "READER"), (resize, "RESIZER")])
def test_rows_of_another_version_are_made_again(few, tmp_path, reads, monkeypatch, maker):
    before = cache.ensure(few, [32], tmp_path / "cache")[32]
    reads.clear()
    monkeypatch.setattr(*maker, "a better one")
    assert cache.ensure(few, [32], tmp_path / "cache")[32].keys == before.keys  # a training is still on the same images
    assert sorted(reads) == sorted(few.train.values())


def test_one_of_two_processes_makes_the_cache(few, tmp_path, reads):
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(cache.ensure, few, [32], tmp_path / "cache") for _ in range(2)]
        first, second = (job.result()[32] for job in jobs)
    assert sorted(reads) == sorted(few.train.values())
    whole = cache.ensure(few, [32], tmp_path / "other")[32]
    for made in (first, second):
        assert (made.images == whole.images).all()
        assert (made.masks == whole.masks).all()


def test_all_unreadable_files_are_listed_or_skipped_on_request(few, tmp_path, caplog):
    paths = list(few.train.values())
    paths[0].write_bytes(b"")
    paths[3].write_bytes(paths[3].read_bytes()[:2000])
    with pytest.raises(KitError) as refused:
        cache.ensure(few, [32], tmp_path / "cache")
    assert all(str(paths[i]) in str(refused.value) for i in (0, 3))
    assert "--skip-bad" in str(refused.value)
    cached = cache.ensure(few, [32], tmp_path / "cache", skip_bad=True)[32]
    assert np.flatnonzero(cached.bad).tolist() == [0, 3]
    assert caplog.text.count("skipping") == 2


def test_malformed_labels_name_the_image(few, tmp_path):
    image_id = next(iter(few.train))
    with pytest.raises(KitError, match=image_id.replace(".", r"\.")):
        cache.ensure(dataclasses.replace(few, labels=few.labels | {image_id: ("1 2 3",)}), [32], tmp_path / "cache")


def test_text_in_the_picture_gives_a_warning(few, tmp_path, caplog):
    with dicom.ignore_invalid_values():
        write_dicom(next(iter(few.train.values())), np.zeros((128, 128), np.uint8), BurnedInAnnotation="YES")
    cache.ensure(few, [32], tmp_path / "cache")
    assert "1 images say BurnedInAnnotation=YES" in caplog.text
