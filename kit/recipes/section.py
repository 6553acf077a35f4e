"""What all sections of a recipe have in common: strict, frozen, and typed with ranges."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Factor = Annotated[float, Field(gt=0, le=100)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Count = Annotated[int, Field(ge=0)]
Epochs = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """A part of a recipe: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @property
    def idle(self) -> set[str]:
        """Keys that do nothing beside what others say."""
        return set()

    def shown(self) -> dict[str, Any]:
        """Every key at its value, but for those that do nothing."""
        return {key: value for key, value in self.model_dump(mode="json").items() if key not in self.idle}


class OneOf(Section):
    """One of several things, each with settings of its own: `{cosine: {to: 0.00001}}`, or its name alone, `constant`.

    Its fields are the things there are to choose from, of which all but one are None.
    """

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {value: {}} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _is_one(self) -> "OneOf":
        given = [key for key, settings in self if settings is not None]
        if len(given) != 1:
            said = f"not {' and '.join(given)}: replace the whole of it" if given else "and none is given"
            raise ValueError(f"takes one of {', '.join(type(self).model_fields)}, {said}")
        return self

    @property
    def chosen_name(self) -> str:
        """Which one it is."""
        return next(key for key, settings in self if settings is not None)

    @property
    def chosen(self) -> Section:
        """The settings of that one."""
        return getattr(self, self.chosen_name)

    @model_serializer
    def _shown(self) -> str | dict[str, Any]:
        shown = self.chosen.shown()
        return {self.chosen_name: shown} if shown else self.chosen_name
