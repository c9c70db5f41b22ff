"""The key and TLS that every command calls the services with: the variables of clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from closeout import from_environment
from closeout.credentials import sends_in_plain_text
from closeout_cli.failures import USAGE, CommandError

if TYPE_CHECKING:
    from closeout.environment import ClientOptions


def client_options(address: str) -> ClientOptions:
    """Return what a client of the service at ``address`` is made with.

    Raises:
        CommandError: a variable or a file can't be used, or the key would go in plain text
            to another machine.
    """
    options = checked_environment()
    if sends_in_plain_text(address, **options):
        raise CommandError(
            f"the key would go to {address} in plain text, for anybody on the way to read; set"
            " CLOSEOUT_TLS_CA_FILE to use TLS, or CLOSEOUT_TLS=off where the network is yours",
            exit_code=USAGE,
        )
    return options


def checked_environment() -> ClientOptions:
    """Return what the environment says, whichever service is called.

    Raises:
        CommandError: a variable or a file can't be used.
    """
    try:
        return from_environment()
    except ValueError as error:
        raise CommandError(str(error), exit_code=USAGE) from error
