"""S2: results in any order end in the same rows; S1 to S6 hold after each commit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection
from contextlib import closing
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from integration.databases import Database
from integration.status_support import check_invariants
from service_runtime.caller import Caller
from service_runtime.database import Store
from status_service.campaigns import lifecycle, registration
from status_service.campaigns.types import NewCampaign, StartOrder
from status_service.domain import Outcome, State
from status_service.migrations import MIGRATIONS
from status_service.recording import ledger
from status_service.recording.problems import NO_PROBLEMS
from status_service.recording.result_columns import ResultColumns
from status_service.recording.types import CampaignKey, Frame, Recorded

T = TypeVar("T")

outcomes = st.sampled_from([int(outcome) for outcome in Outcome])


def result(sequence: int, outcome: int) -> Any:
    """Return a result as the ledger takes it."""
    return (sequence, outcome, 1, "", "", "", None)


class Books:
    """A new organisation in a database that examples share: each begins with nothing."""

    _numbers = itertools.count(1)

    def __init__(self, database: Database) -> None:
        self.caller = Caller(f"organisation-{next(self._numbers)}", "tester")
        self.by_hand = database.connect()
        self.refused = database.IntegrityError
        self._engine = database.engine()
        # Hypothesis makes thousands of transactions; nothing crashes here.
        sa.event.listen(self._engine, "connect", lambda raw, _: raw.execute(database.hurry))

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run ``work`` in a transaction as the service does."""
        with self._engine.begin() as connection:
            return work(connection)

    def key(self, name: str) -> CampaignKey:
        """Return what the ledger calls a campaign."""
        return CampaignKey(self.caller.organisation, name)

    def rows(self, columns: str, order: str = "campaign") -> list[Any]:
        """Return columns of the campaigns of this organisation and of their results."""
        return self.by_hand.execute(  # type: ignore[no-any-return]
            f"SELECT {columns} FROM campaigns LEFT JOIN results USING (campaign)"  # noqa: S608
            f" WHERE organisation = ? ORDER BY {order}",
            (self.caller.organisation,),
        ).fetchall()

    def check(self, raised_late: Collection[tuple[str, int]] = ()) -> None:
        """Check what must hold."""
        check_invariants(
            self.by_hand, raised_late=raised_late, organisation=self.caller.organisation
        )

    def close(self) -> None:
        """Close the connections."""
        self.by_hand.close()
        self._engine.dispose()


@pytest.fixture(scope="module")
def tables(lasting_database: Database) -> Database:
    """The tables of the service in a database that all examples share."""
    Store(lasting_database.url, MIGRATIONS, holder="test").close()
    return lasting_database


@pytest.mark.parametrize("together", [True, False], ids=["one-frame", "a-frame-each"])
def test_s2_every_merge_of_up_to_three_results(tables: Database, together: bool) -> None:  # noqa: FBT001
    """Whatever up to three outcomes a message gets in whatever order, the highest stays."""
    orders = [order for length in (1, 2, 3) for order in itertools.product(Outcome, repeat=length)]
    steps = [
        [(sequence, order[step]) for sequence, order in enumerate(orders, 1) if len(order) > step]
        for step in range(3)
    ]
    parts = [list(itertools.chain(*steps))] if together else steps
    with closing(Books(tables)) as books:
        _report(books, "a", parts, total=len(orders), together=together)
        stored = books.rows("outcome", order="sequence")
        assert [one[0] for one in stored] == [max(order) for order in orders]


_TOTAL = 12
reports = st.lists(st.tuples(st.integers(1, _TOTAL), outcomes), min_size=1, max_size=40)


