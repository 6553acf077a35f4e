"""The rehearsal of a kernel that trains: sessions on a few phantoms, the first cut by its time limit.

It runs the code, packages and checks of the real kernel as Kaggle would, without a network, but on small data with a
small recipe. The second session must end with the same files, bit for bit, as one session without a time limit.
"""

import contextlib
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from kit import phantom, recipes
from kit.competition import layout
from kit.core import files
from kit.core.errors import KitError
from kit.core.logs import Say
from kit.data import folds
from kit.data.folds import Split
from kit.kernel import rehearsal, session, train_bundle
from kit.kernel.bundle import Kernel
from kit.kernel.environment import Environment
from kit.kernel.sandbox import Sandbox, require_isolation
from kit.kernel.session import Session
from kit.kernel.train_bundle import Work
from kit.run import Run

RECIPE: dict[str, Any] = {
    "name": "rehearsal",
    "folds": {"count": 2},
    "network": {"encoder": "tu-test_resnet", "encoder_weights": None, "decoder_channels": [8, 8, 8, 8, 8]},
    "stages": [
        {"size": 32, "epochs": 40, "batch_size": 4, "keep": {"swa": {"last": 2}}},
        {"size": 64, "epochs": 2, "batch_size": 4},
    ],
}
SHARES = (0.7, 0.85, 0.55)
"""Time limits to try until one cuts a session that has trained something, as shares of an uncut session's time."""
_TIMES = (".csv", ".txt", ".json", "tfevents")
"""Parts of the names of files that may differ: logs and curves contain times."""


def rehearse(kernel: Kernel, environment: Environment, say: Say) -> None:
    """Runs sessions of the training kernel in a sandbox.

    Raises:
        KitError: the kernel cannot be rehearsed here, a session fails or tries to use the network, or the run that was
            cut ends with other files than the uncut one.
    """
    require_isolation(kernel.code)
    with tempfile.TemporaryDirectory(prefix="kit-rehearsal-") as name, contextlib.chdir(name):
        stage = _Stage(Sandbox(Path("sandbox").resolve(), environment))
        start = time.monotonic()
        whole = stage.play(1, 86400.0)
        seconds = time.monotonic() - start
        stage.require(kernel, whole, "done")
        expected = _hash_results(stage.output / "runs")
        say(f"one session without a limit: {len(whole.files)} files in {seconds:.0f} s")
        for share in SHARES:
            first = stage.play(1, share * seconds)
            if first.state == "cut":
                break
        stage.require(kernel, first, "cut")
        say(f"a session that is cut after {share * seconds:.0f} s: {len(first.files)} files")
        second = stage.play(2, 86400.0)
        stage.require(kernel, second, "done")
        hashes = _hash_results(stage.output / "runs")
        if different := [name for name in sorted({*expected, *hashes}) if expected.get(name) != hashes.get(name)]:
            raise KitError(f"{kernel.code}: {different[0]} of a run that was cut differs from that of an uncut run")
        say(f"the session that resumes from it: the same {len(expected)} weights, maps and masks, bit for bit")


class _Stage:
    """The phantoms, the recipe and the sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        phantom.write("data/phantoms", train=10, test=3, size=64)
        competition, fold_file = layout.open_folder("data/phantoms"), Path("folds/phantoms.csv")
        folds.write(fold_file, folds.make(competition, Split(2)), {})
        recipe = recipes.parse(RECIPE, "the rehearsal's recipe")
        self._work = Work(Run(Path("runs/phantoms/rehearsal")), recipe, competition, fold_file)
        self._log = ""

    @property
    def output(self) -> Path:
        """Folder of the last session's output."""
        return self._sandbox.kaggle / "working"

    def play(self, number: int, limit: float) -> Session:
        """Runs a session; from number 2 on, the output of the last session is attached.

        Raises:
            KitError: the session fails, or tries to use the network.
        """
        before = Path("before").resolve()
        shutil.rmtree(before, ignore_errors=True)
        if number > 1:
            self.output.rename(before)
        shutil.rmtree(self._sandbox.kaggle, ignore_errors=True)
        kernel = train_bundle.build(self._work, ["somebody/images"], time_limit=limit, session=number)
        inputs = self._sandbox.kaggle / "input"  # each input in another of Kaggle's layouts
        shutil.copytree(kernel.bundle, inputs / "datasets" / "somebody" / kernel.dataset)
        rehearsal.link(inputs / "images", {path.name: path for _, path in self._work.images.values()})
        if number > 1:
            before.rename(inputs / kernel.slug)
        text = files.read_text(kernel.code)
        self._log = rehearsal.run_once(self._sandbox, kernel, text, f"session {number}")
        return session.read(self.output / session.NAME)

    def require(self, kernel: Kernel, ended: Session, state: str) -> None:
        """Refuses a session that has ended in another state."""
        if ended.state != state:
            details = "\n  ".join([ended.reason, *self._log.splitlines()[-15:]])
            raise KitError(
                f"{kernel.code}: session {ended.number} of its rehearsal is {ended.state}, not {state}: {details}"
            )


def _hash_results(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file that must not depend on where a session was cut."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    timeless = ("thresholds.json", "submission.csv")
    results = (path for path in paths if path.name in timeless or not any(word in path.name for word in _TIMES))
    return {path.relative_to(folder).as_posix(): files.sha256(path) for path in results}
