"""From images to probability maps: networks averaged, with and without the mirrored image (hflip TTA)."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kit import networks
from kit.networks import Segmenter
from kit.progress import progress
from kit.recipe import Network


@torch.inference_mode()
def probabilities(
    models: Sequence[Segmenter], images: np.ndarray, role: str = "segment"
) -> tuple[np.ndarray, np.ndarray]:
    """Mean probability of the networks for each pixel, or for `classify` that the image has any pneumothorax.

    Images and their mirror images go through a network as one batch (paper section 4.3).

    Args:
        models: In evaluation mode, on one device.
        images: uint8 (B, H, W).
        role: Of the recipe: `segment` or `classify`.

    Returns:
        Two float32 arrays (B, H, W), for `classify` (B,), in [0, 1]: without TTA, and averaged with the mirror images.
    """
    device = next(models[0].parameters()).device
    batch = torch.from_numpy(images)[:, None].to(device)  # (B, 1, H, W)
    both = torch.cat([batch, batch.flip(-1)])  # (2B, 1, H, W)
    mean = torch.zeros((), device=device)
    for model in models:
        with torch.autocast(device.type, enabled=device.type == "cuda"):
            masks, image = model(both)
        logits = image if role == "classify" else masks[:, 0]  # (2B,) or (2B, H, W)
        mean = mean + logits.float().sigmoid() / len(models)
    plain, mirrored = mean.chunk(2)
    if role == "segment":
        mirrored = mirrored.flip(-1)
    return plain.cpu().numpy(), ((plain + mirrored) / 2).cpu().numpy()


def to_levels(probability: np.ndarray) -> np.ndarray:
    """Probabilities in [0, 1] as levels: v stands for v / 255. float (...) → uint8 (...)."""
    return np.rint(probability * 255).astype(np.uint8)


def load(network: Network, weights: Sequence[Path]) -> list[Segmenter]:
    """Networks ready to predict, one a file of weights, on the GPU of this process or the CPU."""
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    return [
        networks.load_weights(networks.build(network, pretrained=False), path).to(device).eval() for path in weights
    ]


def batches(count: int, read: Callable[[int], Any], batch_size: int, what: str) -> Iterator[tuple[int, list]]:
    """The first index of each batch of `count` images, and what `read` gives for each image in it.

    The next batch is read in threads while the caller works on this one.
    """
    starts = range(0, count, batch_size)
    with ThreadPoolExecutor() as pool, progress(None, what, count) as bar:

        def ask(start: int) -> list:
            return [pool.submit(read, i) for i in range(start, min(start + batch_size, count))]

        ahead = ask(0) if count else []
        for start in starts:
            batch, ahead = ahead, ask(start + batch_size)
            yield start, [future.result() for future in batch]
            bar.update(len(batch))


def maps(
    models: Sequence[Segmenter],
    count: int,
    read: Callable[[int], np.ndarray],
    batch_size: int,
    what: str,
    role: str = "segment",
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Predicts `count` images batch by batch.

    Args:
        models: Networks to average, in evaluation mode, on one device.
        count: Number of images.
        read: The i-th image, uint8 (size, size); called from threads.
        batch_size: Images at once.
        what: Title of the progress bar.
        role: Of the recipe: `segment` or `classify`.

    Yields:
        i, and its uint8 maps (size, size) without and with TTA; for `classify` its two float32 probabilities.
    """
    for start, images in batches(count, read, batch_size, what):
        pairs = zip(*probabilities(models, np.stack(images), role), strict=True)
        for index, pair in enumerate(pairs, start):
            yield index, *(pair if role == "classify" else map(to_levels, pair))
