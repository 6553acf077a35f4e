"""Base classes and value types of a recipe's sections."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

Positive = Annotated[float, Field(gt=0)]
Factor = Annotated[float, Field(gt=0, le=100)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Epochs = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """A section of a recipe: immutable; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @property
    def idle(self) -> set[str]:
        """Keys that have no effect because of the values of others."""
        return set()

    def resolved(self) -> dict[str, Any]:
        """Returns the values of all keys that have an effect."""
        return {key: value for key, value in self.model_dump(mode="json").items() if key not in self.idle}


class OneOf(Section):
    """A choice with its settings, as in `{cosine: {to: 0.00001}}`, or only its name, as in `constant`.

    The fields are the options, of which exactly one is not None.
    """

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {value: {}} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _is_one(self) -> "OneOf":
        chosen = [key for key, settings in self if settings is not None]
        if len(chosen) != 1:
            problem = f"not {' and '.join(chosen)}: replace the whole value" if chosen else "and none is given"
            raise ValueError(f"takes one of {', '.join(type(self).model_fields)}, {problem}")
        return self

    @property
    def chosen_name(self) -> str:
        """Name of the chosen option."""
        return next(key for key, settings in self if settings is not None)

    @property
    def chosen(self) -> Section:
        """Settings of the chosen option."""
        return getattr(self, self.chosen_name)

    @model_serializer
    def _shortest(self) -> str | dict[str, Any]:
        settings = self.chosen.resolved()
        return {self.chosen_name: settings} if settings else self.chosen_name
