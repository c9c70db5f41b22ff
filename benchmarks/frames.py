"""Frames of results, serialised before the clock starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from closeout.status.v1 import status_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

RESULTS_A_FRAME = 500
_FINISH_TIME = Timestamp(seconds=1_700_000_000)


def serialised(
    campaign_id: str, *, first: int, results: int, size: int = RESULTS_A_FRAME
) -> list[bytes]:
    """Return the frames of a stream that reports the messages from ``first`` on as SENT.

    Each has ``size`` results.
    """
    return [
        status_pb2.ReportResultsRequest(
            frame=number, campaign_id=campaign_id, results=page
        ).SerializeToString()
        for number, page in enumerate(_pages(first, first + results, size), start=1)
    ]


def serialised_calls(
    campaign_id: str, *, first: int, results: int, size: int = RESULTS_A_FRAME
) -> list[bytes]:
    """Return the same results as requests of BatchReportResults, as many in each."""
    return [
        status_pb2.BatchReportResultsRequest(
            campaigns=[status_pb2.CampaignResults(campaign_id=campaign_id, results=page)]
        ).SerializeToString()
        for page in _pages(first, first + results, size)
    ]


def _pages(first: int, end: int, size: int) -> Iterator[list[status_pb2.Result]]:
    for start in range(first, end, size):
        yield [
            status_pb2.Result(
                sequence=sequence,
                outcome=status_pb2.Result.SENT,
                attempt=1,
                code="250",
                provider_message_id=f"queued-as-{sequence:012}",
                finish_time=_FINISH_TIME,
            )
            for sequence in range(start, min(start + size, end))
        ]
