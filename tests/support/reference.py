"""Generates docs/reference/verbs.md, docs/reference/recipe-keys.md and docs/notebooks/kaggle-train.ipynb.

    python tests/support/reference.py

writes them; a test compares them with the current command line, schema and kernel code.
"""

import ast
import inspect
import sys
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from typer.core import TyperGroup, TyperOption

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))

from kit.cli import app  # noqa: E402  a script needs the path of the kit first
from kit.kernel import code, train_bundle  # noqa: E402
from kit.recipes import magnitudes, scale, schema, stage  # noqa: E402
from kit.recipes.section import OneOf  # noqa: E402

DOCS = ROOT / "docs"
GUIDES = {"extra": "more-data.md"}
"""How-to guides for sections."""


def verbs() -> str:
    """Every verb with its arguments and options."""
    text = (
        "# Verbs\n\nGenerated from the command line by `python tests/support/reference.py`. `make VERB` is `kit VERB` "
        "in the kit's environment, but `make kernel`, `make kernel-check` and `make push` are `kit kernel build`, `kit "
        "kernel check` and `kit kernel push`; `make tables`, `figures`, `experiments`, `study`, `claims` and `curve` "
        "are `python -m reproduce VERB`, from a clone alone. Every verb takes `--verbose`, `--quiet` and `--help`, "
        "too.\n"
    )
    return text + "".join(_verb(name, command) for name, command in _commands(typer.main.get_command(app)))


def _commands(group: TyperGroup, before: str = "kit") -> list:
    commands = []
    for name, command in group.commands.items():
        nested = isinstance(command, TyperGroup)
        commands += _commands(command, f"{before} {name}") if nested else [(f"{before} {name}", command)]
    return commands


def _verb(name: str, command: typer.core.TyperCommand) -> str:
    lines = []
    for parameter in command.params:
        if parameter.name in ("verbose", "quiet", "help"):
            continue
        option = isinstance(parameter, TyperOption)
        names = (
            ", ".join(f"`{spelling}`" for spelling in parameter.opts)
            if option
            else f"`{parameter.metavar or parameter.name.upper()}`"
        )
        value = parameter.default
        is_empty = value is None or value is False or value in ("", []) or callable(value)
        default = "" if is_empty else f"`{value}`"
        lines.append(f"| {names} | {(parameter.help or '').replace('|', chr(92) + '|')} | {default} |\n")
    table = "\n| option | | default |\n|---|---|---|\n" + "".join(lines) if lines else ""
    _, *examples = command.epilog.split("\n\n")
    shown = "\n```bash\n" + "\n".join(examples) + "\n```\n"
    return f"\n## {name}\n\n{inspect.cleandoc(command.help or '')}\n{shown}{table}"


def recipe_keys() -> str:
    """Every key of a recipe with its values, its default and what it means."""
    text = (
        "# Recipe keys\n\nGenerated from the schema by `python tests/support/reference.py`. Other keys are refused. "
        "`kit recipes NAME` prints a recipe with the values of all keys that have an effect. In addition, a recipe may "
        "say `extends: NAME`, with the name of a recipe or of a .yaml file beside it, whose values it then inherits.\n"
    )
    sections = [
        ("The recipe", "", schema.Recipe),
        ("network", "network.", schema.Network),
        ("loss", "loss.", schema.Loss),
        ("optimizer", "optimizer.", schema.Optimizer),
        ("folds", "folds.", schema.Folds),
        ("extra", "extra.", schema.Extra),
        ("stages", "stages.0.", stage.Stage),
        ("stages: schedule", "stages.0.schedule.", stage.Schedule),
        *_choices_of("schedule", stage.Schedule),
        ("stages: early_stopping", "stages.0.early_stopping.", stage.EarlyStopping),
        ("stages: keep", "stages.0.keep.", stage.Keep),
        *_choices_of("keep", stage.Keep),
        ("threshold", "threshold.", schema.Threshold),
        ("scale", "scale.", scale.Scale),
    ]
    sections += [
        (f"magnitudes of {name}", f"magnitudes.{name}.", type(field.get_default(call_default_factory=True)))
        for name, field in magnitudes.Magnitudes.model_fields.items()
    ]
    return text + "".join(_section(*section) for section in sections)


