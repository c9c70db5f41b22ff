"""Settings from the environment and an optional TOML file; a typo is an error.

The environment wins over the file. The file is ``CLOSEOUT_CONFIG``, or
``closeout.toml`` in the working folder if there is one.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import pydantic

from service_runtime.errors import StartupError
from service_runtime.setting_names import CLIENT_VARIABLES, Catalogue, installed, known_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PREFIX = "CLOSEOUT_"
_FILE = "CLOSEOUT_CONFIG"
#: The descriptor that a parent closes to stop its service: :mod:`.process`.
STOP_DESCRIPTOR = "CLOSEOUT_STOP_DESCRIPTOR"
_NO_SETTINGS = frozenset({_FILE, STOP_DESCRIPTOR, *CLIENT_VARIABLES})
_DEFAULT_FILE = "closeout.toml"
#: The entry points of channels; each channel has a table under its name.
_CHANNELS = "closeout.channels"
#: On, off, or not said; an empty variable says nothing.
Switch = Annotated[
    bool | None, pydantic.BeforeValidator(lambda given: None if given == "" else given)
]
#: Before the text of a validator's error.
_BY_VALIDATOR = "Value error, "

S = TypeVar("S", bound=pydantic.BaseModel)


class SettingsError(StartupError):
    """Settings are wrong.

    Args:
        problems: a line for each, with the setting, its place and the expected value.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Section(pydantic.BaseModel):
    """Base of a table of settings: immutable, and unknown names are errors."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Found(Generic[S]):
    """What the environment and the file say, read as far as that goes.

    Attributes:
        sections: the tables of the model that are right, by name.
        problems: a line for each setting that is wrong or unknown.
    """

    def __init__(self, model: type[S]) -> None:
        self.sections: dict[str, Any] = {}
        self.problems: list[str] = []
        self._model = model

    def complete(self) -> S:
        """Return the settings.

        Raises:
            SettingsError: there are problems.
        """
        if self.problems:
            raise SettingsError(self.problems)
        return self._model.model_validate(self.sections)


def sections() -> list[str]:
    """Return the tables of the file; they are also the second words of the variables.

    A service reads its tables and knows the others in order to detect typos.
    """
    channels = installed(_CHANNELS)
    return ["status", "sender", "log", *sorted(channels.names)]


def load(model: type[S], environment: Mapping[str, str] = os.environ) -> S:
    """Return the settings of ``model``, whose fields are sections.

    ``CLOSEOUT_STATUS_LISTEN`` and ``listen`` in the table ``[status]`` are the
    field ``status.listen``.

    Raises:
        SettingsError: the file can't be read, or settings are wrong or unknown.
    """
    return read(model, environment).complete()


def read(model: type[S], environment: Mapping[str, str] = os.environ) -> Found[S]:
    """Read the settings of ``model`` and find every problem of them."""
    found = Found(model)
    tables = sections()
    values, places = _from_file(environment, found.problems, model)
    for name, value in environment.items():
        if not name.startswith(PREFIX) or name in _NO_SETTINGS:
            continue
        section, field = _split(name.removeprefix(PREFIX).lower(), tables)
        if not field:
            hint = _names(model).suggest_variable(name.removeprefix(PREFIX).lower())
            found.problems.append(f"unknown setting {name}{hint}")
            continue
        values.setdefault(section, {})[field] = value
        places[section, field] = name
    for section, info in model.model_fields.items():
        table: Any = info.annotation
        try:
            found.sections[section] = table.model_validate(values.get(section, {}))
        except pydantic.ValidationError as error:
            found.problems.extend(
                _line(problem, section, places, model)
                for problem in error.errors(include_url=False, include_context=False)
            )
    return found


def place(section: str, field: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return where a setting is set, or the variable that would set it, for messages."""
    variable = f"{PREFIX}{section}_{field}".upper()
    if variable in environment:
        return variable
    found = Found(pydantic.BaseModel)
    _, places = _from_file(environment, found.problems, pydantic.BaseModel)
    return places.get((section, field), variable)


def _split(name: str, tables: list[str]) -> tuple[str, str]:
    """Return the section and the field of a variable; the field is empty if unknown.

    The longest section wins, because the name of a channel may contain an underscore.
    """
    for section in sorted(tables, key=len, reverse=True):
        if name.startswith(f"{section}_"):
            return section, name.removeprefix(f"{section}_")
    return name, ""


def _from_file(
    environment: Mapping[str, str], problems: list[str], model: type[pydantic.BaseModel]
) -> tuple[dict[str, dict[str, Any]], dict[tuple[str, str], str]]:
    """Return the values of the file, and where each stands."""
    path = Path(environment.get(_FILE, _DEFAULT_FILE))
    if _FILE not in environment and not path.exists():
        return {}, {}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        problems.append(f"settings file {path}: {reason}")
        return {}, {}
    values = {}
    places = {}
    for section, table in tables.items():
        if section not in sections() or not isinstance(table, dict):
            hint = _names(model).suggest_section(section)
            problems.append(f"settings file {path}: unknown table [{section}]{hint}")
            continue
        values[section] = table
        for field in table:
            places[section, field] = f"settings file {path}: [{section}] {field}"
    return values, places


def _names(model: type[pydantic.BaseModel]) -> Catalogue:
    """Return the names of all settings that this installation knows."""
    own: dict[str, list[str]] = {}
    for section, info in model.model_fields.items():
        table: Any = info.annotation
        own[section] = list(table.model_fields)
    return Catalogue({**dict.fromkeys(sections(), ()), **known_settings(), **own})


def _line(
    error: Any, section: str, places: Mapping[tuple[str, str], str], model: type[pydantic.BaseModel]
) -> str:
    """Return one line for an error in a table."""
    field = str(error["loc"][0]) if error["loc"] else ""
    place = places.get((section, field), f"[{section}] {field}".rstrip())
    if error["type"] == "extra_forbidden":
        in_variable = place.startswith(PREFIX)
        hint = _names(model).suggest_field(section, field, in_variable=in_variable)
        return f"{place}: unknown setting{hint}"
    message = error["msg"].removeprefix(_BY_VALIDATOR)
    if error["msg"] != message or _may_hold_secret(model, section, field):
        return f"{place}: {message}"  # a validator quotes what may be shown
    return f"{place}: {message}{_shown(error['input'])}"


def _may_hold_secret(model: type[pydantic.BaseModel], section: str, field: str) -> bool:
    table: Any = model.model_fields[section].annotation
    info = table.model_fields.get(field)
    return info is not None and "Secret" in str(info.annotation)


def _shown(value: object) -> str:
    """Return a value for a message if it is a number; all else may be a secret gone astray."""
    try:
        float(str(value))
    except ValueError:
        return ""
    return f" (got {value!r})"
