"""The story of the founding bug: a campaign is stuck, and each way to mend it does the right thing.

Every way in which RepairCampaigns finds a campaign stuck is made, with both services as
processes and with keys. It is mended at the start of the service, by ``closeout``, by grpcurl
and by curl: what its results prove is completed, and nothing else is touched. No message
without a result becomes sent, and no campaign that lacks results is ended.

test_mending_browser.py does the same by clicks in Chromium and by keyboard alone, and
test_prometheus.py shows that a real Prometheus calls for a stalled campaign, and only for it.
"""

from __future__ import annotations

import getpass
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from acceptance.documents import ROOT
from acceptance.processes import wait_until
from acceptance.stuck_story import (
    LEFT_ALONE,
    PERSON,
    REPAIRED,
    WAYS,
    Said,
    Story,
    story,
    timeless,
)
from integration.page_reader import Document
from integration.scrapes import Scrape, parsed
from integration.status_support import check_invariants

_HERE = f"{getpass.getuser()}@{socket.gethostname()}"


@pytest.fixture(scope="module")
def stuck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Both services with keys, for all tests of this module."""
    with story(tmp_path_factory.mktemp("story")) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_is_left(stuck: Story) -> Iterator[None]:
    """After each test, what must hold in the database holds; then its campaigns are ended."""
    yield
    opened = "SELECT campaign_id FROM campaigns WHERE state IN ('SENDING', 'PAUSED')"
    try:
        with stuck.database.by_hand() as connection:
            check_invariants(connection)
    finally:
        for row in stuck.rows(opened):
            assert stuck.curl(f"campaigns/{row['campaign_id']}:cancel", {}).code == 0


@contextmanager
def only_defects_are_mended(stuck: Story, prefix: str) -> Iterator[None]:
    """See that the block completes what is full, corrects what is wrong, and touches no other."""
    before = {way: stuck.stored(f"{prefix}-{way}") for way in LEFT_ALONE}
    yield
    for way in REPAIRED:
        assert stuck.counts(f"{prefix}-{way}") == ("COMPLETED", 2, 1, 0)
        kinds = stuck.events(f"{prefix}-{way}")
        assert sorted(kinds)[-2:] == ["campaign.repaired", "campaign.sending"], kinds
        assert kinds.count("campaign.completed") == 1
    # One message has no result: its counter is right now, and it stays open.
    assert stuck.counts(f"{prefix}-hole") == ("SENDING", 2, 0, 0)
    assert stuck.curl(f"campaigns/{prefix}-hole/missingRanges").json["ranges"] == [
        {"first": "3", "last": "3"}
    ]
    for way, stored in before.items():
        assert stuck.stored(f"{prefix}-{way}") == stored, way
        assert "campaign.repaired" not in stuck.events(f"{prefix}-{way}")


def _start_again(stuck: Story, _: str) -> None:
    stuck.status.terminate()
    stuck.status.start()
    wait_until(
        lambda: len(stuck.status.events("campaign_repaired")) >= len(REPAIRED) + 1,
        what="the pass at the start",
    )


def _fix(stuck: Story, _: str) -> None:
    said = stuck.closeout("fix", "--json")
    assert said.code == 3, said  # two need a person
    assert said.json["repaired"] == 3
    assert said.json["needs_attention"] == 2


def _grpcurl(stuck: Story, _: str) -> None:
    said = stuck.grpcurl("RepairCampaigns", {})
    assert said.code == 0, said
    assert (said.json["repaired_campaigns"], said.json["attention_campaigns"]) == (3, 2)


def _curl(stuck: Story, _: str) -> None:
    said = stuck.curl("campaigns:repair", {})
    assert said.code == 0, said
    assert (said.json["repairedCampaigns"], said.json["attentionCampaigns"]) == (3, 2)


@pytest.mark.parametrize(
    ("mend", "actor", "person"),
    [
        pytest.param(_start_again, "reconcile", "", id="start"),
        pytest.param(_fix, "key:ops", _HERE, id="fix"),
        pytest.param(_grpcurl, "key:ops", PERSON, id="grpcurl"),
        pytest.param(_curl, "key:ops", PERSON, id="curl"),
    ],
)
def test_a_repair_does_what_results_prove_and_nothing_else(
    stuck: Story, mend: Callable[[Story, str], None], actor: str, person: str
) -> None:
    """The audit trail says who repaired, for whom and why; a second repair finds nothing."""
    prefix = mend.__name__.strip("_").replace("_", "-")
    stuck.make(prefix)
    with only_defects_are_mended(stuck, prefix):
        mend(stuck, prefix)
    for way in REPAIRED:
        why = f"repair: {WAYS[way]}"
        last = stuck.last_change(f"{prefix}-{way}")
        assert last == ("COMPLETED", "RECONCILE", actor, person, why)
    again = stuck.curl("campaigns:repair", {}).json
    assert again["repairedCampaigns"] == 0
    # What a person has to look at is announced once, by the pass alone.
    announced = 1 if mend is _start_again else 0
    for way in LEFT_ALONE:
        expected = announced if way in {"stalled", "never"} else 0
        assert stuck.events(f"{prefix}-{way}").count("campaign.stalled") == expected


@pytest.mark.parametrize("program", ["closeout", "grpcurl", "curl"])
def test_mark_complete_completes_what_is_full_and_refuses_what_is_not(
    stuck: Story, program: str
) -> None:
    """A refusal has the counts and the missing ranges, and changes nothing."""

    def mark(way: str) -> Said:
        identity = f"mark-{program}-{way}"
        why = {"reason": "checked by hand"}
        if program == "closeout":
            return stuck.closeout("mark-complete", identity, "--reason", why["reason"])
        if program == "grpcurl":
            return stuck.grpcurl("MarkComplete", {"campaign_id": identity, **why})
        return stuck.curl(f"campaigns/{identity}:markComplete", why)

    stuck.make(f"mark-{program}")
    person = _HERE if program == "closeout" else PERSON
    for way in REPAIRED:
        said = mark(way)
        assert said.code == 0, said
        assert stuck.counts(f"mark-{program}-{way}") == ("COMPLETED", 2, 1, 0)
        last = stuck.last_change(f"mark-{program}-{way}")
        assert last == ("COMPLETED", "MANUAL", "key:ops", person, "checked by hand")
        assert mark(way).code == 0, "a repetition is no error"
        assert stuck.last_change(f"mark-{program}-{way}") == last
    for way, missing in {"hole": "3", "stalled": "4-8", "never": "1-8", "paused": "4-8"}.items():
        before = stuck.stored(f"mark-{program}-{way}")
        said = mark(way)
        assert said.code != 0
        words = said.output + said.errors
        assert "is not fully processed: total=" in words, words
        assert f"no result for {missing}" in words, words
        assert stuck.stored(f"mark-{program}-{way}") == before, way
    # The counters of the hole are still wrong, as nobody asked for a repair.
    assert stuck.closeout("fix", "--json").json["repaired"] == 1


def test_force_says_unknown_and_never_sent(stuck: Story) -> None:
    """What has no result is in doubt, by whoever forces it, with the reason."""
    stuck.make("forced", ("stalled",))
    request = {"force": True, "reason": "its disk is gone"}
    assert stuck.curl("campaigns/forced-stalled:markComplete", request).code == 0
    assert stuck.counts("forced-stalled") == ("COMPLETED", 2, 1, 5)
    last = stuck.last_change("forced-stalled")
    assert last == ("COMPLETED", "MANUAL", "key:ops", PERSON, "its disk is gone")


def test_missing_results_end_whatever_waits_for_them(stuck: Story) -> None:
    """Reported by curl, they complete each campaign that a repair left alone, by themselves."""
    stuck.make("late", LEFT_ALONE)
    for way in LEFT_ALONE:
        rows = [{"sequence": number, "outcome": "SENT"} for number in range(1, 9)]
        report = {"campaigns": [{"campaignId": f"late-{way}", "results": rows}]}
        assert stuck.curl("results:batchReport", report).code == 0
        state, sent, failed, unknown = stuck.counts(f"late-{way}")
        assert (state, sent + failed, unknown) == ("COMPLETED", 8, 0)
        assert stuck.last_change(f"late-{way}")[:3] == ("COMPLETED", "RESULT", "key:ops")


def test_nobody_without_the_right_key_mends_anything(stuck: Story) -> None:
    """None, a wrong one, one that may only read, and one of another organisation."""
    stuck.make("closed")
    before = {way: stuck.stored(f"closed-{way}") for way in WAYS}
    wrong = f"{stuck.key[:-1]}{'0' if stuck.key[-1] != '0' else '1'}"
    for key, reason in (
        ("", "KEY_MISSING"),
        (wrong, "KEY_MALFORMED"),
        (stuck.reader, "SCOPE_MISSING"),
    ):
        for said in (
            stuck.grpcurl("RepairCampaigns", {}, key=key),
            stuck.grpcurl("MarkComplete", {"campaign_id": "closed-full"}, key=key),
            stuck.curl("campaigns:repair", {}, key=key),
            stuck.curl("campaigns/closed-full:markComplete", {}, key=key),
        ):
            assert said.code != 0
            assert reason in said.output + said.errors, said
        assert stuck.closeout("fix", key=key).code != 0
    # The other one mends its own campaigns of these names, and only them.
    assert stuck.curl("campaigns:repair", {}, key=stuck.other).json["openCampaigns"] == 0
    assert (
        "CAMPAIGN_NOT_FOUND"
        in stuck.curl("campaigns/closed-full:markComplete", {}, key=stuck.other).output
    )
    assert {way: stuck.stored(f"closed-{way}") for way in WAYS} == before
    assert stuck.closeout("fix").code == 3


def test_everything_says_the_same(stuck: Story) -> None:
    """fix, explain, list, check, curl, metrics and pages, before the repair and after it."""
    stuck.make("seen")
    found = {
        one["campaign"]["campaign_id"]: one
        for one in stuck.closeout("fix", "--dry-run", "--json").json["diagnoses"]
    }
    assert {f"seen-{way}": name for way, name in WAYS.items()} == {
        identity: one["diagnosis"] for identity, one in found.items()
    }
    listed = {one["campaign_id"]: one for one in stuck.closeout("list", "--stuck", "--json").lines}
    assert set(listed) == set(found)
    with stuck.browser() as http:
        problems = Document(http.get("/problems").text).text
        for identity, one in found.items():
            page = Document(http.get(f"/campaigns/{identity}").text).text
            _agrees(stuck, identity, one, page, problems)
        said = stuck.closeout("check")
        assert said.code == 2
        assert "CRITICAL" in said.output
        assert "2 campaigns stand longer than 5m" in said.output
        assert "seen-never" in said.output or "seen-stalled" in said.output
        assert _scrape(stuck, http).value("closeout_campaigns_stalled") == 2
        repaired = _scrape(stuck, http).sum("closeout_repairs_total")

        assert stuck.closeout("fix").code == 3
        for way in REPAIRED:
            explained = stuck.closeout("explain", f"seen-{way}")
            assert (explained.code, "Completed" in explained.output) == (0, True), explained
            page = Document(http.get(f"/campaigns/seen-{way}").text)
            assert "key:ops" in page.text
            assert f"repair: {WAYS[way]}" in page.text
        assert set(_diagnoses(stuck)) == {f"seen-{way}" for way in ("hole", *LEFT_ALONE)}
        assert _scrape(stuck, http).sum("closeout_repairs_total") == repaired + 3


def _agrees(stuck: Story, identity: str, one: Any, page: str, problems: str) -> None:
    """See that every view of one campaign has the same diagnosis, sentence and action."""
    explained = stuck.curl(f"campaigns/{identity}:explain").json
    diagnosis = explained["diagnosis"]
    assert diagnosis["diagnosis"] == one["diagnosis"]
    assert diagnosis["action"] == one["action"]
    assert diagnosis["needsAttention"] == one["needs_attention"]
    assert one["diagnosis"] in problems
    sentence = timeless(explained["explanation"].splitlines()[0])
    # Of a campaign, its page has the row alone: whether it is wrong, the scan of problems says.
    shown = problems if one["diagnosis"] == "COUNTER_DRIFT" else page
    assert sentence in timeless(shown), identity
    if one["diagnosis"] in {"STALLED", "COUNTER_DRIFT"}:
        said = stuck.closeout("explain", identity)
        assert sentence in timeless(said.output), said


def _diagnoses(stuck: Story) -> dict[str, str]:
    found = stuck.closeout("fix", "--dry-run", "--json").json["diagnoses"]
    return {one["campaign"]["campaign_id"]: one["diagnosis"] for one in found}


def _scrape(stuck: Story, http: httpx.Client) -> Scrape:
    """Scrape the status service."""
    assert stuck.status.is_running
    return parsed(http.get("/metrics").text)


@contextmanager
def mail_server(port: int) -> Iterator[None]:
    """Run a mail server that takes every message."""
    program = ROOT / "tests" / "providers" / "smtp_provider.py"
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, str(program), "--port", str(port)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert b"listening" in process.stdout.readline()
        try:
            yield
        finally:
            process.terminate()


def test_a_campaign_waits_for_its_mail_server_and_nobody_ends_it(stuck: Story) -> None:
    """Its sender says what is wrong, everywhere; once the server runs, it is sent to its end."""
    stuck.send_to_nobody("problem")

    def explained() -> Any:
        return stuck.curl("campaigns/problem:explain").json

    def shown() -> Any:
        return explained()["diagnosis"]["campaign"]["problems"]

    wait_until(shown, what="a problem")
    (problem,) = shown()
    assert problem["kind"] == "PROVIDER_UNREACHABLE"
    assert problem["setting"].startswith("[smtp] host")
    assert problem["needsAttention"]
    assert explained()["diagnosis"]["diagnosis"] == "IN_PROGRESS"
    for words, code in (
        (("explain", "problem"), 3),
        (("list", "--stuck"), 0),
        (("check",), 1),
        (("fix",), 3),
    ):
        said = stuck.closeout(*words)
        assert said.code == code, said
        assert problem["summary"].lower() in said.output.lower(), said
    with stuck.browser() as http:
        page = Document(http.get("/campaigns/problem").text).text
        assert problem["summary"].lower() in page.lower()
        assert problem["setting"] in page
    refused = stuck.closeout("mark-complete", "problem")
    assert refused.code == 1, refused
    assert "no result for 1-2" in refused.errors
    assert stuck.counts("problem") == ("SENDING", 0, 0, 0)
    stuck.sender.terminate()
    with mail_server(stuck.mail.port):
        stuck.sender.start()
        wait_until(lambda: stuck.counts("problem")[0] == "COMPLETED", what="the end")
    assert stuck.counts("problem") == ("COMPLETED", 2, 0, 0)
    assert stuck.last_change("problem")[:3] == ("COMPLETED", "RESULT", "key:sender")
    assert not shown()
