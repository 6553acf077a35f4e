"""The same few images after every epoch, as a picture: what a network makes of them while it learns."""

import cv2
import numpy as np
import torch

from kit.data.dataset import FoldData
from kit.networks import Segmenter

COUNT = 4
"""Images that are drawn."""


def cases(data: FoldData) -> np.ndarray:
    """Row numbers of the validation images to draw: positives first, the same at every call."""
    positive = np.array([bool(data.cache.masks[row].any()) for row in data.validation], bool)
    order = np.argsort(~positive, kind="stable")
    return data.validation[order][:COUNT]


@torch.inference_mode()
def draw(network: Segmenter, data: FoldData, rows: np.ndarray, device: torch.device) -> bytes:
    """A PNG with a line a case: the image, its truth, the network's probability.

    Args:
        network: Left in evaluation mode.
        rows: Of `cases`, at least one.
    """
    network.eval()
    images, masks = (np.stack([array[row] for row in rows]) for array in (data.cache.images, data.cache.masks))
    logits, _ = network(torch.from_numpy(images)[:, None].to(device))
    found = (logits[:, 0].float().sigmoid() * 255).byte().cpu().numpy()
    lines = [np.hstack(panels) for panels in zip(images, masks * np.uint8(255), found, strict=True)]
    return cv2.imencode(".png", np.vstack(lines))[1].tobytes()
