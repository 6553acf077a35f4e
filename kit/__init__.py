"""The solution kit for pneumothorax segmentation in chest X-rays (SIIM-ACR challenge).

Functions for notebooks are imported at their first use, so that `import kit` is fast:

    kit.open_data(folder)                images, labels and ground truth of a competition's folder
    kit.rle                              run-length encoding of masks: `encode`, `decode`
    kit.folds                            `make`, `read` and `write` folds that never share a patient
    kit.train(data, recipe)              trains a model; start with `data/demo` and `demo`
    kit.load(run).predict(images)        probability and mask of one or several images, arrays or DICOM files
    kit.choose_thresholds(maps, masks)   the best thresholds of a rule, and their score
    kit.validate(file, against)          lists the problems of a submission
    kit.KitError                         what all of them raise: a line that says what to do
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kit.core.version import VERSION as __version__

if TYPE_CHECKING:
    from kit.competition import rle
    from kit.competition.layout import open_folder as open_data
    from kit.core.errors import KitError
    from kit.data import folds
    from kit.inference.model import load
    from kit.thresholds.search import choose_thresholds
    from kit.workflows.notebook import train
    from kit.workflows.validate import validate

__all__ = ["KitError", "__version__", "choose_thresholds", "folds", "load", "open_data", "rle", "train", "validate"]

_LOCATIONS = {
    "KitError": ("kit.core.errors", "KitError"),
    "rle": ("kit.competition.rle", None),
    "open_data": ("kit.competition.layout", "open_folder"),
    "folds": ("kit.data.folds", None),
    "load": ("kit.inference.model", "load"),
    "choose_thresholds": ("kit.thresholds.search", "choose_thresholds"),
    "train": ("kit.workflows.notebook", "train"),
    "validate": ("kit.workflows.validate", "validate"),
}
"""Module of each attribute, and its name there; None for the module itself."""


def __getattr__(name: str) -> Any:
    if name not in _LOCATIONS:
        raise AttributeError(f"module 'kit' has no attribute {name!r}")
    module, attribute = _LOCATIONS[name]
    loaded = import_module(module)
    return loaded if attribute is None else getattr(loaded, attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LOCATIONS})
