"""Exit codes, and how a failure reads: one line that says what to do.

Scripts depend on the codes; ``closeout --help`` lists them.
"""

from __future__ import annotations

import contextlib
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

if TYPE_CHECKING:
    from collections.abc import Iterator

OK: Final = 0
#: The command failed, was refused, or what it waited for ended badly.
FAILED: Final = 1
#: The command line, a campaign file or a recipients file is wrong.
USAGE: Final = 2
#: Something is stuck that only a person can decide about.
NEEDS_A_PERSON: Final = 3
#: There is no such campaign.
NOT_FOUND: Final = 4
#: A service does not answer.
UNREACHABLE: Final = 5
#: Ended by Ctrl-C.
INTERRUPTED: Final = 130

#: Deadline of calls that look at every message of a campaign, seconds.
LONG_TIMEOUT_SECONDS: Final = 60.0

#: The texts of ``closeout --help``.
MEANINGS: Final = {
    OK: "done; nothing is left to do",
    FAILED: "failed or refused",
    USAGE: "wrong command line, campaign file or recipients file",
    NEEDS_A_PERSON: "something is stuck and needs a person",
    NOT_FOUND: "no such campaign",
    UNREACHABLE: "a service does not answer",
    INTERRUPTED: "interrupted",
}


class CommandError(Exception):
    """The command ends here; the text says why and what to do, in one line.

    Args:
        message: for people.
        exit_code: one of the codes above.
        more: lines that show the place, printed below.
    """

    def __init__(
        self, message: str, *, exit_code: int = FAILED, more: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.more = more


def report(error: CommandError | ClientError) -> int:
    """Print the failure on standard error and return the exit code for it."""
    more: tuple[str, ...] = ()
    if isinstance(error, CommandError):
        code, more = error.exit_code, error.more
    elif isinstance(error, NotFoundError):
        code = NOT_FOUND
    elif isinstance(error, InvalidArgumentError):
        code = USAGE
    elif isinstance(error, UnavailableError | DeadlineExceededError):
        code = UNREACHABLE
    else:
        code = FAILED
    say(str(error))
    for line in more:
        sys.stderr.write(f"{line}\n")
    return code


def say(line: str) -> None:
    """Print one line for people on standard error, where no script reads it as output."""
    text = " ".join(line.split())
    sys.stderr.write(f"closeout: {''.join(sign for sign in text if sign.isprintable())}\n")


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
def working_long(address: str) -> Iterator[None]:
    """Let a call that takes long with many messages say so when its time is up.

    Raises:
        CommandError: the status service has not answered in time.
    """
    try:
        yield
    except DeadlineExceededError as error:
        if error.reason:
            raise  # the service answered, and its text says what is wrong
        raise CommandError(
            f"no answer of the status service at {address} within {LONG_TIMEOUT_SECONDS:.0f} s;"
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
    return f"the sender at {address} does not answer ({error.code.name})"


def _short(error: ClientError) -> str:
    """Return the part of gRPC's text that is of use to people."""
    text = str(error)
    for known in ("Connection refused", "Name or service not known", "Network is unreachable"):
        if known.lower() in text.lower():
            return known.lower()
    return text.removeprefix("failed to connect to all addresses; last error: ")[:120]
