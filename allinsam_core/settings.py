"""Frozen settings, and one plain sentence where someone's settings are wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from allinsam_core.data.errors import PlainError

Kind = TypeVar("Kind", bound=BaseModel)


class SettingsError(PlainError):
    """A name that does not exist, or a value that cannot be; the message says what is expected."""


class Settings(BaseModel, allow_inf_nan=False):
    """Settings that cannot be changed, only copied with changes. An unknown name is an error, in a copy too."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with `update` in place of some fields. Raises SettingsError for a name or a value that cannot be."""
        if not update:
            return super().model_copy(deep=deep)
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return validated(type(self), {**fields, **update}, type(self).__name__)


def later(**options: Any) -> Any:
    """A field that the first records did not have: unset, it is left out and leaves their hashes as they were."""
    return Field(default=None, exclude_if=lambda value: value is None, **options)


def validated(kind: type[Kind], values: Any, where: str) -> Kind:
    """`values` as a `kind`. Raises SettingsError: one sentence that begins with `where`, a file or what was asked."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise SettingsError(f"{where}: {sentence_of(error, kind)}") from None


def sentence_of(error: ValidationError, kind: type[BaseModel] | None = None) -> str:
    """The first thing that is wrong, and how many more. kind: the model that was asked for, to name what it knows."""
    first, *others = error.errors()
    more = f" ({len(others)} more after it)" if others else ""
    return f"{_sentence(kind or BaseModel, first)}{more}"


def nearest(name: object, known: Iterable[object]) -> str:
    """What to say of an unknown name: the nearest known one, else all of them."""
    names = [str(each) for each in known]
    close = get_close_matches(str(name), names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(names)}"


def _sentence(kind: type[BaseModel], error: Any) -> str:
    path = [str(part) for part in error["loc"]]
    name, found = ".".join(path), error["input"]
    if error["type"] == "extra_forbidden":
        inside = f" in {'.'.join(path[:-1])}" if path[1:] else ""
        return f"unknown name {path[-1]!r}{inside}; {nearest(path[-1], _names(kind, path[:-1]))}"
    if error["type"] == "missing":
        return f"{name} is missing"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    expected = error["msg"].removeprefix("Input should be ").removesuffix(", unable to parse string as an integer")
    expected = expected.removesuffix(", unable to parse string as a number")
    return f"{name or 'it'} is {_shown(found)}, expected {expected}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _names(kind: type[BaseModel], path: list[str]) -> list[str]:
    """The names of the settings that lie at `path` of a model; of the model itself where there are none."""
    for part in path:
        field = kind.model_fields.get(part)
        inner = [field.annotation, *get_args(field.annotation)] if field else []
        models = [each for each in inner if isinstance(each, type) and issubclass(each, BaseModel)]
        if models:
            kind = models[0]
    return list(kind.model_fields)
