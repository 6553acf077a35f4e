"""Kills submissions, pushes and trainings at random moments, and holds the server to one of each.

    python tests/kaggle/kills.py 100 7 train    # least number of kills of each kind, seed, kinds (default: all)

Attempts are forked, so that kills fall on the work and not on the imports. After one to three kills the same command
runs to its end; where it says that an outcome is not known, it is run again, as a person would.
"""

import contextlib
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Collection
from pathlib import Path
from unittest.mock import patch

sys.path[:0] = [str(Path(__file__).parents[1] / "support"), str(Path(__file__).parents[2])]

import lungs  # noqa: E402  a script finds the helpers and the kit beside it
import made_kernel  # noqa: E402
import trained_there  # noqa: E402
from forked import forked  # noqa: E402
from kaggle_fixtures import Kaggle  # noqa: E402  which sends the client here when it is imported
from kaggle_server import TOKEN, zipped  # noqa: E402

from kit.kaggle.client import connect  # noqa: E402
from kit.submissions import kaggle  # noqa: E402
from kit.workflows import train_on_kaggle  # noqa: E402

IMPORTED = kaggle, train_on_kaggle
"""Modules that attempts need, imported before they are forked."""
ATTEMPTS = {"submit": lambda: lungs.main(Path.cwd()), "push": made_kernel.main, "train": trained_there.main}
SESSIONS = 3
"""Number of sessions of a training."""


def attempt(kind: str, kill_after: float = math.inf) -> int:
    """Runs an attempt in the working folder and returns its exit code; -9 if the kill came in time."""
    pids: list[int] = []

    def work() -> None:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            ATTEMPTS[kind]()

    def kill() -> None:
        while not pids:
            time.sleep(0.001)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pids[0], signal.SIGKILL)

    timer = threading.Timer(min(kill_after, threading.TIMEOUT_MAX), kill)
    timer.start()
    try:
        return forked(work, pids)
    finally:
        timer.cancel()


def main(kills: int, seed: int = 0, kinds: Collection[str] = tuple(ATTEMPTS)) -> dict[str, int]:
    """Kills at least `kills` submissions, pushes and trainings; returns the number of kills of each kind.

    Raises:
        AssertionError: there is not exactly one submission, one version, or one version per session of a training; a
            version was saved while another ran; or the weights of a session are missing in the end.
    """
    server = Kaggle()
    server.mirrors["ada/lungs"] = zipped({})
    dice = random.Random(seed)
    killed = dict.fromkeys(kinds, 0)
    with tempfile.TemporaryDirectory() as home, contextlib.chdir(home):
        variables = {"KAGGLE_API_TOKEN": TOKEN, "HOME": home, "KAGGLE_CONFIG_DIR": home}
        with patch.dict(os.environ, variables | {"HTTP_PROXY": server.url, "HTTPS_PROXY": server.url}):
            connect()
            data = trained_there.write(Path(tempfile.mkdtemp(dir=home)))
            for kind in kinds:
                seconds = 0.0  # duration of the first attempt, which is not killed; kills fall at random moments in it
                while killed[kind] < kills:
                    os.chdir(tempfile.mkdtemp(dir=home))
                    made_kernel.write()
                    csv = lungs.submission(Path("csv")).read_bytes()
                    server.run_kernel = lambda request, csv=csv: {"submission.csv": csv}
                    if kind == "train":
                        shutil.copytree(data, Path.cwd(), dirs_exist_ok=True)
                        server.run_kernel = trained_there.chained(server, SESSIONS)
                    for state in (server.submissions, server.datasets, server.dataset_times, server.kernels):
                        state.clear()
                    for _ in range(dice.randint(1, 3) if seconds else 0):
                        killed[kind] += attempt(kind, dice.uniform(0, seconds)) == -signal.SIGKILL
                    begun = time.monotonic()
                    endings = [attempt(kind)]
                    seconds = seconds or time.monotonic() - begun
                    while endings[-1] == 2 and len(endings) < 4:
                        endings.append(attempt(kind))
                    assert endings[-1] == 0, endings
                    if kind == "submit":
                        assert len(server.submissions) == 1, [one["description"] for one in server.submissions]
                    else:
                        assert [len(versions) for versions in server.datasets.values()] == [1]
                        (versions,) = server.kernels.values()
                        assert len(versions) == (SESSIONS if kind == "train" else 1)
                    if kind == "train":
                        weights = Path("runs/tiny/small", trained_there.WEIGHTS)
                        assert trained_there.BESIDE not in [one["output"] for one in versions]
                        assert weights.read_bytes() == trained_there.chain(SESSIONS)
                        assert [path.name for path in Path("runs/tiny").iterdir()] == ["small"]
                    print(f"{kind}: {killed[kind]} of {kills} kills", file=sys.stderr, flush=True)
    server.shutdown()
    server.server_close()
    return killed


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    print(main(*numbers, kinds=[word for word in sys.argv[1:] if not word.isdecimal()] or tuple(ATTEMPTS)))
