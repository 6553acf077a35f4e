"""The competition and account for submissions: `kaggle.yaml`, overridden by flags. It never holds credentials."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from kit.core import files
from kit.core.documents import format_errors, load_yaml
from kit.core.errors import KitError

PATH = Path("kaggle.yaml")


def _slug(text: str) -> str:
    if "/" in text:
        raise ValueError(f"{text!r} is an address: give its last part, {text.rstrip('/').rpartition('/')[2]!r}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", text):
        raise ValueError(f"{text!r} is not a name as in an address on kaggle.com: letters, digits and hyphens")
    return text


Slug = Annotated[str, AfterValidator(_slug)]


class Settings(BaseModel):
    """Content of `kaggle.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    competition: Slug | None = None
    """Last part of the competition's address."""
    user: Slug | None = None
    """Owner of the kernels and data sets; null for the account of the credentials."""
    timeout: Annotated[float, Field(gt=0, le=86400)] = 60.0
    """Seconds without a byte after which a request is given up."""

    def named_competition(self) -> str:
        """Returns the competition, or raises an error if none is named."""
        if self.competition is None:
            what = "names no competition" if PATH.is_file() else "is not there"
            raise KitError(f"{PATH.resolve()}: {what}: write `competition: NAME` there, or give --competition NAME")
        return self.competition

    def owner(self, account: str) -> str:
        """Returns the owner of uploads, who must be the account of the credentials."""
        if self.user and account and self.user.lower() != account.lower():
            raise KitError(f"{PATH}: user is {self.user}, and the credentials are those of {account}: correct either")
        return self.user or account


def load(competition: str | None = None, user: str | None = None, path: Path = PATH) -> Settings:
    """Reads the file, if there is one; the arguments override its values."""
    text = files.read_text(path) if files.is_file_or_raise(path) else ""
    content = load_yaml(text.removeprefix("\ufeff"), path) or {}
    if not isinstance(content, dict):
        raise KitError(f"{path}: is not a mapping: write `competition: NAME` and `user: NAME`")
    overrides = {"competition": competition, "user": user}
    try:
        return Settings.model_validate(content | {key: value for key, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise KitError(f"{path}: {format_errors(error)}: its keys are competition, user and timeout") from None
