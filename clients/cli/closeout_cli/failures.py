"""Exit codes, and how a failure reads: one line that says what to do.

Scripts depend on the codes; ``closeout --help`` lists them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import TYPE_CHECKING, Final

from closeout.errors import (
    ClientError,
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
    UnimplementedError,
)
from closeout.tls_troubles import remedy
from closeout_cli import output_mode

if TYPE_CHECKING:
    from collections.abc import Iterator

OK: Final = 0
#: The command failed, was refused, or what it waited for ended badly.
FAILED: Final = 1
#: The command line, a campaign file or a recipients file is wrong.
USAGE: Final = 2
#: Something waits for a person: a stuck campaign, a problem of its sender, a wrong setting.
NEEDS_A_PERSON: Final = 3
#: There is no such campaign, key, event or subscription.
NOT_FOUND: Final = 4
#: A service does not answer.
UNREACHABLE: Final = 5
#: The campaign is COMPLETED, and some of its messages failed or are in doubt.
SOME_FAILED: Final = 6
#: Ended by Ctrl-C.
INTERRUPTED: Final = 130

#: Deadline of calls that look at every message of a campaign, seconds.
LONG_TIMEOUT_SECONDS: Final = 60.0
#: Deadline of calls that write a result for every message of a campaign, seconds.
WRITING_TIMEOUT_SECONDS: Final = 3600.0
#: After so many seconds a command that waits says what for.
_SILENT_SECONDS: Final = 5.0

#: The texts of ``closeout --help``.
MEANINGS: Final = {
    OK: "done",
    FAILED: "failed or refused; watch: cancelled; migrate --check: there is work",
    USAGE: "wrong command line, campaign file or recipients file",
    NEEDS_A_PERSON: "explain, fix, doctor, erase: something needs attention",
    NOT_FOUND: "no such campaign, key, event or subscription",
    UNREACHABLE: "a service, or its database, does not answer",
    SOME_FAILED: "watch: completed, but some messages failed or are in doubt",
    INTERRUPTED: "interrupted",
}


#: The canonical code that JSON has for a failure of the command itself.
_CODES: Final = {
    USAGE: "INVALID_ARGUMENT",
    NOT_FOUND: "NOT_FOUND",
    UNREACHABLE: "UNAVAILABLE",
    INTERRUPTED: "CANCELLED",
}


class CommandError(Exception):
    """The command ends here; the text says why and what to do, in one line.

    Args:
        message: for people.
        exit_code: one of the codes above.
        more: lines that show the place, printed below.
        reason: for programs, as in an ErrorReason; empty: that of the call which failed.
    """

    def __init__(
        self,
        message: str,
        *,
        exit_code: int = FAILED,
        more: tuple[str, ...] = (),
        reason: str = "",
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.more = more
        self.reason = reason


def report(error: CommandError | ClientError) -> int:
    """Print the failure on standard error and return the exit code for it.

    It is one line, or with ``--json`` one object: ``{"error": {"code", "reason",
    "message", "metadata", "exit_code"}}``.
    """
    code = exit_code_of(error)
    if output_mode.as_json():
        _print_error(error, code)
        return code
    way_on = "; `closeout list` shows all" if _is_unknown_campaign(error) else ""
    say(f"{error}{way_on}")
    for line in error.more if isinstance(error, CommandError) else ():
        _print(line)
    return code


def _is_unknown_campaign(error: CommandError | ClientError) -> bool:
    return isinstance(error, NotFoundError) and error.reason == "CAMPAIGN_NOT_FOUND"


def exit_code_of(error: CommandError | ClientError) -> int:
    """Return the exit code for a failure."""
    if isinstance(error, CommandError):
        return error.exit_code
    if isinstance(error, NotFoundError):
        return NOT_FOUND
    if isinstance(error, InvalidArgumentError):
        return USAGE
    if isinstance(error, UnavailableError | DeadlineExceededError):
        return UNREACHABLE
    return FAILED


def _print_error(error: CommandError | ClientError, exit_code: int) -> None:
    call = error if isinstance(error, ClientError) else error.__cause__
    code, reason, metadata = _CODES.get(exit_code, "UNKNOWN"), "", dict[str, str]()
    if isinstance(call, ClientError):
        code, reason, metadata = call.code.name, call.reason, call.metadata
    message = str(error)
    if isinstance(error, CommandError):
        reason = error.reason or reason
        message = "\n".join([message, *error.more])
    values = {
        "code": code,
        "reason": reason,
        "message": message,
        "metadata": metadata,
        "exit_code": exit_code,
    }
    _print(json.dumps({"error": values}))


def say(line: str) -> None:
    """Print one line for people on standard error, where no script reads it as output.

    With ``--json`` it is an object: ``{"notice": {"message"}}``.
    """
    if output_mode.as_json():
        _print(json.dumps({"notice": {"message": line}}))
        return
    text = " ".join(line.split())
    _print(f"closeout: {''.join(sign for sign in text if sign.isprintable())}")


def _print(line: str) -> None:
    # Where standard error is full or closed, nobody can be informed; the exit code is
    # still the answer.
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


@contextlib.contextmanager
def naming(service: str, address: str, option: str) -> Iterator[None]:
    """Let failures to reach ``service`` name its address and what to do.

    Raises:
        CommandError: it does not answer, or something else answers there.
    """
    try:
        yield
    except (UnavailableError, DeadlineExceededError) as error:
        if error.reason:
            raise  # the service answered, and its text says what is wrong
        if found := remedy(str(error)):
            raise CommandError(
                f"the {service} at {address} can't be called: {found}", exit_code=UNREACHABLE
            ) from error
        raise CommandError(
            f"the {service} does not answer at {address} ({_short(error)});"
            f" start it with `closeout up`, or name another with {option}",
            exit_code=UNREACHABLE,
        ) from error
    except UnimplementedError as error:
        raise CommandError(
            f"what answers at {address} is not the {service}; name it with {option}",
            exit_code=UNREACHABLE,
        ) from error


@contextlib.contextmanager
def saying_later(line: str) -> Iterator[None]:
    """Say what a command waits for, once it has waited for some seconds."""
    saying = asyncio.get_running_loop().call_later(_SILENT_SECONDS, say, line)
    try:
        yield
    finally:
        saying.cancel()


@contextlib.contextmanager
def working_long(address: str, seconds: float = LONG_TIMEOUT_SECONDS) -> Iterator[None]:
    """Let a call that takes long with many messages say so when its time is up.

    Args:
        address: of the status service.
        seconds: the deadline of the call.

    Raises:
        CommandError: the status service has not answered in time.
    """
    try:
        yield
    except DeadlineExceededError as error:
        if error.reason:
            raise  # the service answered, and its text says what is wrong
        raise CommandError(
            f"no answer of the status service at {address} within {seconds:,.0f} s;"
            " it is probably still working, as a campaign of many messages takes long."
            " Nothing is lost: repeat the command in a while",
            exit_code=UNREACHABLE,
        ) from error


def sender_trouble(error: ClientError, address: str) -> str:
    """Return why the sender gave no answer, for commands that go on without it."""
    if isinstance(error, NotFoundError):
        return f"not a campaign of the sender at {address}"
    if isinstance(error, UnimplementedError):
        return f"what answers at {address} is no sender service of this version"
    if error.reason:
        return f"the sender at {address}: {error.message}"  # it answered, and says why
    return f"the sender at {address} does not answer ({error.code.name})"


def _short(error: ClientError) -> str:
    """Return the part of gRPC's text that is of use to people."""
    text = str(error)
    for known in ("Connection refused", "Name or service not known", "Network is unreachable"):
        if known.lower() in text.lower():
            return known.lower()
    return text.removeprefix("failed to connect to all addresses; last error: ")[:120]
