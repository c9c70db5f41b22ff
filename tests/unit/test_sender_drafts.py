"""From a request to a stored campaign: defaults, digests, and content by its kind."""

from __future__ import annotations

from typing import Any

import pytest

from closeout.sender.v1 import sender_pb2 as pb
from sender_service.api import requests
from sender_service.campaigns.content import compiled
from sender_service.campaigns.drafts import new_campaign
from sender_service.channels.console import ConsoleChannel
from sender_service.channels.contract import Channel, content_from_json
from sender_service.channels.email.settings import SmtpSettings
from sender_service.channels.email.smtp import SmtpChannel
from sender_service.channels.errors import InvalidContentError
from sender_service.channels.null import NullChannel
from sender_service.channels.rendering.workers import TemplateWorkers
from sender_service.channels.webhook.channel import WebhookChannel
from sender_service.channels.webhook.settings import WebhookSettings
from sender_service.domain import Guarantee
from sender_service.errors import TemplateInvalidError
from sender_service.store.values import NewCampaign
from service_runtime.errors import InvalidRequestError


def request(**fields: Any) -> pb.CreateCampaignRequest:
    return pb.CreateCampaignRequest(**({"channel": "null"} | fields))


def created(message: pb.CreateCampaignRequest, channel: Channel | None = None) -> NewCampaign:
    """Return the campaign that a request makes, on the channel null where none is given."""
    return new_campaign(requests.create(message), "default", channel or NullChannel())


def options(**fields: Any) -> dict[str, Any]:
    return {"options": pb.DeliveryOptions(**fields)}


def retry(**fields: Any) -> dict[str, Any]:
    return options(retry=pb.RetryPolicy(**fields))


def test_options_left_out_are_the_channels() -> None:
    """Doubt and guarantee come from the channel; five tries, two seconds doubled up to an hour."""
    new = created(request())
    assert (new.max_in_flight, new.guarantee) == (1000, Guarantee.AT_MOST_ONCE)
    assert (new.max_attempts, new.initial_backoff_ms, new.max_backoff_ms) == (5, 2000, 3_600_000)
    assert new.retry_deadline_ms is None


def test_a_schedule_left_out_is_the_channels() -> None:
    """As a whole or wait by wait; a policy that is given has its own limit of tries."""

    def schedule(channel: Channel, **fields: Any) -> tuple[int, int, int, int | None]:
        new = created(request(**fields), channel)
        waits = (new.initial_backoff_ms, new.max_backoff_ms)
        return (*waits, new.max_attempts, new.retry_deadline_ms)

    smtp = SmtpChannel(SmtpSettings(host="x.example"))
    webhook = WebhookChannel(WebhookSettings(url="https://x.example"))
    # Zeros stand for the schedule of the channel, whatever it is when messages are sent.
    assert schedule(smtp) == (0, 0, 0, None)
    assert schedule(webhook) == (0, 0, 0, None)
    assert schedule(smtp, **retry(max_attempts=7)) == (0, 0, 7, None)
    assert schedule(webhook, **retry(deadline={"seconds": 9})) == (0, 0, 0, 9_000)
    # A wait that is chosen is doubled; the other one is the channel's.
    initial = {"seconds": 9}
    assert schedule(smtp, **retry(initial_backoff=initial)) == (9_000, 14_400_000, 0, None)
    assert schedule(webhook, **retry(initial_backoff=initial)) == (9_000, 3_600_000, 0, None)
    assert schedule(smtp, **retry(max_backoff={"seconds": 9})) == (9_000, 9_000, 0, None)


def test_options_given_are_kept() -> None:
    """A policy that is given has no limit of tries but the one it names."""
    given = retry(initial_backoff={"seconds": 7_200}, deadline={"seconds": 10, "nanos": 5_000_000})
    new = created(request(**given))
    assert (new.max_attempts, new.initial_backoff_ms) == (0, 7_200_000)
    assert (new.max_backoff_ms, new.retry_deadline_ms) == (7_200_000, 10_005)
    assert created(request(**retry(max_backoff={"seconds": 1}))).initial_backoff_ms == 1000
    assert created(request(**options(max_in_flight=3, guarantee=2))).max_in_flight == 3


def test_the_digest_of_content_leaves_options_out() -> None:
    """A repeated create is known by all it says, a key only by what is sent (S12)."""
    first = created(request())
    named = created(request(display_name="n"))
    other = created(request(email=pb.EmailContent(text="t")))
    assert first.content_digest == named.content_digest != other.content_digest
    assert len({first.request_digest, named.request_digest, other.request_digest}) == 3


def test_every_choice_is_in_the_digest_of_the_request() -> None:
    """The same id with another label or option is another campaign."""
    digests = {
        created(request(**fields)).request_digest
        for fields in (
            {},
            {"labels": {"list": "a"}},
            {"labels": {"list": "b"}},
            options(max_in_flight=5),
            options(guarantee=pb.DeliveryOptions.AT_MOST_ONCE),
            retry(),
            retry(max_attempts=5),
            retry(deadline={"seconds": 60}),
        )
    }
    assert len(digests) == 8


def test_s12_the_kind_of_content_is_in_its_digest() -> None:
    """The same words as an e-mail, a text and a document have different idempotency keys."""
    digests = {
        created(request(**body)).content_digest
        for body in (
            {"email": pb.EmailContent(text="1")},
            {"text": pb.TextContent(text="1")},
            {"json": pb.JsonContent(json="1")},
            {},
        )
    }
    assert len(digests) == 4


@pytest.mark.parametrize(
    "body",
    [
        {"email": pb.EmailContent(subject="s", text="t", headers={"X-A": "b"})},
        {"text": pb.TextContent(text="t")},
        {"json": pb.JsonContent(json="{}")},
        {},
    ],
)
def test_content_comes_out_of_the_store_as_it_went_in(body: dict[str, Any]) -> None:
    """Each kind is stored under its name."""
    draft = requests.create(request(**body))
    assert content_from_json(created(request(**body)).content) == draft.content


def test_content_of_an_unknown_kind_is_refused() -> None:
    """What a later version stored is no e-mail."""
    with pytest.raises(InvalidContentError, match="unknown kind 'fax'"):
        content_from_json('{"kind": "fax"}')


@pytest.mark.parametrize("body", [{}, {"text": {"text": "t"}}, {"json": {"json": "1"}}])
async def test_smtp_takes_email_only(body: dict[str, Any]) -> None:
    """Content of another kind is refused with the field body and what would do."""
    draft = requests.create(request(channel="smtp", **body))
    with pytest.raises(InvalidRequestError, match="takes email") as caught:
        await compiled(TemplateWorkers(1), SmtpChannel(SmtpSettings(host="x.example")), draft)
    assert list(caught.value.fields) == ["body"]


async def test_a_broken_template_is_named_by_its_path() -> None:
    """Field, line and column are those of the request."""
    draft = requests.create(request(channel="console", text={"text": "a\n{{ b"}))
    with pytest.raises(TemplateInvalidError) as caught:
        await compiled(TemplateWorkers(1), ConsoleChannel(), draft)
    assert caught.value.metadata == {"field": "text.text", "line": "2", "column": "1"}
