"""Check the settings of a service: print every problem, and start or change nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from service_runtime import port_holder
from service_runtime.database_url import check_url
from service_runtime.process import EXIT_STARTUP

if TYPE_CHECKING:
    from collections.abc import Iterable


def report(holder: str, problems: Iterable[str]) -> int:
    """Print a line for each problem, or one that there is none; return the exit code."""
    lines = list(dict.fromkeys(problems))
    for line in lines or [f"{holder}: the settings are right"]:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    return EXIT_STARTUP if lines else 0


def database_problems(url: str, place: str) -> list[str]:
    """Return why the file of a SQLite database can't be opened or made; nothing is made.

    Args:
        url: a URL that the settings accept.
        place: the setting, for the message.
    """
    parsed = check_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return []
    path = Path(parsed.database)
    if path.exists():
        if not path.is_file():
            return [f"{place}: {path} is not a file; name the file of the database"]
        if not os.access(path, os.R_OK | os.W_OK):
            return [f"{place}: {path} can't be written; change its owner or take another file"]
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        return [f"{place}: {folder} is not a folder; take another path"]
    if not os.access(folder, os.W_OK | os.X_OK):
        return [f"{place}: the folder {folder} can't be written; change its owner or take another"]
    return []


def port_problems(address: str, place: str = "") -> list[str]:
    """Return why a service can't listen on an address now; an empty address is nowhere.

    Args:
        address: HOST:PORT.
        place: the setting, for the message; empty: the address is enough.
    """
    obstacle = port_holder.obstacle(address) if address else ""
    if not obstacle:
        return []
    return [f"{place}: {obstacle}" if place else obstacle]
