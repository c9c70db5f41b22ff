"""The refusal to send two campaigns of one family to the same people, and the ways on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from closeout.errors import FailedPreconditionError
from closeout_cli.failures import FAILED, CommandError

if TYPE_CHECKING:
    from closeout.errors import ClientError

#: The reason of the services.
AUDIENCE_REPEATED = "AUDIENCE_REPEATED"


def is_repetition(error: ClientError) -> bool:
    """Return whether a start was refused since people would get a family twice."""
    return isinstance(error, FailedPreconditionError) and error.reason == AUDIENCE_REPEATED


def repetition(error: ClientError, campaign_id: str, *, from_file: bool = True) -> CommandError:
    """Return the refusal with the numbers, and what to add to the command to go on.

    The draft stays, so that the same command with another option goes on with it.

    Args:
        error: the refusal of the sender.
        campaign_id: the campaign that was not started.
        from_file: whether it has a campaign file, which can give it another family.
    """
    # The service's text goes on with what a program can do.
    found = error.message.partition("; nothing is started")[0]
    repeated, total = (_number(error, key) for key in ("repeated", "total"))
    others = f" the other {total - repeated:,}" if total else " people who did not get it"
    # Where everybody got it, there are no others.
    only_new = () if total and total == repeated else (f"  to{others}: --only-new",)
    everybody = f" all {total:,} of them" if total else " all of them"
    another = "another id in the campaign file, or another name if it has no id"
    ways = (
        *only_new,
        f"  to{everybody} again: --again",
        *((f"  as something else: {another}",) if from_file else ()),
        f"  not at all: closeout cancel {campaign_id} drops the draft that waits for it",
    )
    return CommandError(
        f"{found}. Nothing was sent",
        exit_code=FAILED,
        more=("To send it, repeat the command:", *ways),
    )


def _number(error: ClientError, key: str) -> int:
    text = error.metadata.get(key, "")
    return int(text) if text.isdecimal() else 0
