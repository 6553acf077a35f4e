"""A fake Kaggle server, and a home from which nothing real can be reached."""

import os

import lungs
import pytest
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
    """A fake Kaggle, and credentials for it."""
    server = Kaggle()
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def impatient(monkeypatch):
    """Shortens all pauses to milliseconds."""
    from kit.kaggle import acting, retry
    from kit.submissions import kaggle

    monkeypatch.setattr(retry, "WAITS", (0.01,) * 4)
    monkeypatch.setattr(acting, "CATCH_UP", 0.1)
    monkeypatch.setattr(acting, "PAUSE", 0.02)
    monkeypatch.setattr(kaggle, "POLL", 0.01)


@pytest.fixture
def client(kaggle, impatient):
    from kit.kaggle.client import connect

    return connect(timeout=0.5)


@pytest.fixture
def competition(tmp_path):
    return lungs.competition(tmp_path / "lungs")


@pytest.fixture
def csv(tmp_path):
    return lungs.submission(tmp_path / "runs" / "lungs" / "exp5")
