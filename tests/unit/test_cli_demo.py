"""The check of the demo: results against the ledger of the provider."""

from __future__ import annotations

import pytest

from closeout.status.v1 import status_pb2 as pb
from closeout_cli.demo.ledger import Accepted
from closeout_cli.demo.ledger_check import differences


def sent(*numbers: str) -> list[pb.Result]:
    """Return results that name these messages of the provider's."""
    return [pb.Result(outcome=pb.Result.SENT, provider_message_id=number) for number in numbers]


def accepted(*recipients: str) -> list[Accepted]:
    """Return a ledger with these recipients."""
    return [Accepted(recipient, f"<{number}>", 0.0) for number, recipient in enumerate(recipients)]


@pytest.mark.parametrize(
    ("results", "ledger", "difference"),
    [
        (sent("00000001"), accepted("a", "b"), "accepted by the provider, but not SENT: b"),
        (sent("00000001", "00000002"), accepted("a"), "SENT, but not accepted"),
        (sent("00000001", "00000001"), accepted("a"), "several results: 00000001"),
        (sent("00000001", "00000002"), accepted("a", "a"), "more than once: a"),
    ],
)
def test_a_difference_is_found(
    results: list[pb.Result], ledger: list[Accepted], difference: str
) -> None:
    """Each way in which results and ledger can disagree is seen and named."""
    (found,) = differences(results, ledger)
    assert difference in found


def test_no_difference_is_nothing() -> None:
    """What was not SENT needs no entry in the ledger."""
    failed = [pb.Result(outcome=pb.Result.FAILED)]
    assert differences([*sent("00000002", "00000001"), *failed], accepted("a", "b")) == []
