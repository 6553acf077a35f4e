"""A model as one file: `model.safetensors` holds the weights of all networks, and in its header everything else.

Tensors are called `LABEL/NUMBER/NAME`: the part of the recipe, the network among those that are averaged, and the name
in the network's state dict. The header holds all else that decides a mask: the resolved recipe, the rule, the share of
a test set that gets masks, and an ensemble's stacks; and the hash of all tensors.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import yaml
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from kit import networks, recipes
from kit.core.documents import Document, Sha256, Share, format_errors
from kit.core.errors import KitError, printable
from kit.core.files import is_file_or_raise, replacing
from kit.core.version import VERSION
from kit.inference import rules
from kit.inference.ensemble import Stack
from kit.inference.rules import Rule
from kit.recipes.schema import Recipe

KEY = "model"
"""Key of the header: safetensors stores only strings, so the whole header is JSON under one key."""
FORMAT: Literal[1] = 1
REMEDY = "write it again with `kit export`, or copy it again"


class Content(NamedTuple):
    """Content of a model file: the first fields of `Model`, in the same order."""

    recipe: Recipe
    networks: dict[str, list[nn.Module]]
    """Networks in evaluation mode, by the label of the part of the recipe."""
    rule: Rule
    share: float | None
    """Share of the images of a whole test set that get a mask; None: the rule's own thresholds decide."""
    stacks: Mapping[bool, Stack]
    """Stacks of an ensemble's classifiers, with TTA (True) and without; empty without classifiers."""


class _Header(Document):
    recipe: str
    rule: dict[str, object]
    share: Share | None = None
    stacks: dict[Literal["tta", "plain"], Stack] = Field(default_factory=dict)
    tensors: Sha256
    version: str
    format: Literal[1] = FORMAT


def write(path: Path, content: Content) -> None:
    """Writes a model file.

    Raises:
        KitError: the file cannot be written.
    """
    tensors = {
        f"{label}/{number}/{name}": tensor.detach().cpu().contiguous()
        for label, members in content.networks.items()
        for number, network in enumerate(members)
        for name, tensor in network.state_dict().items()
    }
    header = _Header(
        recipe=content.recipe.dump(),
        rule=rules.parameters(content.rule),
        share=content.share,
        stacks={"tta" if tta else "plain": stack for tta, stack in content.stacks.items()},
        tensors=_hash(tensors),
        version=VERSION,
    )
    with replacing(path) as temporary:
        save_file(tensors, temporary, {KEY: header.model_dump_json()})


def read(path: Path, device: torch.device | str = "cpu") -> Content:
    """Reads a model file and moves its networks to a device, one after the other.

    Raises:
        KitError: it is missing, is not a model file, or is damaged.
    """
    if not is_file_or_raise(path):
        raise KitError(f"{printable(path)}: there is no such file")
    try:
        with safe_open(path, "pt") as opened:
            text = (opened.metadata() or {}).get(KEY)
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # it is no mapping
    except (SafetensorError, OSError) as error:
        raise KitError(f"{printable(path)}: is not a model file ({type(error).__name__}): {REMEDY}") from error
    if text is None:
        raise KitError(f"{printable(path)}: holds weights alone, not a model: give the folder of the run")
    try:
        header = _Header.model_validate_json(text)
    except ValidationError as error:
        raise KitError(f"{printable(path)}: {format_errors(error)}: {REMEDY}") from None
    if _hash(tensors) != header.tensors:
        raise KitError(f"{printable(path)}: is damaged (its weights are not those that were written): {REMEDY}")
    recipe = recipes.parse(yaml.safe_load(header.recipe), str(path))
    rule = rules.parse(json.dumps(header.rule).encode(), path)
    models = {part.label: _build_networks(part, path, tensors, device) for part in recipe.parts()}
    return Content(recipe, models, rule, header.share, {name == "tta": stack for name, stack in header.stacks.items()})


def _build_networks(
    part: Recipe, path: Path, tensors: dict[str, torch.Tensor], device: torch.device | str
) -> list[nn.Module]:
    states: dict[int, dict[str, torch.Tensor]] = {}
    for full, tensor in tensors.items():
        label, number, name = full.rsplit("/", 2)
        if label == part.label:
            states.setdefault(int(number), {})[name] = tensor
    if not states:
        raise KitError(f"{printable(path)}: has no weights of {part.label}: {REMEDY}")
    models: list[nn.Module] = []
    for _, state in sorted(states.items()):
        network = networks.build(part.network, pretrained=False)
        network.load_state_dict(state)
        models.append(network.to(device).eval())
    return models


def _hash(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 of all tensors with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