def _choices_of(key: str, model: type[OneOf]) -> list[tuple[str, str, type[BaseModel]]]:
    """The sections of the options that have settings."""
    kinds = [(name, get_args(field.annotation)[0]) for name, field in model.model_fields.items()]
    return [(f"stages: {key}: {name}", f"stages.0.{key}.{name}.", kind) for name, kind in kinds if kind.model_fields]


def _section(title: str, before: str, model: type[BaseModel]) -> str:
    descriptions, rows = _docstrings(model), []
    if issubclass(model, OneOf):
        descriptions |= {
            name: inspect.cleandoc(get_args(field.annotation)[0].__doc__ or "").partition("\n\n")[0].replace("\n", " ")
            for name, field in model.model_fields.items()
        }
    for name, field in model.model_fields.items():
        value = None if field.is_required() else field.get_default(call_default_factory=True)
        if issubclass(model, OneOf):
            default = "(its section below)" if get_args(field.annotation)[0].model_fields else ""
        elif isinstance(value, OneOf):
            default = f"`{value.chosen_name}`"
        elif field.is_required():
            default = "(must be given)"
        elif isinstance(value, BaseModel):
            default = "(its section below)"
        else:
            default = f"`{_plain(value)}`" if value != "" else ""
        meaning = " ".join(filter(None, (_choices(field.annotation), descriptions.get(name, ""))))
        rows.append(f"| `{before}{name}` | {default} | {meaning.replace('|', chr(92) + '|')} |\n")
    about = inspect.cleandoc(model.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    about += f" See [{GUIDES[title]}](../how-to/{GUIDES[title]})." if title in GUIDES else ""
    return f"\n## {title}\n\n{about}\n\n| key | default | |\n|---|---|---|\n" + "".join(rows)


def _choices(kind: Any) -> str:
    """The values that a key can have, if its type lists them, otherwise an empty string.

    >>> _choices(Literal[8, 16] | None), _choices(tuple[Literal["flip", "light"], ...]), _choices(int | None)
    ('One of `8`, `16`, `null`.', 'Any of `flip`, `light`.', '')
    """
    several = get_origin(kind) is tuple
    types = get_args(kind) if several or get_origin(kind) in (Union, UnionType) else (kind,)
    literals = [value for option in types if get_origin(option) is Literal for value in get_args(option)]
    if not literals:
        return ""
    listed = ", ".join(f"`{_plain(value)}`" for value in (*literals, *([None] if type(None) in types else [])))
    return f"{'Any' if several else 'One'} of {listed}."


def _plain(value: object) -> str:
    """A default in YAML."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(list(value)).replace("'", "") if isinstance(value, tuple) else str(value)


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The docstring of each field, as one line."""
    [definition] = ast.parse(inspect.getsource(model)).body
    docstrings, name = {}, ""
    for node in definition.body:
        if isinstance(node, ast.AnnAssign):
            name = node.target.id
        elif name and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            docstrings[name], name = " ".join(str(node.value.value).split()), ""
    return docstrings


def notebook() -> str:
    """The training notebook, as by `kit kernel build --train --notebook`, but for any build."""
    text = code.script("train", "kit-NAME-RECIPE-train-files", "", train_bundle.TIME_LIMIT)
    return code.notebook(text, "Train on Kaggle or Colab")


CONTENT = {
    "reference/verbs.md": verbs,
    "reference/recipe-keys.md": recipe_keys,
    "notebooks/kaggle-train.ipynb": notebook,
}

if __name__ == "__main__":
    for file, made in CONTENT.items():
        (DOCS / file).write_text(made())
