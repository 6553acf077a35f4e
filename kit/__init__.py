"""The solution kit for pneumothorax segmentation in chest X-rays (SIIM-ACR challenge).

What a notebook wants of it is loaded when it is first used, so that `import kit` costs nothing:

    kit.open_data(folder)                images, labels and truth of a competition's folder
    kit.rle                              masks as text and back: `encode`, `decode`
    kit.folds                            `make`, `read` and `write` folds that share no patient
    kit.train(data, recipe)              a trained model; `data/demo` and `demo` to begin with
    kit.load(run).predict(images)        probability and mask of one image or many, arrays or DICOM files
    kit.choose_thresholds(maps, masks)   the best thresholds of a rule, and what they are worth
    kit.validate(file, against)          the problems of a submission
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kit.core.version import VERSION as __version__

if TYPE_CHECKING:
    from kit.competition import rle
    from kit.competition.layout import open_folder as open_data
    from kit.data import folds
    from kit.inference.model import load
    from kit.thresholds.search import choose_thresholds
    from kit.workflows.notebook import train
    from kit.workflows.validate import validate

__all__ = ["__version__", "choose_thresholds", "folds", "load", "open_data", "rle", "train", "validate"]

_PLACES = {
    "rle": ("kit.competition.rle", None),
    "open_data": ("kit.competition.layout", "open_folder"),
    "folds": ("kit.data.folds", None),
    "load": ("kit.inference.model", "load"),
    "choose_thresholds": ("kit.thresholds.search", "choose_thresholds"),
    "train": ("kit.workflows.notebook", "train"),
    "validate": ("kit.workflows.validate", "validate"),
}
"""The module of each, and its name there."""


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'kit' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    found = import_module(module)
    return found if attribute is None else getattr(found, attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
