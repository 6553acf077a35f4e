"""A stand-in for the machine that Kaggle runs a kernel on: its packages, its folders, no network, nothing of ours."""

import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from kit.kernel import kaggle_image

SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "usr", "etc", "dev", "proc", "sys")
"""Folders of this machine that a kernel sees."""
ENTER = """
set -e
root=$1 kaggle=$2 visible=$3 python=$4
mount -t tmpfs none "$root"
for name in $SYSTEM; do
    if [ -L "/$name" ]; then cp -P "/$name" "$root/$name"
    elif [ -d "/$name" ]; then mkdir "$root/$name"; mount --rbind "/$name" "$root/$name"; fi
done
echo "$visible" | tr : '\\n' | while read -r path; do
    mkdir -p "$root$path"; mount --bind "$path" "$root$path"
done
mkdir -p "$root/tmp" "$root/kaggle"
mount --bind "$kaggle" "$root/kaggle"
exec chroot "$root" /bin/sh -c 'cd /kaggle/working && exec "$0" /kaggle/src/script.py' "$python"
"""
"""Builds a root in namespaces of its own: /kaggle is the sandbox's, the project cannot be seen, no address answers."""
GUARD = """
import os, sys
NETWORK = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}
HIDDEN, SEEN = %(hidden)r, %(seen)r
def refuse(event, args):
    if event in NETWORK and not (event == "socket.connect" and isinstance(args[1], (str, bytes))):
        with open(%(log)r, "a") as log:
            log.write(f"{event} {args[-1] if event == 'socket.connect' else args[0]}\\n")
        raise OSError("a kernel has no network")
    if event == "open" and HIDDEN and isinstance(args[0], str) and args[0].startswith(HIDDEN):
        if not args[0].startswith(SEEN):
            raise FileNotFoundError(args[0])
sys.addaudithook(refuse)
"""
"""Runs at the start of every Python in the sandbox; what reaches for the network is refused and written down."""


@dataclass(frozen=True)
class Sandbox:
    """A folder with a Python environment like that of Kaggle's image, and a `kaggle` folder for its /kaggle."""

    folder: Path
    namespaces: bool
    """The system gives namespaces: the kernel sees a root of its own. Else it is only watched."""

    @property
    def kaggle(self) -> Path:
        """Stands for /kaggle."""
        return self.folder / "kaggle"

    @property
    def environment(self) -> Path:
        """The virtual environment, made anew for each run since a kernel installs into it."""
        return self.folder / "environment"

    @property
    def network_log(self) -> Path:
        """What the kernel tried to reach, a line each."""
        return self.environment / "network.txt"

    def run(self, script: Path) -> subprocess.CompletedProcess[str]:
        """Runs a kernel's file as Kaggle would; its inputs lie in `kaggle/input`."""
        self._make_environment()
        for name in ("working", "src"):
            shutil.rmtree(self.kaggle / name, ignore_errors=True)
            (self.kaggle / name).mkdir(parents=True)
        shutil.copyfile(script, self.kaggle / "src" / "script.py")
        python = str(self.environment / "bin" / "python")
        variables = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "KAGGLE_KERNEL_RUN_TYPE": "Batch"}
        variables["OMP_WAIT_POLICY"] = "PASSIVE"  # A spinning thread takes the core that another one needs.
        if self.namespaces:
            root = self.folder / "root"
            root.mkdir(exist_ok=True)
            visible = [self.environment, Path(sys.base_prefix), _packages()]
            command = ["unshare", "--map-root-user", "--mount", "--net", "/bin/sh", "-c", ENTER, "sh"]
            command += [str(root), str(self.kaggle), ":".join(map(str, visible)), python]
            variables["SYSTEM"] = " ".join(SYSTEM)
            variables["PATH"] += ":/usr/sbin:/sbin"
        else:
            command = [python, str(self.kaggle / "src" / "script.py")]
            variables["KAGGLE_ROOT"] = str(self.kaggle)
        return subprocess.run(
            command,
            env=variables,
            cwd=self.kaggle / "working",
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def _make_environment(self) -> None:
        shutil.rmtree(self.environment, ignore_errors=True)
        venv.create(self.environment, symlinks=True)
        site = Path(sysconfig.get_path("purelib", "venv", {"base": self.environment, "platbase": self.environment}))
        for name in ("pip", *kaggle_image.provided()):
            tops = {file.parts[0] for file in metadata.files(name) or [] if file.parts[0] not in ("..", "__pycache__")}
            for top in tops:
                if not (site / top).exists() and (_packages() / top).exists():
                    (site / top).symlink_to(_packages() / top)
        hidden = "" if self.namespaces else f"{Path.cwd()}/"
        guard = GUARD % {"log": str(self.network_log), "hidden": hidden, "seen": (str(_packages()), str(self.folder))}
        (site / "kaggle_guard.py").write_text(guard)
        (site / "kaggle_guard.pth").write_text("import kaggle_guard\n")


def can_isolate() -> bool:
    """Whether this system gives a user namespaces of its own."""
    trial = ["unshare", "--map-root-user", "--mount", "--net", "mount", "-t", "tmpfs", "none", "/tmp"]
    try:
        return subprocess.run(trial, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def _packages() -> Path:
    return Path(sysconfig.get_path("purelib"))
