"""Builds the network of a recipe; loads and saves its weights."""

import os
import re
from functools import partial
from pathlib import Path
from typing import Any, cast

import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file, save
from torch import nn

from kit.core.distributed import PRETRAINED
from kit.core.errors import KitError, did_you_mean
from kit.core.files import is_file_or_raise, write_bytes
from kit.recipes.schema import Network

# Mean and standard deviation of grey levels 0…255 in each channel.
NORMALISATIONS = {
    "unit": ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "symmetric": ((127.0, 127.0, 127.0), (128.0, 128.0, 128.0)),
}


class Segmenter(nn.Module):
    """From grey levels to logits, with the normalisation, so that it cannot differ between training and kernel.

    Args:
        net: Network of segmentation-models-pytorch with three input channels.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, net: nn.Module, network: Network) -> None:
        super().__init__()
        self.net: Any = net
        # Paper, Exp1: an added convolution maps 1 channel to 3, initially by copying.
        self.grey_to_rgb = nn.Conv2d(1, 3, kernel_size=1) if network.channels == 1 else None
        if self.grey_to_rgb is not None:
            nn.init.ones_(self.grey_to_rgb.weight)
            nn.init.zeros_(cast(nn.Parameter, self.grey_to_rgb.bias))
        mean, std = NORMALISATIONS[network.normalisation]
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.encoder_frozen = False

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Returns the logits of the pixels and of the image.

        Args:
            images: Grey levels 0…255, any dtype, (B, 1, H, W); H and W are multiples of 32.

        Returns:
            Logits of the mask (B, 1, H, W), and of "has pneumothorax" (B,) if the network has an image head.
        """
        grey = images.float()
        if self.grey_to_rgb is None:
            x = (grey - self.mean) / self.std  # (B, 3, H, W)
        else:
            x = self.grey_to_rgb((grey - self.mean[:, :1]) / self.std[:, :1])
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.encoder_frozen):
            features = self.net.encoder(x)
        masks = self.net.segmentation_head(self.net.decoder(features))
        head = self.net.classification_head
        return masks, head(features[-1])[:, 0] if head is not None else None

    def train(self, mode: bool = True) -> "Segmenter":  # noqa: FBT001, FBT002  as torch calls it
        """As in torch, but a frozen encoder also keeps its batch-norm statistics."""
        super().train(mode)
        if self.encoder_frozen:
            self.net.encoder.eval()
        return self


def build(network: Network, *, pretrained: bool = True) -> Segmenter:
    """Builds the network of a recipe.

    If an environment variable names a folder of pretrained weights, they are read from there (`pretrained_name`).

    Args:
        pretrained: Start from `network.encoder_weights`; unnecessary if trained weights are loaded afterwards.

    Raises:
        KitError: there is no such encoder, or its pretrained weights are not available.

    >>> sum(p.numel() for p in build(Network(encoder_weights=None)).parameters())
    24436369
    """
    options: dict = {"in_channels": 3, "classes": 1}
    if network.decoder_channels is not None and "decoder_channels" not in network.idle:
        channels = list(network.decoder_channels)
        options |= {"decoder_channels": channels, "encoder_depth": len(channels)}
    if network.attention is not None:
        options["decoder_attention_type"] = network.attention
    if network.output_stride is not None:
        options["encoder_output_stride"] = network.output_stride
    if network.architecture.startswith("DeepLab"):  # as the runner-up: full convolutions, no dropout
        options |= {"decoder_aspp_separable": False, "decoder_aspp_dropout": 0.0}
    if network.image_head:
        options["aux_params"] = {"classes": 1, "pooling": "avg", "dropout": network.image_head_dropout}
    weights = network.encoder_weights if pretrained else None
    if weights and (folder := os.environ.get(PRETRAINED)):
        weights = str(Path(folder, pretrained_name(network)))
    imagenet = True if network.encoder.startswith("tu-") else "imagenet"  # as the library asks for them, or it warns
    make = partial(getattr(smp, network.architecture), network.encoder, **options)
    try:
        net = make(encoder_weights=imagenet if weights == "imagenet" else None)
    except KeyError:
        raise KitError(
            f"network.encoder: {network.encoder!r} is not an encoder of segmentation-models-pytorch"
            f"{did_you_mean(network.encoder, smp.encoders.get_encoder_names())}"
        ) from None
    except Exception as error:
        try:
            make(encoder_weights=None)
        except Exception as reason:
            raise KitError(
                f"network: {network.architecture} with {network.encoder} cannot be built: {reason}"
            ) from reason
        raise KitError(
            f"network.encoder_weights: the ImageNet weights of {network.encoder} could not be downloaded "
            f"({type(error).__name__}): without internet, give a file (SET='network.encoder_weights=FILE') "
            "or start from random weights (SET='network.encoder_weights=none')"
        ) from error
    if weights not in (None, "imagenet"):
        _load(net.encoder, Path(weights), "network.encoder_weights", "give a state dict, or a .safetensors file")
    return Segmenter(net, network).to(memory_format=torch.channels_last)


