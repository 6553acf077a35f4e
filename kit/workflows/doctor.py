"""The verb `doctor`: checks of the machine that the kit runs on, with advice."""

import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kit.core.errors import KitError
from kit.core.parallel import cores
from kit.core.version import installed
from kit.kaggle import credentials
from kit.workflows.workspace import Workspace

GIB = 2**30
_PACKAGES = ("torch", "torchvision", "segmentation-models-pytorch", "timm", "lightning-fabric", "numpy", "pydicom")
_NEEDED_DISK, _NEEDED_MEMORY = 20 * GIB, 4 * GIB
_WEIGHTS, _KAGGLE = "huggingface.co", "www.kaggle.com"
INPUT, DRIVE = Path("/kaggle/input"), Path("/content/drive/MyDrive")
"""Folder of a notebook's attached data on Kaggle, and of the mounted drive on Colab."""


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    what: str
    found: str
    advice: str = ""
    """What to do; empty if all is well."""
    serious: bool = False
    """Whether the kit cannot work with this."""

    def __str__(self) -> str:
        level = "error" if self.serious else "note" if self.advice else "ok"
        return f"{level:5}  {self.what:15} {self.found}" + (f": {self.advice}" if self.advice else "")


def examine(workspace: Workspace, reach: Callable[[str], bool] | None = None) -> Iterator[Check]:
    """Checks the machine; writes nothing and shows no secret.

    Args:
        workspace: The disk of this workspace is checked.
        reach: Tells whether a host can be reached; default: one attempt of three seconds.
    """
    version, old = ".".join(map(str, sys.version_info[:3])), sys.version_info < (3, 11)
    system = f"{version} on {platform.system()} {platform.machine()}"
    yield Check("python", system, "install 3.11" if old else "", serious=old)
    yield _packages()
    yield _decoders()
    yield _device()
    yield _threads()
    yield _memory()
    free = shutil.disk_usage(workspace.root).free
    roomy = free > _NEEDED_DISK
    advice = "" if roomy else "exp5 on the whole competition wants about 20 GiB: see docs/scale.md"
    yield Check("disk", f"{free / GIB:.0f} GiB free in {workspace.root.resolve()}", advice)
    yield from _mounts()
    answers = {host: (reach or _reachable)(host) for host in (_WEIGHTS, _KAGGLE)}
    reached = [host for host, answered in answers.items() if answered]
    advice = "" if reached else "only downloads and Kaggle need it"
    yield Check("internet", f"{' and '.join(reached)} can be reached" if reached else "none", advice)
    yield _encoder_weights(reachable=answers[_WEIGHTS])
    yield _kaggle()


def _packages() -> Check:
    """Compares the installed versions with the pinned ones."""
    versions = {name: installed(name) for name in _PACKAGES}
    missing = [name for name, version in versions.items() if version is None]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    if missing:
        advice = f"{', '.join(missing)} missing: pip install -r requirements.txt"
        return Check("packages", listed, advice, serious=True)
    path = Path(__file__).parents[2] / "requirements.txt"
    pins = dict(line.split("==") for line in path.read_text().split() if "==" in line) if path.is_file() else {}
    plain = {name: (version or "").partition("+")[0] for name, version in versions.items()}  # without `+cu130`
    other = [f"{name} {pins[name]}" for name in _PACKAGES if pins.get(name, plain[name]) != plain[name]]
    return Check("packages", listed, f"requirements.txt has {', '.join(other)}" if other else "")


def _decoders() -> Check:
    from pydicom.pixels import get_decoder
    from pydicom.uid import JPEG2000, JPEGBaseline8Bit, RLELossless

    kinds = {"JPEG": JPEGBaseline8Bit, "JPEG 2000": JPEG2000, "RLE": RLELossless}
    available = [name for name, syntax in kinds.items() if get_decoder(syntax).is_available]
    missing = [name for name in kinds if name not in available]
    advice = f"{', '.join(missing)} cannot be decoded: pip install -r requirements.txt" if missing else ""
    return Check("DICOM decoders", ", ".join(available), advice)


