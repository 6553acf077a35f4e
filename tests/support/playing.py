"""Runs a kernel in one layout, and repairs the manifest of a changed one."""

from kit.core import files
from kit.kernel import environment, rehearsal
from kit.kernel.rehearsal import LAYOUTS
from kit.kernel.sandbox import Sandbox


def seal(kernel):
    """Makes manifest and script match a changed bundle."""
    content = files.read_json(kernel.manifest)
    paths = [path for path in kernel.bundle.iterdir() if path.name != "manifest.json"]
    old = files.sha256(kernel.manifest)
    files.write_json(kernel.manifest, content | {"files": {path.name: files.sha256(path) for path in paths}})
    kernel.script.write_text(kernel.script.read_text().replace(old, files.sha256(kernel.manifest)))


def play(kernel, images, folder, form=LAYOUTS[0]):
    """Runs the kernel in one layout, on this machine's packages; returns its rows and its output."""
    sandbox = Sandbox(folder, environment.local(folder / "image"))
    rehearsal.lay_out(sandbox.kaggle / "input", kernel, "siim", list(images), images, form)
    return rehearsal.play(sandbox, kernel, form)
