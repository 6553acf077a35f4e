"""The packages of Kaggle's Python image (August 2026), and those that a kernel must bring along."""

PYTHON = "3.12"
PINNED = {
    "torch": "2.10.0",
    "torchvision": "0.25.0",
    "timm": "1.0.26",
    "albumentations": "2.0.8",
    "opencv-python-headless": "4.13.0.*",
    "numpy": "2.0.2",
    "pandas": "2.2.2",
}
"""Packages of the image whose versions are known."""
UNPINNED = (
    "pydicom",
    "pydantic",
    "PyYAML",
    "safetensors",
    "tqdm",
    "scipy",
    "scikit-learn",
    "matplotlib",
    "numba",
    "pillow",
    "filelock",
    "fsspec",
    "packaging",
    "rich",
    "tensorboard",
    "typing-extensions",
)
"""Packages of the image whose versions are unknown."""
BROUGHT = ("segmentation-models-pytorch",)
"""Packages that prediction imports and the image lacks; the image has everything that they require."""
BROUGHT_TO_TRAIN = (*BROUGHT, "lightning-fabric", "lightning-utilities", "typer", "shellingham", "annotated-doc")
"""Packages that training imports and the image lacks."""
ABSENT = (*BROUGHT_TO_TRAIN, "pylibjpeg", "pylibjpeg-openjpeg", "kaggle", "kagglesdk")
"""Packages of the kit's own environment that the image lacks."""
