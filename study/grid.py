"""A profile is a grid of runs: every method at every point of the axes. Any YAML file can be one."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from allinsam_core.settings import Settings, SettingsError, nearest, validated
from study import strict_yaml
from study.config import Name, Run, RunConfig
from study.molecular.config import MolecularConfig
from study.root import resolved

CONFIGURATIONS: dict[str, type[Run]] = {"segmentation": RunConfig, "molecular": MolecularConfig}
ORDER = ("data.source", "noise.rate", "annotator", "cell_type", "label", "fraction", "seed")  # of a run's point
SHORT = {"lr": "learning_rate"}
RESERVED = ("audit", "deepliif", "mini_sam", "superseded")  # folders of results that are no profile's
Axis = tuple[Any, ...] | dict[str | float, dict[str, Any]]


class Profile(Settings):
    """What a study consists of. The profiles of this study are files of `study/profiles`.

    A file may say `like: paper`: it is then laid over that profile, level by level.

    kind: which configuration its runs have. axes: a field of the configuration (with points where it lies deeper, as in
    noise.rate) and its values, or its values with the settings that come with each; a number may have none.
    common: settings of every run. methods: the settings of each; like: another method, whose settings lie below its
    own; axes: fewer or other values, or these with settings that the method has there alone, above all others.
    """

    name: Name
    about: str
    kind: Literal["segmentation", "molecular"] = "segmentation"
    axes: dict[str, Axis]
    common: dict[str, Any] = Field(default_factory=dict)
    methods: dict[Name, dict[str, Any]]

    @field_validator("axes")
    @classmethod
    def _in_one_order(cls, axes: dict[str, Axis]) -> dict[str, Axis]:
        return {name: axes[name] for name in sorted(axes, key=lambda axis: ORDER.index(axis) if axis in ORDER else 99)}

    @model_validator(mode="after")
    def _methods_are_like_others_before_them(self) -> Profile:
        known: set[str] = set()
        for method, own in self.methods.items():
            if (like := own.get("like")) is not None and like not in known:
                raise SettingsError(f"methods.{method} is like {like!r}, expected a method that stands before it")
            axes = own.get("axes", {})
            if unknown := sorted(axes.keys() - self.axes.keys()) if isinstance(axes, dict) else [str(axes)]:
                raise SettingsError(f"methods.{method} has the axis {unknown[0]!r}; {nearest(unknown[0], self.axes)}")
            known.add(method)
        return self

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(self.axes.get("seed", (0,)))

    def settings(self, method: str) -> dict[str, Any]:
        """A method's settings without the common ones, those of the method that it is like included."""
        if method not in self.methods:
            raise SettingsError(f"profile {self.name} has no method {method!r}; {nearest(method, self.methods)}")
        own = dict(self.methods[method])
        like = own.pop("like", None)
        return own if like is None else merged(self.settings(like), own)

    def run(self, method: str, *point: Any, settings: dict[str, Any] | str | None = None, **named: Any) -> Run:
        """The configuration of one run. A method's settings override those of the point, these the common ones.

        point: a value for each axis, in the order of `ORDER`: label, fraction and seed; or by name. settings: lie over
        all of them, {"train": {"learning_rate": 1e-3}}; a name that only one part has may stand alone, {"steps": 300}.
        A text is read as YAML.
        Raises SettingsError, one sentence, for a name or a value that cannot be.
        """
        own, kind = self.settings(method), CONFIGURATIONS[self.kind]
        narrowed = own.pop("axes", {})
        at = dict(zip(self.axes, point, strict=False)) | named
        if len(point) > len(self.axes) or not self.axes.keys() <= at.keys():
            expected = ", ".join(self.axes)
            raise SettingsError(
                f"profile {self.name}: expected one value for each of {expected}, found {', '.join(at)}"
            )
        base = dict(self.common)
        for axis, value in at.items():
            base = merged(base, self._at(axis, value))
        where = f"profile {self.name}, method {method}"
        if clash := sorted((kind.NAMED | self.axes.keys()) & own.keys()):
            raise SettingsError(f"{where}: sets {clash[0]}, which is no setting of a method; leave it out")
        base = {**merged(base, own), "profile": self.name, "method": method}
        for axis, values in narrowed.items():
            if isinstance(values, dict):
                base = merged(base, values.get(at[axis], {}))
        plain = validated(kind, base, where).filled()
        if isinstance(settings, str):  # as commands and papermill give it
            settings = strict_yaml.parse(settings, "settings")
        if not settings:
            return plain
        changed = merged(base, placed(kind, settings))
        asked = validated(kind, changed, "settings").filled()
        if differs := difference(plain.model_dump(mode="json"), asked.model_dump(mode="json")):
            return asked.model_copy(update={"own": differs})
        return plain

    def _at(self, axis: str, value: Any) -> dict[str, Any]:
        """The settings that a value of an axis stands for."""
        values, found = self.axes.get(axis), nested(axis, value)
        if isinstance(values, dict) and value in values:
            return merged(found, values[value])
        if isinstance(values, dict) and isinstance(value, str):
            raise SettingsError(f"{axis} is {value!r}; {nearest(value, values)}")
        return found

    def points(self) -> list[tuple[Any, ...]]:
        """Method and point of every run. A method may narrow axes that mean nothing to it."""
        found: list[tuple[Any, ...]] = []
        for method in self.methods:
            narrowed = self.settings(method).get("axes", {})
            axes = (narrowed.get(axis, values) for axis, values in self.axes.items())
            found += [(method, *point) for point in product(*axes)]
        return found

    def grid(self) -> list[Run]:
        """Every run of the profile."""
        return [self.run(*point) for point in self.points()]


