"""docs/events.md says what is sent: kinds, fields, headers, waits and limits."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from standardwebhooks import WebhookVerificationError

from status_service.events import backoff, event_list, signature, subscriptions
from status_service.events.answer import TIMEOUT_SECONDS
from status_service.events.cloud_event import body_of
from status_service.events.kinds import KINDS, USUAL
from status_service.events.queue import Bounds

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def body() -> dict[str, Any]:
    """Return an event with every field."""
    campaign: Any = SimpleNamespace(
        **dict.fromkeys(("sent", "failed", "skipped", "unknown", "total", "revision"), 1),
        **dict.fromkeys(("campaign_id", "display_name", "channel", "state", "organisation"), "x"),
        **dict.fromkeys(("progress_time", "complete_time")),
        labels="{}",
    )
    names = ("from_state", "to_state", "cause", "actor", "on_behalf_of", "reason")
    transition: Any = SimpleNamespace(**dict.fromkeys(names, "x"), create_time=None)
    event: Any = SimpleNamespace(
        event=42, event_id="x", kind="campaign.completed", create_time=None
    )
    text = body_of(event, campaign, transition, {"explanation": "x", "action": "x"})
    return dict(json.loads(text))


def test_every_kind_is_on_the_page_and_no_other() -> None:
    """With those that a subscription gets which names none."""
    rows = re.findall(r"^\| `(campaign\.\w+)` \|.*\| (sent)? ?\|$", PAGE, re.MULTILINE)
    assert sorted(kind for kind, _ in rows) == sorted(KINDS)
    assert sorted(kind for kind, sent in rows if sent) == sorted(USUAL)


def test_the_body_has_the_fields_of_the_page() -> None:
    """In the example, and each in the table."""
    shown, sent = json.loads(blocks("json")[0]), body()
    assert shown.keys() == sent.keys()
    assert shown["data"].keys() == sent["data"].keys()
    assert shown["data"]["transition"].keys() == sent["data"]["transition"].keys()
    for name in sent:
        assert name == "data" or f"| `{name}` |" in PAGE
    for name in sent["data"]:
        assert f"`data.{name}`" in PAGE
    for name in sent["data"]["transition"]:
        assert f"`{name}`" in PAGE


@pytest.mark.parametrize("changed", ["", "body", "timestamp", "id", "secret"])
def test_the_six_lines_tell_a_genuine_event_from_another(changed: str) -> None:
    """The code on the page is what runs here."""
    made, sent = signature.new_secret(), b'{"id": "x"}'
    headers = signature.headers(made, event_id="x", timestamp=int(time.time()), body=sent)
    assert all(f"`{name}`" in PAGE for name in headers)
    names: dict[str, Any] = {
        "headers": headers
        | ({"webhook-id": "y"} if changed == "id" else {})
        | ({"webhook-timestamp": "1"} if changed == "timestamp" else {}),
        "body": sent + (b" " if changed == "body" else b""),
        "secret": signature.new_secret() if changed == "secret" else made,
    }
    library, code = blocks("python")
    assert len(code.strip().splitlines()) - 2 <= 6, "without the import and the blank line"
    exec(code, names)  # noqa: S102 - the page of the project
    assert (names["genuine"] and names["fresh"]) == (not changed)
    if changed:
        with pytest.raises(WebhookVerificationError):
            exec(library, names)  # noqa: S102
    else:
        exec(library, names)  # noqa: S102
        assert names["event"] == {"id": "x"}


def test_waits_and_limits_are_those_of_the_page() -> None:
    """Each number once more."""
    spans = {"s": 1, "min": 60, "h": 3_600}
    (line,) = re.findall(r"tried again after (.*?), and then every (\d+) h", PAGE)
    waits = [int(number) * spans[unit] for number, unit in re.findall(r"(\d+) (s|min|h)", line[0])]
    assert [*waits, int(line[1]) * 3_600] == [wait.total_seconds() for wait in backoff._WAITS]
    bounds = Bounds()
    for text in (
        f"| {subscriptions.MOST_SUBSCRIPTIONS} |",
        f"| {TIMEOUT_SECONDS:g} s |",
        f"{bounds.all} in all, {bounds.organisation} of one organisation",
        f"{bounds.subscription} of one subscription",
        f"| {subscriptions.MOST_REPLAYED:,} |",
        f"| {event_list.MOST_LISTED} |",
    ):
        assert text in PAGE
