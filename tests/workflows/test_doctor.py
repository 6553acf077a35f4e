"""What `doctor` says about a machine, and that it shows no secret."""

import pytest
import torch

from kit.core.errors import KitError
from kit.workflows import doctor
from kit.workflows.workspace import Workspace


def checks(tmp_path, reach=lambda host: False):
    return {sign.what: sign for sign in doctor.examine(Workspace(tmp_path), reach)}


def test_every_part_of_the_machine_is_checked(tmp_path):
    found = checks(tmp_path)
    assert list(found) == [
        "python", "packages", "DICOM decoders", "GPU", "threads", "memory", "disk", "internet", "encoder weights",
        "Kaggle",
    ]  # fmt: skip
    assert f"torch {torch.__version__.partition('+')[0]}" in found["packages"].found
    assert found["DICOM decoders"].found == "JPEG, JPEG 2000, RLE"
    assert found["internet"].found == "none"
    assert checks(tmp_path, lambda host: "kaggle" in host)["internet"].found == "www.kaggle.com can be reached"
    doctor.refuse(list(found.values()))


def test_a_token_is_reported_but_not_shown(tmp_path, home, monkeypatch):
    monkeypatch.delenv("KAGGLE_API_TOKEN", raising=False)
    assert "no credentials" in str(checks(tmp_path)["Kaggle"])
    (home / ".kaggle").mkdir(exist_ok=True)
    token = home / ".kaggle/access_token"
    token.write_text("KGAT_secret")
    token.chmod(0o644)
    told = str(checks(tmp_path)["Kaggle"])
    assert str(token) in told
    assert "chmod 600" in told
    assert "secret" not in told


def test_mounted_data_and_drives_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "INPUT", tmp_path / "input")
    monkeypatch.setattr(doctor, "DRIVE", tmp_path / "content/drive/MyDrive")
    (tmp_path / "input").mkdir()
    assert "attach the images" in checks(tmp_path)["mounts"].advice
    for place in ("siim", "datasets/ada/lungs", "competitions/siim"):
        (tmp_path / "input" / place).mkdir(parents=True)
    assert checks(tmp_path)["mounts"].found.endswith(": siim, datasets/ada/lungs, competitions/siim")
    (tmp_path / "content").mkdir()
    assert "drive.mount" in checks(tmp_path)["mounts"].advice
    (tmp_path / "content/drive/MyDrive").mkdir(parents=True)
    assert checks(tmp_path)["mounts"].found.endswith("MyDrive: mounted")


@pytest.mark.parametrize("broken", ["cuda:0", "cuda:1"])
def test_a_gpu_whose_first_operation_fails_is_an_error(tmp_path, monkeypatch, broken):
    real = torch.ones

    def ones(*shape, device):
        if device == broken:
            raise RuntimeError("CUDA error: no kernel image is available\nmore")
        return real(*shape)

    class Properties:
        total_memory = 16 * 2**30

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla P100")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: Properties)
    monkeypatch.setattr(torch, "ones", ones)
    found = checks(tmp_path)
    assert f"GPU {broken[-1]} fails (CUDA error: no kernel image is available)" in found["GPU"].advice
    with pytest.raises(KitError, match="cannot run the kit: GPU"):
        doctor.refuse(list(found.values()))


def test_versions_other_than_the_pinned_ones_are_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "installed", lambda name: "0.1")
    assert "requirements.txt has torch" in checks(tmp_path)["packages"].advice
