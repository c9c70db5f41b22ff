"""Python's times as protobuf's, and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf import duration_pb2, timestamp_pb2


def timestamp(time: datetime) -> timestamp_pb2.Timestamp:
    """Return an aware ``datetime`` as a Timestamp."""
    converted = timestamp_pb2.Timestamp()
    converted.FromDatetime(time)
    return converted


def duration(span: timedelta) -> duration_pb2.Duration:
    """Return a ``timedelta`` as a Duration."""
    converted = duration_pb2.Duration()
    converted.FromTimedelta(span)
    return converted


def to_datetime(time: timestamp_pb2.Timestamp) -> datetime:
    """Return a Timestamp as a ``datetime`` in UTC."""
    return time.ToDatetime(tzinfo=UTC)
