"""The rules that requests of both services share.

A :class:`Validation` collects everything that is wrong with one request, so that the
caller learns it from one answer::

    with Validation() as check:
        campaign_id = check.campaign_id(request.campaign_id)
        reason = check.text("reason", request.reason, longest=500)

Each check returns the value as the service works with it. The block ends with an
InvalidRequestError if any check failed, so no placeholder ever leaves it.
"""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from service_runtime.errors import InvalidRequestError
from service_runtime.pages import PageRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType
    from typing import Self

    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

T = TypeVar("T")

_CAMPAIGN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
#: As much of a wrong value is shown, characters.
_SHOWN = 140
#: Longest display name, channel, reason and reporter, characters.
DISPLAY_NAME = 200
ADDRESS = 320
CHANNEL = 64
REASON = 500
REPORTER = 128
#: Labels of a campaign, and the longest key and value of one, characters.
LABELS = 32
LABEL = 63
#: The largest number a signed field of 64 bits has.
_LARGEST_INTEGER = 2**63 - 1
#: Pages of a list never have more rows.
LARGEST_PAGE = 1_000
NO_TIME = "not a time of the years 1 to 9999"
#: So many wrong fields are named in one answer, which has to fit into its headers.
MOST_VIOLATIONS = 20


class Validation:
    """Everything that is wrong with one request, by field path."""

    def __init__(self) -> None:
        self._violations: dict[str, str] = {}
        self._unnamed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the checks.

        Raises:
            InvalidRequestError: a check failed; it names every field concerned, but
                not more than MOST_VIOLATIONS of them.
        """
        if kind is None and self._violations:
            raise InvalidRequestError.of(self._violations, unnamed=self._unnamed)

    @property
    def failed(self) -> bool:
        """True once a check has failed."""
        return bool(self._violations)

    def refuse(self, field: str, problem: str) -> None:
        """Note that ``field`` is wrong; its first problem is the one that is reported."""
        if field in self._violations or len(self._violations) < MOST_VIOLATIONS:
            self._violations.setdefault(field, problem)
        else:
            self._unnamed += 1

    def campaign_id(self, value: str, *, field: str = "campaign_id", optional: bool = False) -> str:
        """Return a well-formed campaign id; empty only where it is ``optional``."""
        if not value:
            if not optional:
                self.refuse(field, "required")
        elif not _CAMPAIGN_ID.fullmatch(value):
            expected = "1 to 128 of A-Z a-z 0-9 . _ - beginning with a letter or a digit"
            self.refuse(field, f"{value[:_SHOWN]!r} is not {expected}")
        return value

    def text(self, field: str, value: str, *, longest: int, required: bool = False) -> str:
        """Return a text of at most ``longest`` characters, without NUL."""
        if required and not value.strip():
            self.refuse(field, "required")
        if len(value) > longest:
            self.refuse(field, f"longer than {longest} characters")
        if "\x00" in value:
            self.refuse(field, "contains a NUL character")
        return value

    def request_id(self, value: str) -> str:
        """Return a UUID in its usual form, or an empty text."""
        if not value:
            return ""
        try:
            return str(uuid.UUID(value))
        except ValueError:
            self.refuse("request_id", f"{value[:_SHOWN]!r} is not a UUID")
            return ""

    def labels(self, value: Mapping[str, str]) -> dict[str, str]:
        """Return labels, ordered by key."""
        if len(value) > LABELS:
            self.refuse("labels", f"{len(value)} given; at most {LABELS}")
            return {}
        for key, text in value.items():
            place = f"labels[{key[:LABEL]!r}]"
            self.text(place, key, longest=LABEL, required=True)
            self.text(place, text, longest=LABEL)
        return dict(sorted(value.items()))

    def number(self, field: str, value: int, *, least: int, most: int) -> int:
        """Return a whole number within ``least`` and ``most``."""
        if not least <= value <= most:
            self.refuse(field, f"{value} is not within {least:,} to {most:,}")
        return value

    def revision(self, value: int) -> int:
        """Return a revision that is expected; 0: any."""
        return self.number("revision", value, least=0, most=_LARGEST_INTEGER)

    def enum(self, field: str, value: int, known: Mapping[int, T], *, default: T) -> T:
        """Return what ``known`` has for the number of an enum."""
        if value not in known:
            self.refuse(field, f"{value} is not a value this service knows")
        return known.get(value, default)

    def enums(self, field: str, values: Iterable[int], known: Mapping[int, T]) -> list[T]:
        """Return what ``known`` has for each number of a repeated enum."""
        found = []
        for index, value in enumerate(values):
            if value in known:
                found.append(known[value])
            else:
                self.refuse(f"{field}[{index}]", f"{value} is not a value this service knows")
        return found

    def timestamp(self, field: str, value: Timestamp) -> datetime:
        """Return a time within the years 1 to 9999, in UTC."""
        try:
            return value.ToDatetime(tzinfo=UTC)
        except (ValueError, OverflowError):
            self.refuse(field, NO_TIME)
            return datetime.min.replace(tzinfo=UTC)

    def duration(
        self, field: str, value: Duration, *, least: timedelta, most: timedelta
    ) -> timedelta:
        """Return a duration within ``least`` and ``most``."""
        try:
            span = value.ToTimedelta()
        except (ValueError, OverflowError):
            span = None
        if span is None or not least <= span <= most:
            bounds = f"{_seconds(least)} to {_seconds(most)}"
            self.refuse(field, f"not within {bounds} seconds")
            return least
        return span

    def page(self, size: int, token: str, *, default: int) -> PageRequest:
        """Return which page of a list is asked for; size 0 is ``default``."""
        if size < 0:
            self.refuse("page_size", "negative")
        return PageRequest(min(size or default, LARGEST_PAGE), token)

    def only_one(self, fields: Mapping[str, bool]) -> None:
        """Refuse all of ``fields`` that are given if more than one is."""
        given = [field for field, is_given in fields.items() if is_given]
        if len(given) > 1:
            for field in given:
                self.refuse(field, f"excludes {', '.join(set(given) - {field})}")

    def unique(self, field: str, values: Iterable[str]) -> None:
        """Refuse every value that is there a second time."""
        seen: set[str] = set()
        for index, value in enumerate(values):
            if value in seen:
                self.refuse(f"{field}[{index}]", f"{value[:_SHOWN]!r} is given twice")
            seen.add(value)


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():g}"
