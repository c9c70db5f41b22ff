"""What no resend is made of, and that nothing is left of one that is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from closeout.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from closeout.status.v1 import status_pb2
from integration.family_support import change, create
from integration.resend_support import ended_campaign
from integration.sender_pair import Pair, pair
from sender_service.channels.errors import TemplateError

Result = status_pb2.Result


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Pair]:
    """Both services, and a campaign with one message of each outcome."""
    async with ended_campaign(tmp_path) as services:
        yield services


async def test_a_resend_to_nobody_is_refused(both: Pair) -> None:
    """No empty campaign is left behind, and the message says why."""
    with pytest.raises(InvalidArgumentError, match="nobody in campaign 'first'"):
        await both.sender.resend_campaign(
            source_campaign_id="first", include_unsent=True, campaign_id="again"
        )
    with pytest.raises(NotFoundError):
        await both.status.get_campaign(campaign_id="again")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"outcomes": []}, "outcomes"),
        ({"outcomes": [0]}, "outcomes[0]"),
        ({"outcomes": [9]}, "outcomes[0]"),
        ({"source_campaign_id": ""}, "source_campaign_id"),
        ({"campaign_id": "first"}, "campaign_id"),
        ({"campaign_id": "-"}, "campaign_id"),
        ({"request_id": "x"}, "request_id"),
        ({"display_name": "x" * 201}, "display_name"),
    ],
)
async def test_wrong_fields_are_named(both: Pair, fields: dict[str, Any], field: str) -> None:
    """Each one, by its name in the request."""
    call: dict[str, Any] = {"source_campaign_id": "first", "outcomes": [Result.FAILED]}
    with pytest.raises(InvalidArgumentError) as caught:
        await both.sender.resend_campaign(**(call | fields))
    assert list(caught.value.field_violations) == [field]


async def test_content_that_no_longer_compiles_is_refused(both: Pair) -> None:
    """No campaign is left behind that could send nothing."""

    def broken(content: Any) -> Any:  # noqa: ARG001 - as a channel takes it
        raise TemplateError("subject", "unknown filter 'gone'", line=1, column=7)

    both.channel.compile = broken  # type: ignore[method-assign]
    with pytest.raises(InvalidArgumentError) as caught:
        await both.sender.resend_campaign(
            source_campaign_id="first", outcomes=[Result.FAILED], campaign_id="again"
        )
    assert caught.value.reason == "TEMPLATE_INVALID"
    with pytest.raises(NotFoundError):
        await both.status.get_campaign(campaign_id="again")


async def test_a_source_that_is_not_there_is_not_found(both: Pair) -> None:
    """An unknown id, or one of another organisation."""
    change(both, "UPDATE campaigns SET organisation = 'other' WHERE campaign_id = 'first'")
    for source in ("nobody", "first"):
        for validate_only in (False, True):
            with pytest.raises(NotFoundError) as caught:
                await both.sender.resend_campaign(
                    source_campaign_id=source,
                    outcomes=[Result.FAILED],
                    campaign_id="again",
                    validate_only=validate_only,
                )
            assert caught.value.reason == "CAMPAIGN_NOT_FOUND"


async def test_a_campaign_that_has_not_ended_is_refused(tmp_path: Path) -> None:
    """Collected, scheduled or under way: its outcomes are not known yet."""
    async with pair(tmp_path) as both:
        await create(both, "first", ["ann"])
        both.channel.hold.clear()
        for phase in ("COLLECTING", "STARTED"):
            with pytest.raises(FailedPreconditionError) as caught:
                await both.sender.resend_campaign(
                    source_campaign_id="first", outcomes=[Result.SENT], campaign_id="again"
                )
            assert caught.value.reason == "CAMPAIGN_NOT_ENDED"
            assert caught.value.metadata == {"campaign_id": "first", "phase": phase}
            await both.sender.start_campaign(campaign_id="first")
        both.channel.hold.set()
        await both.finished("first")
