"""What Kaggle is told about a kernel: kernel-metadata.json, written and checked."""

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import ConfigDict

from kit.core.documents import Document, read_document
from kit.core.errors import KitError
from kit.core.files import read_text

ACCOUNT = "your-account"
"""Stands for the owner until one is known; a push puts the real one there."""
COMPETITION = "siim-acr-pneumothorax-segmentation"
GPU = "NvidiaTeslaT4"
"""The machine to ask for: the default one for a GPU is a P100, which the image's CUDA libraries do not serve."""


class Metadata(Document):
    """What kernel-metadata.json holds; Kaggle would pass over a misspelt key in silence."""

    model_config = ConfigDict(extra="forbid")

    id: str
    """`OWNER/SLUG`."""
    title: str
    code_file: str
    language: str
    kernel_type: str
    is_private: bool
    enable_gpu: bool
    enable_tpu: bool
    machine_shape: str
    docker_image_pinning_type: str
    enable_internet: bool
    dataset_sources: list[str]
    competition_sources: list[str]
    kernel_sources: list[str]
    model_sources: list[str]


def make(
    slug: str,
    code_file: str,
    user: str,
    gpu: bool,
    datasets: Sequence[str],
    competitions: Sequence[str],
    kernels: Sequence[str] = (),
) -> Metadata:
    """The metadata of a kernel. Kaggle's default for the internet is yes, so that it is always said.

    Args:
        datasets: Each `OWNER/NAME` that it gets; the first is its own.
        competitions: Names of those whose data it gets.
        kernels: Each `OWNER/NAME` whose last output it gets.
    """
    return Metadata(
        id=f"{user}/{slug}",
        title=slug,
        code_file=code_file,
        language="python",
        kernel_type="notebook" if code_file.endswith(".ipynb") else "script",
        is_private=True,
        enable_gpu=gpu,
        enable_tpu=False,
        machine_shape=GPU if gpu else "",
        docker_image_pinning_type="original",  # The image of the first version, for all that follow.
        enable_internet=False,
        dataset_sources=list(datasets),
        competition_sources=list(competitions),
        kernel_sources=list(kernels),
        model_sources=[],
    )


def read(path: Path) -> Metadata:
    """The content of a kernel-metadata.json.

    Raises:
        KitError: a key is missing or unknown, or holds something else.
    """
    return read_document(path, Metadata, "build the kernel again")


def check(path: Path, dataset: str, code: Path) -> Metadata:
    """The metadata of a kernel, if it is private, offline, and gets the inputs that its code looks for.

    Args:
        path: Of the file.
        dataset: Name of its own data set.
        code: Its script or notebook.
    """
    about = read(path)
    owner, _, slug = about.id.partition("/")
    own = [f"{owner}/{dataset}", *about.dataset_sources[1:]]
    wanted = make(slug, code.name, owner, about.enable_gpu, own, about.competition_sources)
    for key in ("enable_internet", "is_private", "code_file", "kernel_type", "dataset_sources"):
        found, expected = getattr(about, key), getattr(wanted, key)
        if found != expected:
            raise KitError(f"{path}: {key} is {found!r}, not {expected!r}: build the kernel again")
    looked_for = re.search(r'COMPETITION = \\?"([^"\\]*)', read_text(code))  # a notebook's quotes are escaped
    if looked_for and about.competition_sources[:1] != [looked_for[1]]:
        raise KitError(
            f"{path}: competition_sources is {about.competition_sources}, which is not what {code.name} looks for:"
            " correct competition in kaggle.yaml and build the kernel again"
        )
    return about
