"""What Kaggle is told about a kernel: kernel-metadata.json, written and checked."""

from pathlib import Path
from typing import Any

from kit.core import files
from kit.core.errors import KitError

ACCOUNT = "your-account"
"""Stands for the owner until one is known; a push puts the real one there."""
COMPETITION = "siim-acr-pneumothorax-segmentation"
GPU = "NvidiaTeslaT4"
"""The machine to ask for: the default one for a GPU is a P100, which the image's CUDA libraries do not serve."""


def write(slug: str, dataset: str, code_file: str, competition: str, user: str, gpu: bool) -> dict[str, Any]:
    """What kernel-metadata.json holds. Kaggle's default for the internet is yes, so that it is always said."""
    return {
        "id": f"{user}/{slug}",
        "title": slug,
        "code_file": code_file,
        "language": "python",
        "kernel_type": "notebook" if code_file.endswith(".ipynb") else "script",
        "is_private": True,
        "enable_gpu": gpu,
        "enable_tpu": False,
        "machine_shape": GPU if gpu else "",
        "docker_image_pinning_type": "original",  # The image of the first version, for all that follow.
        "enable_internet": False,
        "dataset_sources": [f"{user}/{dataset}"],
        "competition_sources": [competition],
        "kernel_sources": [],
        "model_sources": [],
    }


def check(path: Path, slug: str, dataset: str, code: Path) -> dict[str, Any]:
    """The metadata of a kernel, if it is private, offline, and gets the inputs that its code looks for.

    Raises:
        KitError: it is not, or a key is missing or unknown, which Kaggle would pass over in silence.
    """
    about = files.read_json(path)
    user = str(about.get("id", "")).partition("/")[0]
    sources = about.get("competition_sources") or [""]
    wanted = write(slug, dataset, code.name, sources[0], user, bool(about.get("enable_gpu")))
    for key in sorted({*about, *wanted}):
        if key not in wanted or key not in about:
            raise KitError(f"{path}: key {key} is {'unknown' if key in about else 'missing'}: build the kernel anew")
    for key in ("enable_internet", "is_private", "code_file", "kernel_type", "dataset_sources"):
        if about[key] != wanted[key]:
            raise KitError(f"{path}: {key} is {about[key]!r}, not {wanted[key]!r}: build the kernel anew")
    if not sources[0] or f'COMPETITION = "{sources[0]}"' not in code.read_text().replace('\\"', '"'):
        raise KitError(
            f"{path}: competition_sources is {about['competition_sources']}, which is not what {code.name} looks for:"
            " correct competition in kaggle.yaml and build the kernel anew"
        )
    return about
