"""Everything that a verb imports: what a process has before others are forked from it. No thread lives.

Numba reads its own library into tables when it first loads a compiled function, and each such function from a file;
here a small search has all of them loaded beforehand.
"""

import joblib
import numpy as np
import PIL.JpegImagePlugin
import PIL.PngImagePlugin
import pytest
import scipy.fft
import sklearn.model_selection
import torch.utils.serialization
from numba.core.registry import cpu_target

import kit.cli
import kit.inference.model
import kit.thresholds.search
import kit.training.fit
import kit.workflows.export
import kit.workflows.folds
import kit.workflows.jobs
import kit.workflows.kernel
import kit.workflows.predict
import kit.workflows.report
import kit.workflows.submit
import kit.workflows.thresholds
import kit.workflows.train
from kit.inference.rules import ComponentRule, ImageRule
from kit.thresholds.exact import LevelSearch
from kit.thresholds.tables import Components, Histograms
from kit.thresholds.triplet import TripletSearch

__all__ = ["PIL", "joblib", "kit", "pytest", "scipy", "sklearn", "torch"]

cpu_target.target_context.refresh()
cpu_target.typing_context.refresh()

levels, weights = np.zeros((2, 4, 4), np.uint8), np.ones(2)
levels[0, 1:3, 1:3] = 200
histograms, components = Histograms(2), Components(2)
for index, image in enumerate(levels):
    histograms.add(index, image, image > 0)
    components.add(index, image, image > 0)
for search in (
    LevelSearch(ImageRule, histograms),
    LevelSearch(ComponentRule, components),
    TripletSearch(histograms),
):
    search.surface(search.best(weights), weights)
