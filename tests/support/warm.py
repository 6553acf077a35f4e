"""Everything that a verb imports: what a process has before others are forked from it. Nothing is run, no thread lives.

Numba reads its own library into tables when it first loads a compiled function; here they are read beforehand.
"""

import joblib
import PIL.JpegImagePlugin
import PIL.PngImagePlugin
import pytest
import scipy.fft
import sklearn.model_selection
import torch.utils.serialization
from numba.core.registry import cpu_target

import kit.cli
import kit.inference.model
import kit.thresholds.components
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

__all__ = ["PIL", "joblib", "kit", "pytest", "scipy", "sklearn", "torch"]

cpu_target.target_context.refresh()
cpu_target.typing_context.refresh()
