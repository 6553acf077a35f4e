"""A kernel's settings on Kaggle: kernel-metadata.json, written and checked."""

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import ConfigDict

from kit.core.documents import Document, read_document
from kit.core.errors import KitError
from kit.core.files import read_text

ACCOUNT = "your-account"
"""Placeholder for the owner's account, which a push replaces."""
COMPETITION = "siim-acr-pneumothorax-segmentation"
GPU = "NvidiaTeslaT4"
"""The machine to request: Kaggle's default GPU is a P100, which the image's CUDA libraries do not support."""


class Metadata(Document):
    """Content of kernel-metadata.json. Unknown keys are refused, since Kaggle silently ignores misspelt ones."""

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
    datasets: Sequence[str],
    competitions: Sequence[str],
    kernels: Sequence[str] = (),
    *,
    gpu: bool,
) -> Metadata:
    """Makes the metadata of a kernel. `enable_internet` is always written, since Kaggle's default is true.

    Args:
        datasets: Data sets to attach, each as `OWNER/NAME`; the first is the kernel's own.
        competitions: Names of the competitions to attach.
        kernels: Kernels whose last output to attach, each as `OWNER/NAME`.
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
        docker_image_pinning_type="original",  # all versions run on the image of the first
        enable_internet=False,
        dataset_sources=list(datasets),
        competition_sources=list(competitions),
        kernel_sources=list(kernels),
        model_sources=[],
    )


def read(path: Path) -> Metadata:
    """Reads a kernel-metadata.json.

    Raises:
        KitError: a key is missing or unknown, or has a value of another type.
    """
    return read_document(path, Metadata, "build the kernel again")


def check(path: Path, dataset: str, code: Path) -> Metadata:
    """Reads a kernel's metadata and checks that the kernel is private, offline, and has the inputs that its code reads.

    Args:
        path: Path to the kernel-metadata.json.
        dataset: Name of the kernel's own data set.
        code: The kernel's script or notebook.

    Raises:
        KitError: it is not.
    """
    about = read(path)
    owner, _, slug = about.id.partition("/")
    datasets = [f"{owner}/{dataset}", *about.dataset_sources[1:]]
    expected = make(slug, code.name, owner, datasets, about.competition_sources, gpu=about.enable_gpu)
    for key in ("enable_internet", "is_private", "code_file", "kernel_type", "dataset_sources"):
        value, right = getattr(about, key), getattr(expected, key)
        if value != right:
            raise KitError(f"{path}: {key} is {value!r}, not {right!r}: build the kernel again")
    match = re.search(r'COMPETITION = \\?"([^"\\]*)', read_text(code))  # a notebook's quotes are escaped
    if match and about.competition_sources[:1] != [match[1]]:
        raise KitError(
            f"{path}: competition_sources is {about.competition_sources}, which is not what {code.name} looks for:"
            " correct competition in kaggle.yaml and build the kernel again"
        )
    return about
