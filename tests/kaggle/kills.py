"""Kills submissions, pushes and trainings at random moments, and holds the server to one of each.

    python tests/kaggle/kills.py 100 7 train    # least number of kills of each kind, seed, kinds (default: all)

A process that has imported everything forks a child for each attempt, so that kills fall on the work and not on the
imports. After one to three kills the same command runs to its end; where it says that an outcome is not known, it is
run again, as a person would.
"""

import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "support"), str(Path(__file__).parents[2])]

KINDS = ("submit", "push", "train")
SESSIONS = 3
"""Number of sessions of a training."""


def attempt(kind: str, folder: Path) -> None:
    """One submission, push or training in the folder."""
    import lungs
    import made_kernel
    import trained_there

    os.chdir(folder)
    if kind == "submit":
        lungs.main(folder)
    elif kind == "push":
        made_kernel.main()
    else:
        trained_there.main()


def serve_forks() -> None:
    """Reads `KIND FOLDER SECONDS`, forks an attempt, kills it after SECONDS (inf: never) and prints its exit code."""
    import lungs
    import made_kernel
    import trained_there

    from kit.core.errors import KitError
    from kit.kaggle.client import connect
    from kit.kernel import push
    from kit.submissions import kaggle
    from kit.workflows import train_on_kaggle

    del lungs, made_kernel, trained_there, push, kaggle, train_on_kaggle
    connect()
    print("ready", flush=True)
    for line in sys.stdin:
        kind, folder, seconds = line.split()
        child = os.fork()
        if child == 0:
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
            try:
                attempt(kind, Path(folder))
            except KitError as error:
                print(error, file=sys.stderr, flush=True)
                os._exit(2)
            os._exit(0)
        if float(seconds) < math.inf:  # A child that has ended waits for its parent, so that the id is still its own.
            time.sleep(float(seconds))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


class Forks:
    """Runs attempts in a process that forks them."""

    def __init__(self) -> None:
        command = [sys.executable, __file__, "forks"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def run(self, kind: str, folder: Path, kill_after: float = math.inf) -> int:
        """Returns the exit code of an attempt, -9 if it was killed before its end."""
        print(kind, folder, kill_after, file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def main(kills: int, seed: int = 0, kinds: Collection[str] = KINDS) -> dict[str, int]:
    """Kills at least `kills` submissions, pushes and trainings each; returns the number of kills by kind.

    Raises:
        AssertionError: there is not exactly one submission, one version, or one version per session of a training; a
            version was saved while another ran; or the weights of a session are missing in the end.
    """
    import lungs
    import made_kernel
    import trained_there
    from kaggle_server import TOKEN, Kaggle, zipped

    server = Kaggle()
    server.mirrors["ada/lungs"] = zipped({})
    dice = random.Random(seed)
    killed = dict.fromkeys(kinds, 0)
    with tempfile.TemporaryDirectory() as home:
        variables = {"KAGGLE_API_ENVIRONMENT": "LOCALHOST", "KAGGLE_API_TOKEN": TOKEN, "HOME": home}
        variables |= {"KAGGLE_CONFIG_DIR": home, "HTTP_PROXY": server.url, "HTTPS_PROXY": server.url}
        os.environ.update(variables)
        forks = Forks()
        data = trained_there.write(Path(tempfile.mkdtemp(dir=home)))
        for kind in kinds:
            seconds = 0.0  # duration of the first attempt, which is not killed; kills fall at random moments within it
            while killed[kind] < kills:
                folder = Path(tempfile.mkdtemp(dir=home))
                os.chdir(folder)
                made_kernel.write()
                csv = lungs.submission(folder / "csv").read_bytes()
                server.run_kernel = lambda request, csv=csv: {"submission.csv": csv}
                if kind == "train":
                    shutil.copytree(data, folder, dirs_exist_ok=True)
                    server.run_kernel = trained_there.chained(server, SESSIONS)
                for state in (server.submissions, server.datasets, server.dataset_times, server.kernels):
                    state.clear()
                for _ in range(dice.randint(1, 3) if seconds else 0):
                    killed[kind] += forks.run(kind, folder, dice.uniform(0, seconds)) == -signal.SIGKILL
                begun = time.monotonic()
                endings = [forks.run(kind, folder)]
                seconds = seconds or time.monotonic() - begun
                while endings[-1] == 2 and len(endings) < 4:
                    time.sleep(0.6)
                    endings.append(forks.run(kind, folder))
                assert endings[-1] == 0, endings
                if kind == "submit":
                    assert len(server.submissions) == 1, [one["description"] for one in server.submissions]
                else:
                    assert [len(versions) for versions in server.datasets.values()] == [1]
                    (versions,) = server.kernels.values()
                    assert len(versions) == (SESSIONS if kind == "train" else 1)
                if kind == "train":
                    assert trained_there.BESIDE not in [one["output"] for one in versions]
                    assert Path("runs/tiny/small", trained_there.WEIGHTS).read_bytes() == trained_there.chain(SESSIONS)
                    assert [path.name for path in Path("runs/tiny").iterdir()] == ["small"]
                print(f"{kind}: {killed[kind]} of {kills} kills", file=sys.stderr, flush=True)
        forks.close()
    server.shutdown()
    server.server_close()
    return killed


if __name__ == "__main__":
    if sys.argv[1] == "forks":
        serve_forks()
    else:
        numbers = [int(word) for word in sys.argv[1:] if word.isdecimal()]
        print(main(*numbers, kinds=[word for word in sys.argv[1:] if not word.isdecimal()] or KINDS))
