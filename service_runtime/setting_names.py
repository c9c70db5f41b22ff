"""The names of all settings, and which one a wrong name probably means."""

from __future__ import annotations

import difflib
import functools
import importlib.metadata
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_PREFIX = "CLOSEOUT_"
#: The entry points whose settings are known here: tables, and channels with a table.
_TABLES = "closeout.settings"
_CHANNELS = "closeout.channels"

#: What people write for the name of a setting.
_OTHER_WORDS: Final = {
    "tls": "security",
    "ssl": "security",
    "starttls": "security",
    "encryption": "security",
    "use_tls": "security",
    "use_ssl": "security",
    "user": "username",
    "login": "username",
    "account": "username",
    "pass": "password",
    "passwd": "password",
    "pwd": "password",
    "server": "host",
    "hostname": "host",
    "timeout": "timeout_seconds",
    "endpoint": "url",
    "token": "authorization",
    "auth": "authorization",
    "key": "secret",
    "bind": "listen",
    "address": "listen",
    "port": "listen",
    "db": "database_url",
    "database": "database_url",
    "ca": "ca_file",
    "verify": "verify_certificates",
}
#: What people write for the name of a table.
_OTHER_TABLES: Final = {
    "mail": "smtp",
    "email": "smtp",
    "smtps": "smtp",
    "http": "webhook",
    "https": "webhook",
    "hook": "webhook",
    "logging": "log",
}
#: What is set elsewhere.
_ELSEWHERE: Final = {
    "from": "; the sender's address is `from` in [content] of the campaign file",
    "from_address": "; the sender's address is `from` in [content] of the campaign file",
    "sender": "; the sender's address is `from` in [content] of the campaign file",
    "reply_to": "; it is `reply_to` in [content] of the campaign file",
}


#: What clients and the command read, and services leave alone: closeout.environment.
CLIENT_VARIABLES: Final = (
    "CLOSEOUT_API_KEY",
    "CLOSEOUT_API_KEY_FILE",
    "CLOSEOUT_TLS",
    "CLOSEOUT_TLS_CA_FILE",
    "CLOSEOUT_TLS_CERTIFICATE_FILE",
    "CLOSEOUT_TLS_KEY_FILE",
)


@functools.cache
def installed(group: str) -> importlib.metadata.EntryPoints:
    """Return the entry points of a group; all that is installed is looked through once."""
    return importlib.metadata.entry_points(group=group)


def known_settings() -> dict[str, list[str]]:
    """Return the names of all installed settings, by table.

    A channel that can't be imported is left out; the sender service reports it.
    """
    found: dict[str, list[str]] = {}
    for entry_point in installed(_TABLES):
        found[entry_point.name] = list(entry_point.load().model_fields)
    for entry_point in installed(_CHANNELS):
        try:
            channel: Any = entry_point.load()
        except (ImportError, AttributeError):
            continue
        found[entry_point.name] = list(channel.settings_model.model_fields)
    return found


class Catalogue:
    """Names of settings; each method returns ``; did you mean ...?``, or nothing.

    Args:
        tables: the names of the fields, by table.
    """

    def __init__(self, tables: Mapping[str, Sequence[str]]) -> None:
        self._tables = tables

    def suggest_section(self, name: str) -> str:
        """Suggest a table of the file for the unknown ``name``."""
        section = self._nearest_section(name)
        if section:
            return f"; did you mean [{section}]?"
        holders = [table for table, fields in self._tables.items() if name in fields]
        return _asked([f"{name} in [{table}]" for table in holders])

    def suggest_field(self, section: str, name: str, *, in_variable: bool) -> str:
        """Suggest a field of ``section`` for the unknown ``name``.

        Args:
            section: a known table.
            name: the field, in small letters if it comes from a variable.
            in_variable: whether to suggest the variable rather than the field.
        """
        if section == "smtp" and name in _ELSEWHERE:
            return _ELSEWHERE[name]
        field = _nearest_field(name, self._tables[section])
        if field:
            return _asked([_variable(section, field) if in_variable else field])
        holders = [table for table, fields in self._tables.items() if name in fields]
        if in_variable:
            return _asked([_variable(table, name) for table in holders])
        return _asked([f"{name} in [{table}]" for table in holders])

    def suggest_variable(self, name: str) -> str:
        """Suggest a variable for one of an unknown table.

        Args:
            name: the variable in small letters, without ``CLOSEOUT_``.
        """
        if name in _ELSEWHERE:
            return _ELSEWHERE[name]
        words = name.split("_")
        for count in range(1, len(words)):
            section = self._nearest_section("_".join(words[:count]))
            field = "_".join(words[count:])
            if section and (meant := _nearest_field(field, self._tables[section])):
                return _asked([_variable(section, meant)])
        holders = [table for table, fields in self._tables.items() if name in fields]
        if holders:
            return _asked([_variable(table, name) for table in holders])
        of_clients = [known.removeprefix(_PREFIX).lower() for known in CLIENT_VARIABLES]
        if near := difflib.get_close_matches(name, of_clients, n=1, cutoff=0.65):
            return _asked([f"{_PREFIX}{near[0].upper()}"])
        every = [
            _variable(table, field) for table, fields in self._tables.items() for field in fields
        ]
        return _asked(difflib.get_close_matches(f"{_PREFIX}{name.upper()}", every, n=1, cutoff=0.8))

    def _nearest_section(self, name: str) -> str:
        if name in self._tables:
            return name
        if name in _OTHER_TABLES and _OTHER_TABLES[name] in self._tables:
            return _OTHER_TABLES[name]
        return next(iter(difflib.get_close_matches(name, list(self._tables), n=1)), "")


def _nearest_field(name: str, fields: Sequence[str]) -> str:
    """Return the field that ``name`` is or probably means; empty if none is near."""
    if name in fields:
        return name
    if _OTHER_WORDS.get(name) in fields:
        return _OTHER_WORDS[name]
    return next(iter(difflib.get_close_matches(name, fields, n=1)), "")


def _variable(section: str, field: str) -> str:
    return f"{_PREFIX}{section}_{field}".upper()


def _asked(names: Iterable[str]) -> str:
    listed = " or ".join(names)
    return f"; did you mean {listed}?" if listed else ""
