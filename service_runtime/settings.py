"""Settings from the environment and an optional TOML file; a typo is an error.

The environment wins over the file. The file is ``CLOSEOUT_CONFIG``, or
``closeout.toml`` in the working folder if there is one.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pydantic

from service_runtime.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PREFIX = "CLOSEOUT_"
_FILE = "CLOSEOUT_CONFIG"
_DEFAULT_FILE = "closeout.toml"
#: The entry points of channels; each channel has a table under its name.
_CHANNELS = "closeout.channels"

S = TypeVar("S", bound=pydantic.BaseModel)


class Section(pydantic.BaseModel):
    """Base of a table of settings: immutable, and unknown names are errors."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


def sections() -> list[str]:
    """Return the tables of the file; they are also the second words of the variables.

    A service reads its tables and knows the others in order to detect typos.
    """
    channels = importlib.metadata.entry_points(group=_CHANNELS)
    return ["status", "sender", "log", *sorted(channels.names)]


def load(model: type[S], environment: Mapping[str, str] = os.environ) -> S:
    """Return the settings of ``model``, whose fields are sections.

    ``CLOSEOUT_STATUS_LISTEN`` and ``listen`` in the table ``[status]`` are the
    field ``status.listen``.

    Raises:
        StartupError: the file can't be read, or a setting is wrong or unknown;
            one line names the setting, its place and the expected value.
    """
    values, places = _from_file(environment)
    for name, value in environment.items():
        if not name.startswith(PREFIX) or name == _FILE:
            continue
        section, field = _split(name.removeprefix(PREFIX).lower())
        if not field:
            raise StartupError(f"unknown setting {name}{_suggestion(name, _names(model))}")
        values.setdefault(section, {})[field] = value
        places[section, field] = name
    known = {section: values[section] for section in model.model_fields if section in values}
    try:
        return model.model_validate(known)
    except pydantic.ValidationError as error:
        raise StartupError(_first_error(error, places, model)) from error


def _split(name: str) -> tuple[str, str]:
    """Return the section and the field of a variable; the field is empty if unknown.

    The longest section wins, because the name of a channel may contain an underscore.
    """
    for section in sorted(sections(), key=len, reverse=True):
        if name.startswith(f"{section}_"):
            return section, name.removeprefix(f"{section}_")
    return name, ""


def _from_file(
    environment: Mapping[str, str],
) -> tuple[dict[str, dict[str, Any]], dict[tuple[str, str], str]]:
    path = Path(environment.get(_FILE, _DEFAULT_FILE))
    if _FILE not in environment and not path.exists():
        return {}, {}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StartupError(f"settings file {path}: {error}") from error
    places = {}
    for section, table in tables.items():
        if section not in sections() or not isinstance(table, dict):
            raise StartupError(
                f"settings file {path}: unknown table [{section}]{_suggestion(section, sections())}"
            )
        for field in table:
            places[section, field] = f"settings file {path}: [{section}] {field}"
    return tables, places


def _names(model: type[pydantic.BaseModel]) -> list[str]:
    return [
        f"{PREFIX}{section}_{field}".upper()
        for section, info in model.model_fields.items()
        for field in _fields(info.annotation)
    ]


def _fields(section: Any) -> Iterable[str]:
    return section.model_fields if issubclass(section, pydantic.BaseModel) else ()


def _first_error(
    error: pydantic.ValidationError,
    places: Mapping[tuple[str, str], str],
    model: type[pydantic.BaseModel],
) -> str:
    first = error.errors()[0]
    section, field = (str(part) for part in (*first["loc"], "")[:2])
    place = places.get((section, field), f"[{section}] {field}")
    if first["type"] == "extra_forbidden":
        known = list(_fields(model.model_fields[section].annotation))
        if place.startswith(PREFIX):
            known = [f"{PREFIX}{section}_{name}".upper() for name in known]
        written = place if place.startswith(PREFIX) else field
        return f"{place}: unknown setting{_suggestion(written, known)}"
    return f"{place}: {first['msg']} (got {first['input']!r})"


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
