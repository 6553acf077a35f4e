import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from kaggle_server import TOKEN, Kaggle

# Read once, when the client is imported: requests go to http://localhost, which the proxy below stands for.
os.environ["KAGGLE_API_ENVIRONMENT"] = "LOCALHOST"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home, a working folder and an environment without any credential, from which nothing real can be reached."""
    for name in list(os.environ):
        if name.startswith("KAGGLE_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(folder))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def kaggle(home, monkeypatch):
    """Our Kaggle, and credentials for it."""
    server = Kaggle()
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def impatient(monkeypatch):
    """Pauses of milliseconds."""
    from kit.publish import failures, kaggle

    monkeypatch.setattr(failures, "WAITS", (0.01,) * 4)
    monkeypatch.setattr(kaggle, "LOOKS", (0.0, 0.01, 0.01))
    monkeypatch.setattr(kaggle, "POLL", 0.01)


@pytest.fixture
def client(kaggle, impatient):
    from kit.publish.client import connect

    return connect(timeout=0.5)


@pytest.fixture
def competition(tmp_path):
    """Test images of 8×8 pixels: `a` public, `b` and `c` private."""
    from kit.competition.layout import Competition

    folder = tmp_path / "lungs"
    folder.mkdir()
    solution = folder / "solution.csv"
    solution.write_text("ImageId,EncodedPixels,Usage\na,0 8,Public\nb,-1,Private\nc,8 8,Private\n")
    return Competition(
        folder=folder,
        name="lungs",
        train={},
        test={},
        unlabelled=(),
        labels={},
        labels_path=folder / "train-rle.csv",
        patients=None,
        sample_path=None,
        sample_ids=("a", "b", "c"),
        solution_path=solution,
        shape=(8, 8),
    )


@pytest.fixture
def csv(tmp_path):
    """A valid submission: Dice 1 on `a`, 1 on `b`, 0.5 on `c`."""
    path = tmp_path / "runs" / "lungs" / "exp5" / "submission.csv"
    path.parent.mkdir(parents=True)
    path.write_text("ImageId,EncodedPixels\na,0 8\nb,-1\nc,12 8\n")
    return path
