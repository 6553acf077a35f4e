"""From images to probability maps: networks averaged, with and without the mirrored image (hflip TTA)."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kit import networks
from kit.core import allocator
from kit.core.errors import KitError
from kit.core.progress import progress
from kit.inference import backends
from kit.recipes.schema import Recipe

# What a recipe's precision means on a GPU; a CPU predicts in 32 bits.
AUTOCAST = {"auto": torch.float16, "16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


def probabilities(
    models: Sequence[nn.Module], images: np.ndarray, recipe: Recipe, mirrored: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """As `on_device`, both answers copied to the host as float32 arrays."""
    plain, averaged = on_device(models, images, recipe, mirrored)
    return plain.cpu().numpy(), averaged.cpu().numpy()


@torch.inference_mode()
def on_device(
    models: Sequence[nn.Module], images: np.ndarray, recipe: Recipe, mirrored: bool = True, half: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean probability of the networks for each pixel, or for `classify` that the image has any pneumothorax.

    Images and their mirror images go through a network as one batch (paper section 4.3).

    Args:
        models: In evaluation mode, on one device.
        images: uint8 (B, H, W).
        recipe: Of the networks; its role and its precision count.
        mirrored: Predict the mirror images too; else both answers are those without TTA, in half the time.
        half: On a GPU compute in the recipe's precision; False: in 32 bits.

    Returns:
        Two float32 tensors (B, H, W), for `classify` (B,), in [0, 1], where the models are: without TTA, and averaged
        with the mirror images.

    Raises:
        KitError: the networks' answer is not a number.
    """
    device = next((weight.device for weight in models[0].parameters()), torch.device("cpu"))  # an exported one has none
    batch = torch.from_numpy(images)[:, None].to(device)  # (B, 1, H, W)
    both = torch.cat([batch, batch.flip(-1)]) if mirrored else batch  # (2B or B, 1, H, W)
    mean = torch.zeros((), device=device)
    for model in models:
        precision = AUTOCAST.get(recipe.precision) if half and device.type == "cuda" else None
        with torch.autocast(device.type, precision, enabled=precision is not None):
            masks, image = model(both)
        if recipe.role == "classify":
            probability = image.float().sigmoid()  # (2B,)
        else:
            probability = networks.pixel_probabilities(masks, image if recipe.image_evidence else None)[:, 0]
        mean = mean + probability / len(models)
    if not mean.isfinite().all():
        raise KitError(
            f"{recipe.name}: a network answers with NaN: train it again with a lower learning_rate, or with "
            "SET='precision=32-true'"
        )
    plain, mirror = mean.chunk(2) if mirrored else (mean, mean)
    if recipe.role == "segment" and mirrored:
        mirror = mirror.flip(-1)
    return plain, (plain + mirror) / 2


def load(
    recipe: Recipe, weights: Sequence[Path], backend: str = "torch", device: torch.device | str | None = None
) -> list[nn.Module]:
    """Networks ready to predict, one a file of weights.

    Args:
        recipe: Of the networks.
        weights: Files of weights.
        backend: Of `kit.inference.backends`; another than torch runs on the CPU, from ONNX files that are made beside
            the weights where they are missing.
        device: Where torch computes; None: the GPU of this process, else the CPU.

    Raises:
        KitError: a file is missing, broken or of another network, or the backend's packages are not installed.
    """
    allocator.keep_freed_memory()
    if backend != "torch":
        backends.check(backend)
        from kit.inference import export

        made = [export.ensure(path, recipe.network, recipe.stages[-1].size) for path in weights]
        return [backends.load(path, backend) for path in made]
    network = recipe.network
    if device is None:
        device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    return [
        networks.load_weights(networks.build(network, pretrained=False), path).to(device).eval() for path in weights
    ]


def batches(
    count: int,
    read: Callable[[int], Any],
    batch_size: int,
    what: str,
    unreadable: Callable[[int, KitError], None],
) -> Generator[tuple[list[int], list[Any]]]:
    """Reads `count` images batch by batch; the next batch is read in threads while the caller works on this one.

    Args:
        count: Number of images.
        read: The i-th image; called from threads. It raises a KitError where the image cannot be read.
        batch_size: Images at once.
        what: Title of the progress bar.
        unreadable: Takes the index and the error of an image that cannot be read; it is left out of its batch.

    Yields:
        The indices of a batch, and what `read` gives for each.
    """
    starts = range(0, count, batch_size)
    with ThreadPoolExecutor() as pool, progress(None, what, count) as bar:

        def ask(start: int) -> list[Future[Any]]:
            return [pool.submit(read, i) for i in range(start, min(start + batch_size, count))]

        ahead = ask(0) if count else []
        for start in starts:
            batch, ahead = ahead, ask(start + batch_size)
            found: dict[int, Any] = {}
            for index, future in enumerate(batch, start):
                try:
                    found[index] = future.result()
                except KitError as error:
                    unreadable(index, error)
            if found:
                yield list(found), list(found.values())
            bar.update(len(batch))
