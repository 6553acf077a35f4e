"""Who submits to which competition: `kaggle.yaml`, or flags over it. Credentials never stand here."""

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
    """The content of `kaggle.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    competition: Slug | None = None
    """The last part of the competition's address."""
    user: Slug | None = None
    """Owner of the kernels and datasets; null: the account that the credentials belong to."""
    timeout: Annotated[float, Field(gt=0, le=86400)] = 60.0
    """Seconds without a byte after which a request is given up."""

    def named_competition(self) -> str:
        """The competition."""
        if self.competition is None:
            what = "names no competition" if PATH.is_file() else "is not there"
            raise KitError(f"{PATH.resolve()}: {what}: write `competition: NAME` there, or give --competition NAME")
        return self.competition

    def owner(self, account: str) -> str:
        """The owner of what is sent: the account that the credentials belong to."""
        if self.user and account and self.user.lower() != account.lower():
            raise KitError(f"{PATH}: user is {self.user}, and the credentials are those of {account}: correct either")
        return self.user or account


def load(competition: str | None = None, user: str | None = None, path: Path = PATH) -> Settings:
    """The settings of the file, if there is one, under what is given here."""
    text = files.read_text(path) if files.is_file_or_raise(path) else ""
    content = load_yaml(text.removeprefix("\ufeff"), path) or {}
    if not isinstance(content, dict):
        raise KitError(f"{path}: is not a mapping: write `competition: NAME` and `user: NAME`")
    given = {"competition": competition, "user": user}
    try:
        return Settings.model_validate(content | {key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        raise KitError(f"{path}: {format_errors(error)}: its keys are competition, user and timeout") from None
