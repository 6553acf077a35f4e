import errno
import io
import random
import zipfile

import pytest
from kaggle_server import Fault, zipped

from kit.core.errors import KitError
from kit.kaggle import download, transfer

FILES = {
    "stage_2_train.csv": b"ImageId,EncodedPixels\n",
    "stage_2_images/a.dcm": random.Random(0).randbytes(300_000),
    "stage_2_images/b.dcm": b"",
    "sample.csv": b"x",
}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "siim"


@pytest.fixture
def siim(kaggle):
    kaggle.files = dict(FILES)
    kaggle.mirrors["ada/train"] = zipped(FILES)
    return kaggle


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fetched(folder):
    """The files of a folder without the record of Kaggle's list."""
    return {name: data for name, data in content(folder).items() if not name.startswith(".")}


def test_all_files_of_the_competition_arrive(siim, client, folder):
    assert download.download_competition(client, "siim", folder)
    assert fetched(folder) == FILES
    assert not download.download_competition(client, "siim", folder)
    assert siim.count("GET") == 1


def test_a_data_set_arrives(siim, client, folder):
    assert download.download_dataset(client, "ada/train", folder)
    assert content(folder).items() >= FILES.items()
    assert not download.download_dataset(client, "ada/train", folder)
    assert siim.count("GET") == 1


@pytest.mark.parametrize("kind", [429, 503, "cut", "lost"])
@pytest.mark.parametrize("method", ["ListDataFiles", "DownloadDataFiles", "GET"])
def test_a_transient_fault_is_survived(siim, client, folder, method, kind):
    siim.faults = [Fault(method, kind)]
    download.download_competition(client, "siim", folder)
    assert fetched(folder) == FILES


def test_an_interrupted_download_resumes(siim, client, folder):
    siim.faults = [Fault("GET", "cut")]
    download.download_competition(client, "siim", folder)
    ranges = [body["range"] for method, body in siim.log if method == "GET"]
    assert any(ranges), "the second part was asked for alone"


def test_a_file_that_changed_meanwhile_is_downloaded_from_the_start(siim, client, folder):
    siim.faults = [Fault("GET", "cut", times=1), Fault("DownloadDataFiles", 404)]
    siim.faults[1].times = 0
    changed = {**FILES, "stage_2_images/a.dcm": random.Random(1).randbytes(300_000)}

    def change():
        siim.files = changed
        siim.mirrors["competition"] = zipped(changed)

    siim.faults.append(Fault("DownloadDataFiles", "hook", times=2, hook=lambda: siim.count("GET") and change()))
    download.download_competition(client, "siim", folder)
    assert fetched(folder) == changed


@pytest.mark.parametrize("kind", [403, 404])
@pytest.mark.parametrize("method", ["ListDataFiles", "DownloadDataFiles", "GET"])
def test_a_refusal_leaves_nothing(siim, client, folder, method, kind):
    siim.faults = [Fault(method, kind)]
    with pytest.raises(KitError, match=f"fault {kind}"):
        download.download_competition(client, "siim", folder)
    assert not folder.exists() or content(folder) == {}


@pytest.mark.parametrize(("kind", "what"), [("html", "not a zip archive .*<html>"), ("empty", "is empty")])
def test_an_invalid_archive_is_not_kept(siim, client, folder, kind, what):
    siim.faults = [Fault("GET", kind)]
    with pytest.raises(KitError, match=what):
        download.download_competition(client, "siim", folder)
    assert content(folder) == {}
    download.download_competition(client, "siim", folder)
    assert fetched(folder) == FILES


def test_a_file_that_is_listed_but_missing_is_an_error(siim, client, folder):
    siim.mirrors["competition"] = zipped({name: FILES[name] for name in list(FILES)[:-1]})
    with pytest.raises(KitError, match=r"differs from Kaggle's list in 1 file \(first: sample\.csv\): try again"):
        download.download_competition(client, "siim", folder)


