"""Names and steps of a push, and what has to be true after one."""

from kit.core import files
from kit.kernel import identity

DATASET, KERNEL = "ada/kit-lungs-exp5-files", "ada/kit-lungs-exp5"

ACTS = ["CreateDataset", "SaveKernel"]

STEPS = ["GetDatasetStatus", "StartBlobUpload", "PUT", *ACTS, "ListDatasetFiles", "GetKernelSessionStatus"]

STEPS += ["ListKernelSessionOutput", "GET"]

PASSING = [429, 503, "lost", "cut", "html"]
"""Faults that the kit handles differently; similar faults are tested on single requests of the client."""


def assert_once(site, kernel, path):
    assert [{path.name: path.read_bytes() for path in kernel.bundle.iterdir()}] == site.datasets[DATASET]
    (version,) = site.kernels[KERNEL]
    assert version["text"] == identity.stamped(kernel.code.read_text(), files.read_json(kernel.metadata))
    assert path.read_bytes() == version["output"]["submission.csv"]
