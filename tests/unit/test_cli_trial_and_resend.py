"""What ``send --test`` says of a message, and what ``resend`` asks before it sends."""

from __future__ import annotations

import io

import pytest

from closeout.sender.v1 import sender_pb2 as pb
from closeout.status.v1 import status_pb2
from closeout_cli import resend
from closeout_cli.__main__ import main
from closeout_cli.campaign_ids import next_id, resend_id
from closeout_cli.failures import CommandError
from closeout_cli.start_request import StartRequest
from closeout_cli.trial import attempt_lines

Attempt = pb.SendTestResponse.Attempt


@pytest.mark.parametrize(
    ("attempt", "lines"),
    [
        (
            Attempt(outcome=status_pb2.Result.SENT, code="250", detail="2.0.0 queued as 7"),
            ["SENT me@example.com: 250 2.0.0 queued as 7"],
        ),
        (Attempt(outcome=status_pb2.Result.SENT), ["SENT me@example.com"]),
        (
            Attempt(
                outcome=status_pb2.Result.FAILED,
                code="535",
                detail="5.7.8 authentication failed",
                problem=status_pb2.Problem(
                    summary="the mail server refuses the login",
                    detail="5.7.8 authentication failed",
                    setting="[smtp] password",
                ),
            ),
            [
                "FAILED me@example.com: 535 5.7.8 authentication failed",
                "  the mail server refuses the login; correct [smtp] password at the sender",
            ],
        ),
        (
            Attempt(
                outcome=status_pb2.Result.FAILED,
                problem=status_pb2.Problem(summary="it can't be reached", detail="refused"),
            ),
            ["FAILED me@example.com", "  it can't be reached", "  refused"],
        ),
        (
            Attempt(outcome=status_pb2.Result.UNKNOWN, code="timeout"),
            [
                "UNKNOWN me@example.com: timeout",
                "  the answer was lost: look whether it arrived, and test again",
            ],
        ),
    ],
)
def test_a_test_message_says_what_to_correct(attempt: Attempt, lines: list[str]) -> None:
    """The outcome, the provider's words, and the setting."""
    attempt.address = "me@example.com"
    assert attempt_lines(attempt) == lines


def test_a_resend_asks_with_its_numbers() -> None:
    """Only outcomes that somebody has are named, with what they mean."""
    found = resend.Resend(
        "c", ("failed", "unknown", "skipped", "unsent"), "c-resend-failed", StartRequest()
    )
    counted = pb.ResendCampaignResponse(total=12, unknown=10, unsent=2)
    assert resend.question(found, counted) == (
        "Resend to 12 people? 10 unknown: some may get it twice; 2 unsent."
    )
    counted = pb.ResendCampaignResponse(total=1, failed=1)
    assert resend.question(found, counted) == "Resend to 1 person? 1 failed."


def test_a_resend_has_the_id_of_its_source_and_outcomes() -> None:
    """Any order of the outcomes is one id, and no id is longer than the services take."""
    assert resend_id("c", ("unsent", "failed")) == "c-resend-failed-unsent"
    assert resend_id("c", ("failed", "unsent")) == "c-resend-failed-unsent"
    long = resend_id("c" * 127 + "a", ("failed",))
    assert len(long) == 128
    assert long != resend_id("c" * 127 + "b", ("failed",))


@pytest.mark.parametrize(
    ("campaign_id", "following"),
    [
        ("letter-12345678", "letter-12345678-2"),
        ("letter-2", "letter-3"),
        ("letter-99", "letter-100"),
        ("letter-1", "letter-1-2"),
        ("x" * 128, f"{'x' * 124}-2"),
    ],
)
def test_the_id_for_once_more(campaign_id: str, following: str) -> None:
    """A number is raised; an id without one gets 2, and a digest is no number."""
    assert next_id(campaign_id) == following


def test_a_resend_without_a_terminal_needs_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent, and the option is named."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    found = resend.Resend("c", ("failed",), "c-resend-failed", StartRequest())
    counted = pb.ResendCampaignResponse(total=1, failed=1)
    with pytest.raises(CommandError, match="Nothing was sent: agree with --yes"):
        resend._ask(found, counted)


@pytest.mark.parametrize(("answer", "sent"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_a_resend_is_sent_after_a_yes_alone(
    answer: str, monkeypatch: pytest.MonkeyPatch, *, sent: bool
) -> None:
    """In a terminal the person decides, and no answer is a no."""
    monkeypatch.setattr(resend, "may_ask", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    found = resend.Resend("c", ("failed",), "c-resend-failed", StartRequest())
    counted = pb.ResendCampaignResponse(total=1, failed=1)
    if sent:
        resend._ask(found, counted)
    else:
        with pytest.raises(CommandError, match="nothing was changed"):
            resend._ask(found, counted)


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("failed,lost", "--to takes failed, unknown, skipped, sent, unsent, not 'lost'"),
        (" , ", "--to needs an outcome, as in failed,unsent"),
    ],
)
def test_a_wrong_outcome_is_refused(
    to: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names those that there are."""
    assert main(["resend", "c", "--to", to]) == 2
    assert message in capsys.readouterr().err
