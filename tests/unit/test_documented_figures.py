"""The figures that the documents promise are those of the code."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sender_service.channels.contract import Channel
from sender_service.channels.email.smtp import SmtpChannel
from sender_service.channels.webhook.channel import WebhookChannel
from sender_service.delivery import (
    activation,
    campaign_delivery,
    circuit_breaker,
    contents,
    delivery_metrics,
    gate,
    outage,
    plan,
    provider,
    shard_commits,
    supervisor,
    trial,
)
from sender_service.reporting import (
    acknowledgements,
    frame_writer,
    organisations,
    probe,
    problem_reports,
    rejections,
    result_stream,
    stream_watch,
)
from sender_service.store import campaigns, outages, recipients
from status_service.campaigns import explanation, mark_complete, schedules, wording
from status_service.live import campaign_gauges, database_listener, looks, watchers
from status_service.recording import code_groups, counting, duty, gaps, thinning, turns

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = "protos/closeout/status/v1/status.proto"
WORDS = {1: "a", 3: "three", 5: "five", 6: "six", 10: "ten"}
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
#: An instance asks so often for a duty that it does not have, seconds.
ASKED_AFTER = 5

#: Where a figure stands, with what is around it, and what it is by the code.
FIGURES: list[tuple[str, str, Callable[[], float]]] = [
    ("states.md", "at most {} samples", lambda: thinning.MOST_SAMPLES),
    ("states.md", "the last {} minutes", lambda: thinning.RECENT / MINUTE),
    ("states.md", "has at most {} groups", lambda: code_groups.MOST_CODES),
    ("states.md", "at most {} of the sequences", lambda: code_groups.MOST_EXAMPLES),
    ("states.md", "of up to {} messages; of a larger", lambda: counting.MOST_TO_ANSWER),
    ("states.md", "`start_time`, up to {} minute past", lambda: campaigns._PAST_ALLOWED / MINUTE),
    (CONTRACT, "At most {} samples", lambda: thinning.MOST_SAMPLES + 2),
    (CONTRACT, "about every {} seconds", lambda: thinning.SAMPLE_INTERVAL / SECOND),
    (CONTRACT, "up to {} messages are counted", lambda: counting.MOST_TO_ANSWER),
    (CONTRACT, "looks at {} results", lambda: gaps._WINDOW * gaps.PAGE_WINDOWS),
    (CONTRACT, "among the first {} results", lambda: gaps._WINDOW * gaps.SCREEN_WINDOWS),
    (CONTRACT, "At most {} messages are recorded at once", lambda: mark_complete.BLOCK),
    (CONTRACT, "at most about {} times a second", lambda: 1 / looks._BETWEEN_SNAPSHOTS),
    ("metrics.md", "one of more than {} results counts", lambda: turns.RESULTS_A_PLACE),
    ("metrics.md", "at most every {} seconds", lambda: campaign_gauges._KEEP_SECONDS),
    ("metrics.md", "at most every {} seconds", lambda: delivery_metrics._KEEP_SECONDS),
    ("events.md", "within {}.", lambda: duty.LEASE.total_seconds() + ASKED_AFTER),
    ("performance.md", "shown {} times a second", lambda: watchers.SNAPSHOTS_A_SECOND),
    ("access.md", "at most {} at once", lambda: organisations.MOST_STREAMS),
    ("access.md", "take turns of {} seconds", lambda: organisations.TURN_SECONDS),
    ("operations.md", "| {} s, then twice as long", lambda: circuit_breaker._UNREACHABLE_WAITS[0]),
    ("operations.md", "each time, up to {} s |", lambda: circuit_breaker._UNREACHABLE_WAITS[1]),
    ("operations.md", "| {} s, up to 5 min |", lambda: circuit_breaker._OTHER_WAITS[0]),
    ("operations.md", "| 5 s, up to {} min |", lambda: circuit_breaker._OTHER_WAITS[1] / 60),
    ("operations.md", "no message for {} minutes", lambda: circuit_breaker.ATTENTION_SECONDS / 60),
    ("operations.md", "of its last {} messages", lambda: circuit_breaker.SPAN),
    ("operations.md", "{} of its last", lambda: circuit_breaker._MOST * circuit_breaker.SPAN),
    ("operations.md", "the first {} messages of a campaign", lambda: trial.FIRST_MESSAGES),
    ("operations.md", "polled once {} second", lambda: database_listener._POLL),
    ("operations.md", "retries within {} seconds", lambda: result_stream._LONGEST_WAIT_SECONDS),
    ("operations.md", "every {} seconds, a quarter", lambda: 60 / probe._PROBES_A_HOLD),
    ("verdicts.md", "After {} lost answers in a row", lambda: gate._LOST_IN_A_ROW),
]


#: What the table of fixed times and limits has, by the code.
FIXED: list[tuple[str, Callable[[], float]]] = [
    ("after the last audit | {} times", lambda: schedules._AUDIT_REST),
    ("counted while their campaign is locked | {} at most", lambda: counting.MOST_UNDER_LOCK),
    ("a refusal to complete a campaign names | {} |", lambda: mark_complete._RANGES_NAMED),
    ("explained, after the start | from {} s", lambda: explanation._KNOWN_RATE / SECOND),
    ("after the last result | for {} min", lambda: explanation._RECENT / MINUTE),
    ("time left that is explained | {} days", lambda: explanation._LONGEST_ESTIMATE / DAY),
    ("is shown by its date | from {} days", lambda: wording._DATED / DAY),
    (
        "A delivery that failed is tried again, at the latest | after {} s",
        lambda: supervisor._MAX_WAIT_SECONDS,
    ),
    (
        "did not answer is tried again, at the latest | after {} s",
        lambda: activation._MAX_WAIT_SECONDS,
    ),
    ("A start that it refuses is tried again | after {} s", lambda: activation.STUCK_SECONDS),
    (
        "is written down again after a failure, at the latest | after {} s",
        lambda: shard_commits._MAX_WAIT_SECONDS,
    ),
    (
        "is stored again after a failure, at the latest | after {} s",
        lambda: acknowledgements._MAX_WAIT_SECONDS,
    ),
    ("while others of its channel wait | after {} s", lambda: campaign_delivery._TURN_SECONDS),
    (
        "work that others left, at the latest | after {} s",
        lambda: campaign_delivery._MAX_WAIT_SECONDS,
    ),
    ("its provider does not answer | after {} s", lambda: outage._SILENCE_SECONDS),
    ("if it goes wrong by | {} s", lambda: outage._MAX_DRIFT_SECONDS),
    ("longer than its time limit by | {} s", lambda: provider._CHECK_GRACE_SECONDS),
    ("of the sender, if that lasts | {} min", lambda: outages._LONGEST_WAIT / MINUTE),
    ("that the outage goes on, at the latest | after {} s", lambda: provider._NOTE_SECONDS),
    ("asks for a longer wait is tried again | after {} s", lambda: circuit_breaker._MAX_ASKED),
    ("of a message outlasts its call by | {} s", lambda: plan.LEASE_MARGIN_SECONDS),
    ("refused too early is tried again, at first | after {} s", lambda: trial._FIRST_HOLD_SECONDS),
    ("That wait is doubled, at most | {} times", lambda: trial._MAX_DOUBLINGS),
    ("Compiled contents that are kept | {} KiB", lambda: contents.KEPT_BYTES / 1024),
    ("Rejected rows that an upload names | {} |", lambda: recipients._REJECTED_ROWS),
    ("of a rejected address that are kept | {} |", lambda: recipients.REJECTED_ADDRESS),
    ("without an answer is given up | after {} s", lambda: stream_watch._ACKNOWLEDGE_SECONDS),
    (
        "that broke is opened again, at the latest | after {} s",
        lambda: result_stream._LONGEST_WAIT_SECONDS,
    ),
    (
        "of a few organisations are opened again, at the latest | after {} s",
        lambda: organisations._SHORT_WAIT_SECONDS,
    ),
    ("opened again within a second | {} |", lambda: organisations._TRIES_A_SECOND),
    (
        "Frames of all streams that wait for an answer, about | {} |",
        lambda: organisations._FRAMES_OF_ALL,
    ),
    ("Frames of one stream that wait for an answer | {} |", lambda: frame_writer.FRAMES_IN_FLIGHT),
    (
        "of many streams that wait for an answer, at least | {} |",
        lambda: organisations._FEWEST_FRAMES,
    ),
    ("Results of a frame | {} |", lambda: result_stream._RESULTS_A_FRAME),
    (
        "can't be sent looks for a change, at the latest | after {} s",
        lambda: gate._MAX_WAIT_SECONDS,
    ),
    ("the last work of its organisation | after {} s", lambda: organisations.LINGER_SECONDS),
    ("without work that are asked at once | {} |", lambda: organisations._MOST_VISITS),
    (
        "Rejected results are reported again, at the latest | after {} s",
        lambda: rejections._MAX_WAIT_SECONDS,
    ),
    (
        "Rejected problems are reported again, at the latest | after {} s",
        lambda: problem_reports._MAX_WAIT_SECONDS,
    ),
]


def text_of(page: str) -> str:
    """Return a page in one line; of the contract also what stands in comments."""
    path = ROOT / page if "/" in page else ROOT / "docs" / page
    return re.sub(r"\s*\n\s*(// )?", " ", path.read_text())


def written(figure: float) -> set[str]:
    """Return how a number is written: in digits, or as a word where it is small."""
    digits = f"{figure:,g}" if figure % 1 else f"{figure:,.0f}"
    return {digits, WORDS.get(int(figure), digits) if figure % 1 == 0 else digits}


@pytest.mark.parametrize(
    ("page", "around", "figure"), FIGURES, ids=[f"{page}: {around}" for page, around, _ in FIGURES]
)
def test_a_figure_of_the_documents_is_that_of_the_code(
    page: str, around: str, figure: Callable[[], float]
) -> None:
    """Who changes a limit or a time that a page promises changes the page as well."""
    assert any(around.format(each) in text_of(page) for each in written(figure()))


@pytest.mark.parametrize(("around", "figure"), FIXED, ids=[around for around, _ in FIXED])
def test_a_figure_that_no_setting_changes_is_that_of_the_code(
    around: str, figure: Callable[[], float]
) -> None:
    """The table of settings.md says when a person may expect what."""
    assert around.format(f"{figure():,g}") in text_of("settings.md")


@pytest.mark.parametrize(
    ("channel", "sentence", "minutes"),
    [
        (
            SmtpChannel,
            "after 1, 5, 15 and 60 minutes and 4 hours, then every 4 hours",
            [1, 5, 15, 60, 240, 240],
        ),
        (
            WebhookChannel,
            "after 5 and 30 seconds and 2, 10 and 60 minutes, then every hour",
            [5 / 60, 30 / 60, 2, 10, 60, 60],
        ),
    ],
)
def test_a_deferred_message_waits_as_documented(
    channel: type[Channel], sentence: str, minutes: list[float]
) -> None:
    """Also where a campaign doubles its waits: they begin and end with those of the channel."""
    assert sentence in text_of("settings.md")
    waits = [channel.retry.wait_seconds(attempt) for attempt in range(1, 7)]
    assert [seconds / 60 for seconds in waits] == minutes
    doubled = replace(channel.retry, schedule=())
    assert (doubled.wait_seconds(1), doubled.wait_seconds(60)) == (waits[0], waits[-1])
    assert channel.retry.allows(attempts=1_000, elapsed_seconds=0), "only the deadline ends it"