@given(reported=reports, data=st.data())
def test_s2_any_split_order_and_repetition_ends_in_the_same_rows(
    tables: Database, reported: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Results sent once in order, or repeated, shuffled and cut anyhow, leave the same behind."""
    repeated = reported + data.draw(st.lists(st.sampled_from(reported), max_size=20))
    shuffled = data.draw(st.permutations(repeated))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(shuffled)), max_size=6)))
    edges = list(zip([0, *cuts], [*cuts, len(shuffled)], strict=True))
    together = data.draw(st.booleans())  # in one transaction, or in one each
    with closing(Books(tables)) as books:
        for name, parts in {
            "once": [reported],
            "anyhow": [shuffled[first:last] for first, last in edges],
        }.items():
            _report(books, name, parts, total=_TOTAL, together=together)
        rows = books.rows(
            "campaign_id, state, sent, failed, skipped, unknown, sequence, outcome",
            order="sequence",
        )
        found = {
            name: [tuple(row)[1:] for row in rows if row["campaign_id"] == name]
            for name in ("once", "anyhow")
        }
        assert found["once"] == found["anyhow"]
        assert {one[5]: one[6] for one in found["once"]} == {
            sequence: max(outcome for other, outcome in reported if other == sequence)
            for sequence, _ in reported
        }


_SOME_PROBLEMS = [None, NO_PROBLEMS, '["one"]', '["two"]']
_frames = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(1, _TOTAL), outcomes), max_size=4),
        st.sampled_from(_SOME_PROBLEMS),
    ),
    min_size=1,
    max_size=12,
)


@given(reported=_frames, total=st.integers(4, _TOTAL), together=st.booleans())
def test_problems_change_nothing_but_themselves(
    tables: Database,
    reported: list[tuple[list[tuple[int, int]], str | None]],
    total: int,
    together: bool,  # noqa: FBT001
) -> None:
    """The same results with problems beside and between them end in the same rows.

    The last problems stay while the campaign goes on. No more revisions are used up than
    frames that changed the problems.
    """
    fitting = [([one for one in rows if one[0] <= total], problems) for rows, problems in reported]
    with closing(Books(tables)) as books:
        for name in ("with", "without"):
            frames = [
                Frame(
                    books.key(name),
                    "tester",
                    ResultColumns.of(result(*one) for one in rows),
                    problems if name == "with" else None,
                )
                for rows, problems in fitting
            ]
            _record(books, name, frames, total=total, together=together)
        columns = "campaign_id, state, sent, failed, skipped, unknown, problems, revision"
        moved = "progress_time IS NULL AS idle"
        rows = books.rows(f"DISTINCT {columns}, {moved}", order="campaign_id")
        found = {row["campaign_id"]: row for row in rows}
        one, other = found["with"], found["without"]
        for column in ("state", "sent", "failed", "skipped", "unknown", "idle"):
            assert one[column] == other[column], column
        assert other["problems"] == NO_PROBLEMS
        named = [problems for _, problems in fitting if problems is not None]
        expected = named[-1] if named and one["state"] == State.SENDING else NO_PROBLEMS
        assert one["problems"] == expected
        news = sum(a != b for a, b in itertools.pairwise([NO_PROBLEMS, *named]))
        assert 0 <= one["revision"] - other["revision"] <= news


def _record(books: Books, name: str, frames: list[Frame], *, total: int, together: bool) -> None:
    def prepared(connection: sa.Connection) -> None:
        registration.create(connection, books.caller, NewCampaign(name))
        lifecycle.start(connection, books.caller, name, StartOrder(total), largest_total=total)

    books.write(prepared)
    for batch in [frames] if together else [[frame] for frame in frames]:
        recorded = books.write(lambda connection, batch=batch: ledger.record(connection, batch))
        assert all(receipt.error is None for receipt in recorded.receipts)
        # Each commit is whole: whatever else is needed came with it.
        books.check(
            raised_late=[(name, number) for frame in frames for number in frame.results.sequence]
        )


def _report(
    books: Books, name: str, parts: list[list[tuple[int, int]]], *, total: int, together: bool
) -> None:
    key = books.key(name)
    parsed = [
        Frame(key, "tester", ResultColumns.of(result(*one) for one in part)) for part in parts
    ]
    _record(books, name, parsed, total=total, together=together)


def test_the_audit_trail_names_who_reported_the_last_result(tables: Database) -> None:
    """Of several reporters in one transaction it is the last one whose frame changed anything."""
    with closing(Books(tables)) as books:
        key = books.key("a")

        def recorded(connection: sa.Connection) -> Recorded:
            registration.create(connection, books.caller, NewCampaign("a"))
            lifecycle.start(connection, books.caller, "a", StartOrder(2), largest_total=2)
            return ledger.record(
                connection,
                [
                    Frame(key, reporter, ResultColumns.of([result(sequence, Outcome.SENT)]))
                    for reporter, sequence in (("first", 1), ("last", 2), ("repeater", 1))
                ],
            )

        (completion,) = books.write(recorded).completed
        assert (completion.before, completion.last.reporter) == (State.SENDING, "last")
        trail = books.by_hand.execute(
            "SELECT actor FROM transitions JOIN campaigns USING (campaign)"
            " WHERE organisation = ? ORDER BY transition",
            (books.caller.organisation,),
        ).fetchall()
        assert [row[0] for row in trail] == ["tester", "tester", "last"]


def test_a_transaction_takes_as_many_campaigns_as_there_are(tables: Database) -> None:
    """Many small campaigns at once, more than a statement takes, are all completed by it.

    Their stored results are found, too: the same batch again changes nothing.
    """
    names = [f"campaign-{number}" for number in range(600)]

    def prepared(connection: sa.Connection) -> None:
        for name in names:
            registration.create(connection, books.caller, NewCampaign(name))
            lifecycle.start(connection, books.caller, name, StartOrder(2), largest_total=2)

    with closing(Books(tables)) as books:
        books.write(prepared)
        for sequence, new in ((1, 1), (1, 0), (2, 1)):
            frames = [
                Frame(books.key(name), "tester", ResultColumns.of([result(sequence, Outcome.SENT)]))
                for name in names
            ]
            recorded = books.write(
                lambda connection, frames=frames: ledger.record(connection, frames)
            )
            counts = {(receipt.new, receipt.duplicate) for receipt in recorded.receipts}
            assert counts == {(new, 1 - new)}
        assert [receipt.state for receipt in recorded.receipts] == [State.COMPLETED] * len(names)
        assert len(recorded.completed) == len(names)
        books.check()