def pretrained_name(network: Network) -> str:
    """Returns the name of the file of an encoder's pretrained weights in a folder of several.

    >>> pretrained_name(Network(encoder="resnet34", encoder_weights="imagenet"))
    'pretrained.resnet34.imagenet.safetensors'
    """
    encoder, weights = network.encoder, Path(network.encoder_weights or "none").name
    return re.sub(r"[^\w.-]", "-", f"pretrained.{encoder}.{weights.removesuffix('.safetensors')}.safetensors")


def pixel_probabilities(logits: torch.Tensor, image_logits: torch.Tensor | None) -> torch.Tensor:
    """Returns the foreground probability of each pixel, float32.

    Args:
        logits: Logits of the masks, (B, 1, H, W).
        image_logits: Logits of "has pneumothorax", (B,): if given, the result is the geometric mean of the
            probabilities of pixel and image.

    Returns:
        (B, 1, H, W) in [0, 1].
    """
    probability = logits.float().sigmoid()
    if image_logits is None:
        return probability
    return (probability * image_logits.float().sigmoid()[:, None, None, None]).sqrt()


def save_weights(path: Path | str, network: nn.Module) -> None:
    """Writes all weights and batch-norm statistics as safetensors."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_bytes(path, save(tensors))


def load_weights(network: Segmenter, path: Path | str) -> Segmenter:
    """Loads weights written by `save_weights`, of any float precision, and returns the network."""
    _load(network, Path(path), "weights", "remove it and run `make train` again")
    return network


def _load(module: nn.Module, path: Path, what: str, remedy: str) -> None:
    if not is_file_or_raise(path):
        raise KitError(f"{what}: {path}: there is no such file")
    try:
        # Weights are data: no code in them is ever run.
        state: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # pickle's own errors have no common base
        kind = type(error).__name__
        raise KitError(f"{what}: {path}: is damaged, or holds more than weights ({kind}): {remedy}") from error
    for wrapper in ("state_dict", "model"):  # of checkpoints that hold more than weights
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    has_names = isinstance(state, dict) and all(isinstance(key, str) for key in state)
    if not has_names or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise KitError(f"{what}: {path}: holds something other than named tensors: {remedy}")
    # timm's encoders are one level deeper in smp than in their own files.
    target: nn.Module
    for target in filter(None, (module, getattr(module, "model", None))):
        if (tensors := _matching(state, set(target.state_dict()))) is not None:
            break
    try:
        target.load_state_dict(state if tensors is None else tensors, strict=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[1:2] or [str(error)]
        raise KitError(f"{what}: {path}: belongs to another network: {' '.join(reason[0].split())[:160]}") from error


def _matching(state: dict[str, torch.Tensor], names: set[str]) -> dict[str, torch.Tensor] | None:
    """Returns the tensors of a file by a network's names, without a common prefix and without a head that it lacks.

    Returns:
        None if tensors are missing, or if the file has more tensors for a part of the network, as for a deeper one.
    """
    needed = {name for name in names if not name.endswith("num_batches_tracked")}  # missing in older files
    first, parts = min(needed), {name.partition(".")[0] for name in names}
    for prefix in sorted((key.removesuffix(first) for key in state if key.endswith(first)), key=len):
        tensors = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
        extra = tensors.keys() - names
        if needed <= tensors.keys() and not any(name.partition(".")[0] in parts for name in extra):
            return {name: tensor for name, tensor in tensors.items() if name in names}
    return None
