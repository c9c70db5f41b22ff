"""What a provider said is stored as it is, whatever it has in it, on each database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from integration.databases import Database
from service_runtime.database import Store
from status_service.domain import Outcome
from status_service.migrations import MIGRATIONS
from status_service.recording.result_columns import ResultColumns, ResultRow
from status_service.recording.result_rows import upsert
from status_service.schema import results

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_LARGEST = 2**63 - 1
#: Signs that mean something to COPY, to an array or to SQL, and texts that look like none.
_TEXTS = (
    *("", "\\N", "\\.", "\\", "a\\tb", "a\tb", "a\nb", "a\r\nb", "\n", "\\\\\n\\"),
    *("NULL", '"', "'", "{a,b}", "a,b", "%s", "grüß \N{PILE OF POO}", "\x01\x1f\x7f"),
)
_GIVEN = sa.select(
    *(results.c[name] for name in ResultColumns._fields[:-1]),
    sa.type_coerce(results.c.finish_time, sa.BigInteger),
).order_by(results.c.sequence)


@pytest.fixture
def engine(database: Database) -> Iterator[sa.Engine]:
    """The engine of a database with tables."""
    with closing(Store(database.url, MIGRATIONS, holder="tester")):
        engine = database.engine()
        yield engine
        engine.dispose()


def _rows(outcome: Outcome, texts: tuple[str, ...]) -> list[ResultRow]:
    return [
        (
            *(_LARGEST - len(texts) + place, int(outcome), place),
            *(text, texts[-place], texts[place - 1]),
            None if place % 2 else place,
        )
        for place, text in enumerate(texts, start=1)
    ]


def test_s2_every_text_is_stored_as_it_is(engine: sa.Engine) -> None:
    """New results, and those that replace others, have the texts and times they came with."""
    for rows, all_new in (
        (_rows(Outcome.FAILED, _TEXTS), True),
        (_rows(Outcome.SENT, _TEXTS[::-1]), False),
    ):
        with engine.begin() as connection:
            # In two parts, as of two frames.
            parts = [(1, ResultColumns.of(part)) for part in (rows[:1], rows[1:])]
            upsert(connection, parts, _NOW, all_new=all_new)
        with engine.begin() as connection:
            assert connection.execute(_GIVEN).all() == rows


def test_s2_a_row_that_nobody_expected_undoes_all(engine: sa.Engine) -> None:
    """A result that is stored, although nobody found it, is kept; of the others none is."""
    rows = _rows(Outcome.SENT, ("a", "b", "c"))
    with engine.begin() as connection:
        upsert(connection, [(1, ResultColumns.of(rows[1:2]))], _NOW, all_new=True)
    with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
        upsert(connection, [(1, ResultColumns.of(rows))], _NOW, all_new=True)
    with engine.begin() as connection:
        assert connection.execute(_GIVEN).all() == rows[1:2]
