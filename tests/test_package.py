"""What is installed: dependencies from one list, a wheel with everything in it, and a face that costs nothing."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

from kit.kaggle.client import PINNED

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def range_of(name, version):
    """Up to the next version that may break: the next major, of a 0.x the next minor; exact where insides are used."""
    if name in PINNED:
        return f"{name}=={version}"
    major, minor, *patch = version.split(".")
    return f"{name}~={major}.{minor}" + (f".{patch[0]}" if major == "0" else "")


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_ranges_follow_from_the_pins():
    assert PROJECT["dependencies"] == [range_of(*pin) for pin in pins().items()]


def test_what_is_imported_is_required():
    owners = metadata.packages_distributions()
    imported = {
        match[1]
        for path in (ROOT / "kit").rglob("*.py")
        for match in re.finditer(r"^\s*(?:import|from) (\w+)", path.read_text(), re.MULTILINE)
    }
    foreign = {name for name in imported & owners.keys() if name != "kit" and name not in sys.stdlib_module_names}
    assert {"torch", "cv2", "requests"} <= foreign
    extras = [
        re.split("[<>=~!]", need)[0] for needs in PROJECT.get("optional-dependencies", {}).values() for need in needs
    ]
    required = {canonical(name) for name in (*pins(), *extras)}
    assert [name for name in sorted(foreign) if not required & {canonical(owner) for owner in owners[name]}] == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel that `pip install .` makes, and the folder that it is unpacked to."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for package in ("kit", "reproduce"):
        copytree(ROOT / package, source / package, ignore=ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, out], cwd=source, check=True, capture_output=True)
    [path] = out.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(out / "site")
    return path, out / "site"


def test_the_wheel_holds_every_file_of_the_package(wheel):
    with zipfile.ZipFile(wheel[0]) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        [entry] = [archive.read(name).decode() for name in archive.namelist() if name.endswith("entry_points.txt")]
    there = {path for path in (ROOT / "kit").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert held == {path.relative_to(ROOT).as_posix() for path in there}
    assert {
        "kit/py.typed",
        "kit/recipes/exp5.yaml",
        "kit/kernel/cells_after_predict.txt",
        "kit/report/assets/page.html",
    } <= held
    assert "kit = kit.cli:main" in entry


VERBS = [["--version"], ["recipes"], ["demo", "--out", "d", "--train", "2", "--test", "1", "--size", "64"]]
VERBS += [["stats", "--data", "d"]]


def test_it_runs_from_anywhere(wheel, tmp_path):
    code = f"""
import sys
from kit.cli import main
for arguments in {VERBS}:
    sys.argv = ["kit", *arguments]
    try:
        main()
    except SystemExit as end:
        assert end.code == 0, arguments
"""
    place = os.environ | {"PYTHONPATH": str(wheel[1]), "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    version, *rest = done.stdout.splitlines()
    assert version == f"kit {wheel[0].name.split('-')[1]}"
    assert any(line.startswith("exp5 ") for line in rest)
    assert "d: 2 training and 1 test images" in rest
    assert rest[-1]


def test_importing_the_augmentation_asks_no_server():
    code = """
import socket, sys
asked = []
watched = ("socket.connect", "socket.getaddrinfo")
sys.addaudithook(lambda event, arguments: event in watched and asked.append(arguments))
import kit.data.augmentation
print(asked)
socket.getaddrinfo("127.0.0.1", 80)
print(len(asked))
"""
    clean = {name: value for name, value in os.environ.items() if "ALBUMENTATIONS" not in name}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "1"]
