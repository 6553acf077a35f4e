"""Kernels that are refused before they are rehearsed or pushed."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import small_run
from playing import seal

from kit.core import files
from kit.core.errors import KitError
from kit.kernel import bundle, rehearsal
from kit.workflows import kernel as kernels
from kit.workflows.workspace import Workspace


@pytest.mark.parametrize(("key", "value"), [("enable_internet", True), ("is_private", False)])
def test_a_kernel_that_is_public_or_online_is_refused(kernel, key, value):
    kernel.metadata.write_text(json.dumps(files.read_json(kernel.metadata) | {key: value}))
    with pytest.raises(KitError, match=f"{key} is {value}"):
        rehearsal.check_metadata(kernel)


@pytest.mark.parametrize("sources", [[], [""], ["siimm"]])
def test_a_source_that_is_missing_or_misspelt_is_refused(kernel, sources):
    kernel.metadata.write_text(json.dumps(files.read_json(kernel.metadata) | {"competition_sources": sources}))
    with pytest.raises(KitError, match=r"competition_sources is .*, which is not what kit-tiny-small.py looks for"):
        rehearsal.check_metadata(kernel)


def test_long_run_names_give_distinct_kernel_names():
    names = ("small", "small-ensemble", "small_ensemble")
    slugs = [
        bundle.kernel_of(small_run.Run(Path("runs/siim-acr-pneumothorax-segmentation") / name)).slug for name in names
    ]
    assert len(set(slugs)) == 3
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]{,42}[a-z0-9]", slug) for slug in slugs)


def test_a_kernel_is_refused_after_its_thresholds_changed(kernel):
    run = small_run.Run(Path("runs/tiny/small"))
    kernels.current_kernel(run)
    files.write_json(run.thresholds, files.read_json(run.thresholds) | {"binarization": 0.6})
    with pytest.raises(KitError, match=r"runs/tiny/small/thresholds.json: was changed after the kernel was built"):
        kernels.current_kernel(run)


def test_a_changed_bundle_is_refused(kernel):
    name = bundle.MODEL
    (kernel.bundle / name).write_bytes((kernel.bundle / name).read_bytes() + b" ")
    with pytest.raises(KitError, match=f"{name}: is not as it was built: run `make kernel` again"):
        kernels.current_kernel(small_run.Run(Path("runs/tiny/small")))


def test_code_of_another_build_and_extra_files_are_refused(kernel):
    run = small_run.Run(Path("runs/tiny/small"))
    (kernel.bundle / "notes.txt").write_text("x")
    with pytest.raises(KitError, match=r"notes\.txt: is no file of the kernel"):
        kernels.current_kernel(run)
    seal(kernel)
    kernel.script.write_text(kernel.script.read_text().replace(files.sha256(kernel.manifest), "0" * 64))
    with pytest.raises(KitError, match="belongs to another bundle"):
        kernels.current_kernel(run)


def test_a_gpu_is_requested_by_machine_shape(here):
    built = bundle.build(small_run.Run(Path("runs/tiny/small")), user="ada", gpu=True)
    about = files.read_json(built.metadata)
    assert (about["enable_gpu"], about["machine_shape"]) == (True, "NvidiaTeslaT4")
    assert about["docker_image_pinning_type"] == "original"


@pytest.mark.parametrize(
    ("there", "probe", "count", "shown", "said"),
    [
        (True, "print(2)", 2, None, None),
        (True, "raise RuntimeError('no kernel image is available')", 0, "", "no kernel image is available"),
        (True, "import time; time.sleep(100)", 0, "", "timed out"),
        (False, "print(2)", 0, None, "no GPU: the machine has none"),
    ],
)
def test_a_gpu_that_does_not_work_is_hidden(kernel, tmp_path, monkeypatch, there, probe, count, shown, said, caplog):
    names = {"__name__": "script"}
    exec(kernel.script.read_text(), names)
    names |= {"PROBE": probe, "PATIENCE": 0.2 if said == "timed out" else 60, "DEVICES": tmp_path / "dev"}
    names["DEVICES"].mkdir()
    monkeypatch.setenv("PATH", "")  # where a tool of the driver may lie
    for name in ("null", *["nvidia0"] * there):
        (names["DEVICES"] / name).touch()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "x")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with caplog.at_level("INFO"):
        assert names["choose_device"]() == count
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == shown
    assert said is None or said in caplog.text


def test_a_missing_kernel_is_reported(here):
    shutil.rmtree("kernels")
    with pytest.raises(KitError, match="run `make kernel` first"):
        kernels.check(Workspace(), small_run.Run(Path("runs/tiny/small")), Path("data/tiny"), None, print)
