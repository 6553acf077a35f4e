"""A stand-in for Kaggle's machine: its packages and folders, no network, and no access to this machine's files."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kit.core.errors import KitError
from kit.kernel.environment import Environment

REHEARSAL = "KIT_REHEARSAL"
"""Environment variable that marks a rehearsal, which needs no GPU."""
SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "usr", "etc")
"""Folders of this machine that the kernel can read but not change."""
ENTER = """
set -e
root=$1 kaggle=$2 visible=$3 venv=$4
mount -t tmpfs none "$root"
show() { mkdir -p "$root$1"; mount --bind "$1" "$root$1"; mount -o remount,bind,ro "$root$1"; }
for name in $SYSTEM; do
    if [ -L "/$name" ]; then cp -P "/$name" "$root/$name"; elif [ -d "/$name" ]; then show "/$name"; fi
done
for name in dev proc sys; do mkdir "$root/$name"; mount --rbind "/$name" "$root/$name"; done
mount -t tmpfs none "$root/dev/shm"
echo "$visible" | tr : '\\n' | while read -r path; do show "$path"; done
mkdir -p "$root/tmp" "$root/kaggle" "$root$venv"
mount --bind "$venv" "$root$venv"
mount --bind "$kaggle" "$root/kaggle"
mount --bind "$kaggle/input" "$root/kaggle/input"
mount -o remount,bind,ro "$root/kaggle/input"
exec chroot "$root" /bin/sh -c 'cd /kaggle/working && exec "$0" /kaggle/src/script.py' "$venv/bin/python"
"""
"""Builds a root in new namespaces: the inputs are read-only, the project is invisible, and there is no network."""
GUARD = """
import sys
NETWORK = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}
def note(event, args):
    if event in NETWORK and not (event == "socket.connect" and isinstance(args[1], (str, bytes))):
        with open("/kaggle/network.txt", "a", encoding="utf-8") as log:
            log.write(f"{event} {args[-1] if event == 'socket.connect' else args[0]}\\n")
sys.addaudithook(note)
"""
"""Runs at the start of every Python process in the sandbox, and logs each attempt to use the network."""


@dataclass(frozen=True)
class Sandbox:
    """A folder with a Python environment like that of Kaggle's image, and a folder that becomes /kaggle."""

    folder: Path
    environment: Environment

    @property
    def kaggle(self) -> Path:
        """The folder that becomes /kaggle."""
        return self.folder / "kaggle"

    @property
    def venv(self) -> Path:
        """The virtual environment on top of the packages."""
        return self.folder / "venv"

    @property
    def network_log(self) -> Path:
        """Log of the kernel's attempts to use the network, a line each."""
        return self.kaggle / "network.txt"

    def run(self, script: str, *, rerun: bool = False) -> subprocess.CompletedProcess[str]:
        """Runs a kernel's code as Kaggle would, with its inputs in `kaggle/input`.

        Args:
            rerun: Whether to run it as on the hidden test images of a competition.
        """
        if not self.venv.exists():
            self._make_environment()
        for name in ("working", "src"):
            shutil.rmtree(self.kaggle / name, ignore_errors=True)
            (self.kaggle / name).mkdir(parents=True)
        (self.kaggle / "src" / "script.py").write_text(script, "utf-8")
        root = self.folder / "root"
        root.mkdir(exist_ok=True)
        base = self.environment.python.parent.parent
        visible = [base, self.environment.packages, self.environment.linked]
        command = ["unshare", "--map-root-user", "--mount", "--net", "/bin/sh", "-c", ENTER, "sh"]
        command += [str(root), str(self.kaggle), ":".join(map(str, visible)), str(self.venv)]
        variables = {
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": "/tmp",
            "LANG": "C.UTF-8",
            "KAGGLE_KERNEL_RUN_TYPE": "Batch",
            "KAGGLE_IS_COMPETITION_RERUN": "1" if rerun else "",
            REHEARSAL: "1",
            "MPLBACKEND": "agg",
            "OMP_WAIT_POLICY": "PASSIVE",  # a spinning thread takes the core that another thread needs
            "SYSTEM": " ".join(SYSTEM),
        }
        return subprocess.run(
            command,
            env=variables,
            cwd=self.kaggle / "working",
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def _make_environment(self) -> None:
        subprocess.run([str(self.environment.python), "-m", "venv", "--without-pip", str(self.venv)], check=True)
        site = next(self.venv.glob("lib/python*/site-packages"))
        (site / "packages.pth").write_text(f"{self.environment.packages}\nimport kaggle_guard\n")
        (site / "kaggle_guard.py").write_text(GUARD)


def require_isolation(code: Path) -> None:
    """Refuses to rehearse a kernel's code on a system without namespaces."""
    if not can_isolate():
        raise KitError(f"{code}: cannot be rehearsed: this system gives no namespaces (`unshare` fails)")


def can_isolate() -> bool:
    """Whether this system lets users create namespaces."""
    trial = ["unshare", "--map-root-user", "--mount", "--net", "mount", "-t", "tmpfs", "none", "/tmp"]
    try:
        return subprocess.run(trial, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