def names() -> tuple[str, ...]:
    """The profiles of this study: those of Tables 2 and 3 by their name alone, others with their folder."""
    folder = Path(str(files("study"))) / "profiles"
    return tuple(path.relative_to(folder).with_suffix("").as_posix() for path in sorted(folder.rglob("*.yaml")))


def profile(name: str | Path) -> Profile:
    """A profile of this study by its name ("mini", "noise/mini"), or any YAML file by its path.

    A relative path is looked for in the current folder, from the repository's root, and beside its notebooks.
    Raises SettingsError, one sentence, for what is no profile.
    """
    if str(name) in names():
        return _read(Path(str(files("study"))) / "profiles" / f"{name}.yaml")
    places = [Path(name).expanduser(), resolved(name), resolved(Path("notebooks", name))]
    if found := next((place for place in places if place.is_file()), None):
        own = _read(found)
        if own.name in {*RESERVED, *(Path(each).name for each in names())}:
            raise SettingsError(f"{found}: name is {own.name!r}, a folder of this study's results; give yours another")
        return own
    if Path(name).suffix in (".yaml", ".yml"):
        raise SettingsError(f"{name}: no such file in {' or '.join(str(place.parent) for place in places)}")
    raise SettingsError(f"there is no profile {str(name)!r}; {nearest(name, names())}, or the path of a YAML file")


def of_arm(arm: str, name: str | Path, axis: str) -> Profile:
    """A profile of `study/profiles/ARM` by its name alone, or any whose grid has the axis that this arm is about."""
    own = [each.partition("/")[2] for each in names() if each.startswith(f"{arm}/")]
    found = profile(f"{arm}/{name}" if str(name) in own else name)
    if axis not in found.axes:
        raise SettingsError(f"{name}: no axis {axis}; expected {' or '.join(own)}, or the path of a YAML file with one")
    return found


def _read(file: Path) -> Profile:
    return validated(Profile, _content(file), str(file))


def _content(file: Path, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a profile's file says, laid over what it is like. above: the profiles that are like this one."""
    content = strict_yaml.read(file)
    if not isinstance(content, dict):
        raise SettingsError(f"{file}: holds {type(content).__name__}, expected name, about, axes, common and methods")
    like = content.pop("like", None)
    if like is None:
        return content
    if like not in names() or like in above:
        raise SettingsError(f"{file}: is like {like!r}; {nearest(like, [n for n in names() if n not in above])}")
    return merged(_content(Path(str(files("study"))) / "profiles" / f"{like}.yaml", (*above, like)), content)


def merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`base` with `own` laid over it, level by level. A `model` that says its kind is replaced whole."""
    result = dict(base)
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both and not (key == "model" and "kind" in value) else value
    return result


def nested(path: str, value: Any) -> dict[str, Any]:
    """noise.rate, 0.4 → {"noise": {"rate": 0.4}}."""
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


def placed(kind: type[Run], settings: Any) -> dict[str, Any]:
    """`settings` with every name in the part of the configuration that has it: steps → train.steps.

    Raises SettingsError for a name that is none, that several parts have, or that is a parameter of the run.
    """
    if not isinstance(settings, dict):
        raise SettingsError(f'settings are {settings!r}, expected a dictionary such as {{"train": {{"steps": 300}}}}')
    parts: dict[str, list[str]] = {}
    for part, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and part != "model":
            for name in inner.model_fields:
                parts.setdefault(name, []).append(part)
    aliases = {str(field.alias) for field in kind.model_fields.values() if field.alias}
    fields = (kind.model_fields.keys() | aliases) - kind.NAMED
    places = {name: f"{inside[0]}.{name}" for name, inside in parts.items()} | {name: name for name in fields}
    found: dict[str, Any] = {}
    for given, value in settings.items():
        name = str(SHORT.get(given, given))
        if name in kind.NAMED:
            raise SettingsError(f"settings: {name} is no setting but a parameter of the run; give it there")
        if name not in places:
            close = get_close_matches(str(name), list(places), n=1)
            hint = f"did you mean {places[close[0]]!r}?" if close else nearest(name, sorted(fields))
            raise SettingsError(f"settings: unknown name {given!r}; {hint}")
        if name not in fields and len(parts[name]) > 1:
            raise SettingsError(f"settings: {name!r} is in {' and in '.join(parts[name])}; say in which one")
        found = merged(found, nested(places[name], value))
    return as_recorded(kind, found)


def as_recorded(kind: type[BaseModel], settings: dict[str, Any]) -> dict[str, Any]:
    """Settings under the names that records have for them, where those are others than the fields'."""
    found = {}
    for name, value in settings.items():
        field = kind.model_fields.get(name)
        inner = field.annotation if field else None
        if isinstance(value, dict) and isinstance(inner, type) and issubclass(inner, BaseModel):
            value = as_recorded(inner, value)
        found[field.alias if field and field.alias else name] = value
    return found


def difference(base: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The values of `other` that `base` does not have, in their places; checksums of weights left out."""
    found = {}
    for key, value in other.items():
        if key in ("base_weights", "sha256") or base.get(key) == value:
            continue
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        found[key] = difference(base[key], value) if both else value
    return {key: value for key, value in found.items() if value != {}}
