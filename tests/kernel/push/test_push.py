"""Pushes with the real client: one data set version, one kernel version."""

import json

import made_kernel
import pytest
from kaggle_server import Fault
from pushing import DATASET, KERNEL, assert_once

from kit.competition import submission
from kit.core import files
from kit.core.errors import KitError
from kit.kaggle import dataset
from kit.kaggle.client import connect
from kit.kernel import bundle, push
from kit.submissions import kaggle, ledger


def test_a_push_and_the_submission_of_its_output(site, go, kernel, competition, tmp_path):
    path = go()
    assert_once(site, kernel, path)
    (created,) = site.dataset_requests
    assert created["isPrivate"] is True
    (saved,) = site.kernels[KERNEL]
    assert saved["enableInternet"] is False
    assert saved["isPrivate"] is True
    assert saved["datasetDataSources"] == [DATASET]
    assert saved["competitionDataSources"] == ["siim"]
    book = tmp_path / "ledger.jsonl"
    client = connect(timeout=0.5)
    outcome = kaggle.submit_kaggle(path, competition, book, {}, client, "siim", yes=True, kernel=f"{KERNEL}/1")
    assert (len(site.submissions), outcome.entry.public, outcome.entry.private) == (1, 0.5, 0.25)
    assert "kaggle/siim" in ledger.table(book)


def test_files_larger_than_kaggles_limits_are_not_sent(site, go, kernel, monkeypatch):
    monkeypatch.setattr(dataset, "LIMIT", 10**4)
    with pytest.raises(KitError, match=r"larger than the 0 GB that Kaggle takes: leave weights out"):
        go()
    assert {method for method, _ in site.log} == {"IntrospectToken"}
    monkeypatch.setattr(bundle, "LARGEST_CODE", 1000)
    before = kernel.code.read_text()
    with pytest.raises(KitError, match="larger than the 1000 bytes that Kaggle takes"):
        made_kernel.write("retrained")
    assert kernel.code.read_text() == before


@pytest.mark.parametrize(
    "change",
    [
        {"enable_gpu": True, "machine_shape": "NvidiaTeslaT4"},
        {"machine_shape": "NvidiaTeslaP100"},
        {"competition_sources": ["another"]},
    ],
)
def test_changed_metadata_makes_a_new_version(site, go, kernel, change):
    go()
    files.write_json(kernel.metadata, files.read_json(kernel.metadata) | change)
    go()
    first, second = site.kernels[KERNEL]
    assert second["machineShape" if "machine_shape" in change else "competitionDataSources"] in change.values()
    assert first["text"] != second["text"]
    go()
    assert len(site.kernels[KERNEL]) == 2


def test_a_gpu_is_requested_by_machine_shape(site, go, kernel):
    made_kernel.write_code(kernel, kernel.script.read_text(), gpu=True)
    go()
    (saved,) = site.kernels[KERNEL]
    assert (saved["machineShape"], saved["dockerImagePinningType"]) == ("NvidiaTeslaT4", "original")


def test_a_notebook_is_pushed_as_a_notebook_and_found_again(site, go, kernel):
    made_kernel.write_code(kernel, kernel.script.read_text(), notebook=True)
    site.faults = [Fault("SaveKernel", "lost")]
    go()
    (saved,) = site.kernels[f"{KERNEL}-nb"]
    assert saved["kernelType"] == "notebook"
    assert kernel.name != kernel.slug
    assert json.loads(saved["text"])["nbformat"] == 4


def test_a_notebook_after_a_script_is_another_kernel_on_the_same_files(site, go, kernel):
    go()
    made_kernel.write_code(kernel, kernel.script.read_text(), notebook=True)
    go()
    assert {name: len(versions) for name, versions in site.kernels.items()} == {KERNEL: 1, f"{KERNEL}-nb": 1}
    assert len(site.datasets[DATASET]) == 1
    assert site.kernels[f"{KERNEL}-nb"][0]["newTitle"] == "kit-lungs-exp5-nb"


def test_a_push_waits_for_its_own_version_and_fetches_it(site, go, kernel, csv):
    """Another version that is pushed meanwhile is ignored."""
    other = {"submission.csv": b"ImageId,EncodedPixels\na,-1\nb,-1\nc,-1\n"}
    more = {"text": "", "output": other, "polls": 9, "end": "ERROR"}
    site.faults = [Fault("GetKernelSessionStatus", "hook", hook=lambda: site.kernels[KERNEL].append(more))]
    assert go().read_bytes() == csv.read_bytes()


def test_a_second_push_at_the_same_time_is_refused(site, go, kernel):
    with files.locked(kernel.journal), pytest.raises(KitError, match="another push is under way"):
        go()
    assert site.datasets == {}


def test_a_second_push_without_changes_does_nothing(site, go, kernel):
    go()
    assert_once(site, kernel, go())
    assert "up to date" in go.told[-3]
    assert site.count("StartBlobUpload") == len(list(kernel.bundle.iterdir()))


def test_a_changed_bundle_makes_a_second_version_of_data_set_and_kernel(site, go, kernel):
    go()
    made_kernel.write(content="retrained")
    site.faults = [Fault("CreateDatasetVersion", "lost")]
    go()
    assert len(site.datasets[DATASET]) == 2
    assert len(site.kernels[KERNEL]) == 2
    assert site.count("CreateDatasetVersion") == 1


def test_the_output_is_compared_with_the_rehearsal(site, go, kernel, csv):
    go()
    assert "no rehearsal" in go.told[-1]
    files.copy(csv, kernel.rehearsed)
    go()
    assert "the same as rehearsed" in go.told[-1]
    submission.write(kernel.rehearsed, [("a", "-1"), ("b", "-1"), ("c", "12 8")])
    go()
    assert "1 of 3 masks differ" in go.told[-1]
    submission.write(kernel.rehearsed, [("x", "-1")])
    go()
    assert "on other images" in go.told[-1]


def test_a_dry_run_lists_each_request_and_sends_nothing(site, kernel):
    names = [name for name, _ in push.requests(kernel, "ada")]
    assert names == ["StartBlobUpload"] * 3 + ["CreateDataset", "SaveKernel"]
    content = dict(push.requests(kernel, "ada"))
    assert content["SaveKernel"]["enableInternet"] is False
    assert content["CreateDataset"]["isPrivate"] is True
    assert site.log == []
