"""The built site opens from a folder, asks no server for anything, and finds a word."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = "notebooks/kaggle-train.ipynb"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A site of a page and a notebook, built as all pages are."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "docs").mkdir()
    (folder / "docs/index.md").write_text("# A page\n\n## Of an odd word\n\nThe xylophone.\n")
    shutil.copytree(ROOT / "docs/assets", folder / "docs/assets")
    (folder / "docs/notebooks").mkdir()
    for name in ("hooks.py", PAGE):
        shutil.copy(ROOT / "docs" / name, folder / "docs" / name)
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    settings |= {
        "nav": ["index.md", PAGE.replace(".ipynb", ".md")],
        "plugins": ["search", "offline"],
        "site_dir": "out",
    }
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(settings))
    assert "offline" in yaml.safe_load((ROOT / "mkdocs.yml").read_text())["plugins"]
    subprocess.run([sys.executable, "-m", "mkdocs", "build", "--quiet"], cwd=folder, check=True)
    return folder / "out"


def test_the_notebook_is_a_page_and_a_file(site):
    text = (site / PAGE).with_suffix(".html").read_text()
    assert "find_bundle" in text
    assert 'href="kaggle-train.ipynb"' in text
    assert (site / PAGE).read_bytes() == (ROOT / "docs" / PAGE).read_bytes()


def test_no_page_asks_another_server(site):
    text = (site / "index.html").read_text()
    assert re.findall(r'(?:src|<link[^>]*href)="(?:https?:)?//[^"]*', text) == []


@pytest.mark.skipif(BROWSER is None, reason="browser tests need chromium: apt-get install chromium")
def test_it_finds_a_word_without_a_server(site):
    page = f"{(site / 'index.html').as_uri()}?q=xylophone"
    words = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom", page]
    shown = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "1 matching document" in shown