def _device() -> Check:
    """Runs one operation on each GPU, since it may fail on a GPU that torch lists."""
    import torch

    if not torch.cuda.is_available():
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
        return Check(
            "GPU",
            f"none (torch is built for {built})",
            "a CPU trains demo, small, large and their ensembles; docs/how-to/no-gpu.md has the others",
        )
    name, total = torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory
    count = torch.cuda.device_count()
    gpus = f"{count} × {name}, {total / GIB:.0f} GiB, CUDA {torch.version.cuda}"
    for number in range(count):
        try:
            ones = torch.ones(64, 64, device=f"cuda:{number}")
            right = float((ones @ ones).sum()) == 64**3
        except RuntimeError as error:
            problem = f"the first operation of GPU {number} fails ({str(error).splitlines()[0]})"
            return Check("GPU", gpus, f"{problem}: install a torch that is built for it", serious=True)
        if not right:
            advice = f"GPU {number} computes wrong results: try another GPU or driver"
            return Check("GPU", gpus, advice, serious=True)
    return Check("GPU", f"{gpus}; an operation on each is right")


def _threads() -> Check:
    import torch

    available = cores()
    threads = torch.get_num_threads()
    waits = os.environ.get("OMP_WAIT_POLICY", "unset")
    advice = f"more than there are cores: export OMP_NUM_THREADS={available}" if threads > available else ""
    return Check("threads", f"{threads} of torch on {available} cores, OMP_WAIT_POLICY {waits}", advice)


def _memory() -> Check:
    """Reads the free memory, as far as the limit of the container allows it."""
    table = Path("/proc/meminfo")
    if not table.is_file():
        return Check("memory", "not known on this system")
    lines = dict(line.split(":") for line in table.read_text().splitlines())
    total, free = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    if text.isdigit():
        total, free = min(total, int(text)), min(free, int(text))
    advice = "" if free > _NEEDED_MEMORY else "the demo wants 4 GiB: close other programs"
    return Check("memory", f"{free / GIB:.1f} of {total / GIB:.1f} GiB free", advice)


def _mounts() -> Iterator[Check]:
    """Lists the data attached to a notebook on Kaggle, and whether the drive is mounted on Colab."""
    if INPUT.is_dir():
        paths = [path for form in ("*", "datasets/*/*", "competitions/*") for path in sorted(INPUT.glob(form))]
        inputs = [path for path in paths if path.parent != INPUT or path.name not in ("datasets", "competitions")]
        listed = ", ".join(path.relative_to(INPUT).as_posix() for path in inputs)
        yield Check("mounts", f"{INPUT}: {listed or 'empty'}", "" if inputs else "attach the images (Add Input)")
    if DRIVE.parents[1].is_dir():
        mounted = DRIVE.is_dir()
        advice = "" if mounted else "google.colab.drive.mount('/content/drive') in a cell mounts it"
        yield Check("mounts", f"{DRIVE}: {'mounted' if mounted else 'not mounted'}", advice)


def _encoder_weights(*, reachable: bool) -> Check:
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    if cached := sorted(home.glob("hub/models--*resnet34*")):
        return Check("encoder weights", f"ResNet-34 is in {cached[0].parent}")
    if reachable:
        return Check("encoder weights", f"not here yet, {_WEIGHTS} answers: the first training fetches them")
    advice = 'give a file, SET="network.encoder_weights=FILE" (the recipe demo needs none)'
    return Check("encoder weights", f"not here, and {_WEIGHTS} cannot be reached", advice)


def _reachable(host: str) -> bool:
    try:
        with socket.create_connection((host, 443), timeout=3):
            return True
    except OSError:
        return False


def _kaggle() -> Check:
    """Looks for credentials, without showing or using them."""
    paths = credentials.sources()
    if not paths:
        return Check("Kaggle", "no credentials", f"to submit there, {credentials.HOW}")
    advice = "".join(f"other users can read it: chmod 600 {path}" for path in credentials.readable_by_others()[:1])
    return Check("Kaggle", f"credentials in {paths[0]} (not shown, not tried)", advice)


def refuse(checks: list[Check]) -> None:
    """Raises an error if the kit cannot work on this machine."""
    if serious := [check.what for check in checks if check.serious]:
        raise KitError(f"this machine cannot run the kit: {', '.join(serious)}: see the lines above")