def test_no_path_leads_out_of_the_folder(tmp_path):
    (tmp_path / "x.zip").write_bytes(zipped({"good": b"1", "a/../../evil": b"2"}))
    with pytest.raises(KitError, match="leads out of the folder"):
        download.unpack(tmp_path / "x.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["train", "a/", "/b"])
def test_a_dataset_has_an_owner(client, folder, name):
    with pytest.raises(KitError, match=r"--dataset .*: is not OWNER/NAME"):
        download.download_dataset(client, name, folder)


def corrupt(packed):
    """Damages the deflated data of the only member, and leaves its directory as it was."""
    content = bytearray(packed)
    start = 30 + len("a.dcm")
    content[start : start + 20] = b"\xff" * 20
    return bytes(content)


def deflated(files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def encrypted(packed):
    """Sets the flag of encryption in the member's header and in the directory."""
    content = bytearray(packed)
    content[6] |= 1
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


STRANGE = {
    "corrupt deflate": corrupt(deflated({"a.dcm": b"abc" * 1000})),
    "an encrypted file": encrypted(deflated({"a.dcm": b"abc" * 1000})),
}


@pytest.mark.parametrize("what", STRANGE)
def test_a_damaged_archive_is_one_line_and_is_not_kept(siim, client, folder, what):
    siim.mirrors["ada/train"] = STRANGE[what]
    with pytest.raises(KitError) as caught:
        download.download_dataset(client, "ada/train", folder)
    assert "\n" not in str(caught.value)
    assert content(folder) == {}
    siim.mirrors["ada/train"] = zipped(FILES)
    assert download.download_dataset(client, "ada/train", folder)


def test_on_a_full_disk_the_archive_stays_and_is_not_downloaded_again(siim, client, folder, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(download.shutil, "copyfileobj", full)
        for _ in range(2):
            with pytest.raises(KitError, match="cannot be written"):
                download.download_dataset(client, "ada/train", folder)
    [archive] = [name for name in content(folder) if name.endswith(".zip")]
    assert siim.count("DownloadDataset") == 1
    (folder / "stage_2_images").mkdir(exist_ok=True)
    (folder / "stage_2_images/a.dcm").write_bytes(FILES["stage_2_images/a.dcm"])  # of a call that was killed
    assert download.download_dataset(client, "ada/train", folder)
    left = content(folder)
    assert archive not in left
    assert {name: left[name] for name in FILES} == FILES


@pytest.mark.parametrize("way", ["competition", "mirror"])
def test_a_new_version_of_equal_sizes_is_fetched(siim, client, folder, way):
    def fetch():
        if way == "competition":
            return download.download_competition(client, "siim", folder)
        return download.download_dataset(client, "ada/train", folder)

    assert fetch()
    changed = FILES | {"stage_2_images/a.dcm": random.Random(2).randbytes(300_000)}
    siim.files, siim.date = changed, "2019-08-01T12:00:00Z"
    siim.mirrors |= {"competition": zipped(changed), "ada/train": zipped(changed)}
    assert fetch()
    assert fetched(folder) == changed
    assert not list(folder.glob(".previous"))
    assert not fetch()


def test_a_complete_folder_of_other_origin_is_accepted(siim, client, folder):
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    assert not download.download_competition(client, "siim", folder)
    assert siim.count("GET") == 0


def test_a_file_of_the_users_own_is_kept(siim, client, folder, caplog):
    folder.mkdir(parents=True)
    (folder / "sample.csv").write_text("my own work")
    download.download_competition(client, "siim", folder)
    assert fetched(folder) == FILES
    assert (folder / ".previous" / "sample.csv").read_text() == "my own work"
    assert "sample.csv: was another file than Kaggle's: kept as" in caplog.text


def test_a_range_that_the_storage_rejects_restarts_the_download(siim, client, folder):
    siim.faults = [Fault("GET", "cut"), Fault("GET", "hook", hook=lambda: None), Fault("GET", 416)]
    download.download_competition(client, "siim", folder)
    assert fetched(folder) == FILES


def test_an_html_page_does_not_confirm_an_upload(siim, client, tmp_path):
    """The first upload breaks off, and the question how much has arrived is answered by a page."""
    path = tmp_path / "x.bin"
    path.write_bytes(b"12345678")
    siim.blobs["b"] = {"name": "x.bin", "size": 8, "content": b""}
    siim.faults = [Fault("PUT", "cut"), Fault("PUT", "html")]
    transfer.upload(client, f"{siim.url}/upload/b", path)
    assert siim.blobs["b"]["content"] == b"12345678"


def test_a_full_disk_is_one_line(siim, client, folder, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transfer, "_stream", full)
    with pytest.raises(KitError, match="the disk is full"):
        download.download_competition(client, "siim", folder)
