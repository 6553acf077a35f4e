import random
import stat
import zipfile

import pytest
from kaggle_server import Fault, zipped

from kit.core.errors import KitError
from kit.kaggle import download

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


def test_all_files_of_the_competition_arrive(siim, client, folder):
    assert download.download_competition(client, "siim", folder)
    assert content(folder) == FILES
    assert not download.download_competition(client, "siim", folder)
    assert siim.count("GET") == 1


def test_a_mirror_arrives(siim, client, folder):
    assert download.download_dataset(client, "ada/train", folder)
    assert content(folder).items() >= FILES.items()
    assert not download.download_dataset(client, "ada/train", folder)
    assert siim.count("GET") == 1


@pytest.mark.parametrize("kind", [429, 500, 503, "cut", "lost", "stall"])
@pytest.mark.parametrize("method", ["ListDataFiles", "DownloadDataFiles", "GET"])
def test_what_passes_is_survived(siim, client, folder, method, kind):
    siim.faults = [Fault(method, kind)]
    download.download_competition(client, "siim", folder)
    assert content(folder) == FILES


def test_a_broken_download_goes_on_where_it_was(siim, client, folder):
    siim.faults = [Fault("GET", "cut")]
    download.download_competition(client, "siim", folder)
    ranges = [body["range"] for method, body in siim.log if method == "GET"]
    assert any(ranges), "the second part was asked for alone"


def test_a_file_that_changed_meanwhile_is_begun_anew(siim, client, folder):
    siim.faults = [Fault("GET", "cut", times=1), Fault("DownloadDataFiles", 404)]
    siim.faults[1].times = 0
    changed = {**FILES, "stage_2_images/a.dcm": random.Random(1).randbytes(300_000)}

    def change():
        siim.files = changed
        siim.mirrors["competition"] = zipped(changed)

    siim.faults.append(Fault("DownloadDataFiles", "hook", times=2, hook=lambda: siim.count("GET") and change()))
    download.download_competition(client, "siim", folder)
    assert content(folder) == changed


@pytest.mark.parametrize("kind", [401, 403, 404])
@pytest.mark.parametrize("method", ["ListDataFiles", "DownloadDataFiles", "GET"])
def test_a_refusal_leaves_nothing(siim, client, folder, method, kind):
    siim.faults = [Fault(method, kind)]
    with pytest.raises(KitError, match=f"fault {kind}"):
        download.download_competition(client, "siim", folder)
    assert not folder.exists() or content(folder) == {}


@pytest.mark.parametrize(("kind", "what"), [("html", "not a zip archive .*<html>"), ("empty", "is empty")])
def test_what_is_no_archive_is_not_kept(siim, client, folder, kind, what):
    siim.faults = [Fault("GET", kind)]
    with pytest.raises(KitError, match=what):
        download.download_competition(client, "siim", folder)
    assert content(folder) == {}
    download.download_competition(client, "siim", folder)
    assert content(folder) == FILES


def test_a_file_that_is_listed_but_missing_is_an_error(siim, client, folder):
    siim.mirrors["competition"] = zipped({name: FILES[name] for name in list(FILES)[:-1]})
    with pytest.raises(KitError, match=r"sample\.csv and 0 more are not as Kaggle lists them"):
        download.download_competition(client, "siim", folder)


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil", "C:/evil"])
def test_no_path_leads_out_of_the_folder(tmp_path, name):
    (tmp_path / "x.zip").write_bytes(zipped({"good": b"1", name: b"2"}))
    with pytest.raises(KitError, match="leads out of the folder"):
        download.unpack(tmp_path / "x.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_links(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(KitError, match="is a link"):
        download.unpack(tmp_path / "x.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["train", "a/", "/b"])
def test_a_dataset_has_an_owner(client, folder, name):
    with pytest.raises(KitError, match="is not OWNER/SLUG"):
        download.download_dataset(client, name, folder)
