"""What ``closeout`` imports: what the command needs that is called."""

from __future__ import annotations

import subprocess
import sys

import pytest

from closeout_cli.app import COMMANDS

#: Runs a command, then prints what it has imported, in one line.
_PROGRAM = """
import sys
from closeout_cli.__main__ import main
main(sys.argv[1:])
print(*sys.modules)
"""
#: What services need, and commands that start services, read certificates or check content.
_HEAVY = {
    *("aiohttp", "aiosmtplib", "alembic", "cryptography", "jinja2", "liquid", "psutil", "psycopg"),
    *("sqlalchemy", "starlette", "structlog", "uvicorn", "uvloop", "yaml"),
    *("sender_service", "service_runtime", "status_service"),
}


@pytest.mark.parametrize(
    ("words", "called"),
    [
        (["--version"], set()),
        (["--status-address", "127.0.0.1:1", "status", "x"], {"closeout_cli.campaign_status"}),
        (["--status-address", "127.0.0.1:1", "list"], {"closeout_cli.campaigns"}),
    ],
    ids=["version", "status", "list"],
)
def test_no_other_command_is_imported(words: list[str], called: set[str]) -> None:
    """A command starts as fast as what it needs, and needs nothing that services do."""
    done = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", _PROGRAM, *words], capture_output=True, text=True, check=True
    )
    imported = set(done.stdout.splitlines()[-1].split())
    assert {entry.module for entry in COMMANDS.values()} & imported == called
    assert {name for name in _HEAVY if name in imported} == set()


def test_the_help_has_all_commands() -> None:
    """Each is found under its name; what is listed exists."""
    for name, entry in COMMANDS.items():
        assert entry.imported(name).name == name
