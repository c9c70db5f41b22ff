"""Where the services are, when the command line does not say.

The same settings that the services read: the environment, then the settings file
(``CLOSEOUT_CONFIG``, or ``closeout.toml`` in the working folder), then defaults.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from closeout_cli.failures import USAGE, CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping

STATUS_DEFAULT = "127.0.0.1:20051"
SENDER_DEFAULT = "127.0.0.1:20052"
HTTP_DEFAULTS = {"status": "127.0.0.1:20080", "sender": "127.0.0.1:20081"}


def setting(section: str, field: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return what the environment or the settings file says, or nothing.

    Raises:
        CommandError: the settings file can't be read.
    """
    name = f"CLOSEOUT_{section}_{field}".upper()
    if environment.get(name):
        return environment[name]
    path = settings_file(environment)
    if path is None:
        return None
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get(section, {})
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CommandError(f"settings file {path}: {reason}", exit_code=USAGE) from error
    value = table.get(field) if isinstance(table, dict) else None
    return value if isinstance(value, str) else None


def settings_file(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the settings file that is read, or nothing if there is none."""
    path = Path(environment.get("CLOSEOUT_CONFIG", "closeout.toml"))
    return path.resolve() if "CLOSEOUT_CONFIG" in environment or path.exists() else None


def is_loopback(address: str) -> bool:
    """Return whether only this machine reaches what listens on HOST:PORT."""
    host = address.rpartition(":")[0].strip("[]")
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def status_address() -> str:
    """Return the address of the status service: where the sender finds it, or listens itself."""
    return setting("sender", "status_address") or setting("status", "listen") or STATUS_DEFAULT


def sender_address() -> str:
    """Return the address of the sender service."""
    return setting("sender", "listen") or SENDER_DEFAULT


def http_address(service: str) -> str:
    """Return where HTTP of a service is; empty where it is off, or on a port it alone knows."""
    address = setting(service, "http_listen")
    if address is None:
        address = HTTP_DEFAULTS[service]
    if address.rpartition(":")[2] in {"", "0"}:
        return ""
    return f"https://{address}" if setting(service, "tls_certificate_file") else address
