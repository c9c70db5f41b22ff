"""What a failure of a call reads like, and what to do next."""

from __future__ import annotations

import asyncio

import pytest

from closeout.errors import ClientError, NotFoundError, UnavailableError
from closeout_cli import failures

FULL = "the disk of the status service is full: free some space"


def test_an_unknown_campaign_leads_to_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    """Who mistyped an id learns where the ids are."""
    error = NotFoundError("campaign 'x' not found", reason="CAMPAIGN_NOT_FOUND")
    assert failures.report(error) == failures.NOT_FOUND
    assert capsys.readouterr().err == (
        "closeout: campaign 'x' not found; `closeout list` shows all\n"
    )


def test_a_service_that_answers_speaks_for_itself() -> None:
    """A full disk is shown as one, not as a service that does not answer."""
    full = UnavailableError(FULL, reason="STORE_UNAVAILABLE")
    assert failures.sender_trouble(full, "h:1") == f"the sender at h:1: {FULL}"
    away = UnavailableError("Connection refused")
    assert failures.sender_trouble(away, "h:1") == "the sender at h:1 does not answer (UNAVAILABLE)"
    with (
        pytest.raises(UnavailableError, match="free some space"),
        failures.naming("status service", "h:1", "--status-address"),
    ):
        raise full


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (failures.CommandError("x"), failures.FAILED),
        (UnavailableError(FULL, reason="STORE_UNAVAILABLE"), failures.UNREACHABLE),
        (ClientError("x"), failures.FAILED),
    ],
)
def test_the_exit_code_of_a_failure(error: ClientError, code: int) -> None:
    """A database that does not answer is code 5; what has no code of its own is 1."""
    assert failures.exit_code_of(error) == code
    assert code in failures.MEANINGS


async def test_a_command_that_waits_says_what_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, after some seconds; one that is quicker says nothing."""
    with failures.saying_later("at work"):
        pass
    monkeypatch.setattr(failures, "_SILENT_SECONDS", 0.0)
    with failures.saying_later("at work"):
        for _ in range(3):
            await asyncio.sleep(0)
    assert capsys.readouterr().err == "closeout: at work\n"
