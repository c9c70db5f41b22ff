"""Results that are not SENT, counted by code as they are stored: S1, and what mends it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from closeout.errors import InvalidArgumentError, NotFoundError
from closeout.status.v1 import status_pb2 as pb
from integration.databases import Database, SqliteDatabase
from integration.migrated import make_file
from integration.status_support import (
    FAILED,
    SKIPPED,
    UNKNOWN,
    Status,
    results,
    serving,
)
from status_service.migrations import MIGRATIONS
from status_service.migrations.versions import v0005_samples
from status_service.reads import some_results

SENDING = pb.Campaign.SENDING


def _shown(groups: Sequence[pb.FailureGroup]) -> list[tuple[int, str, bool, int, list[int]]]:
    return [
        (group.outcome, group.code, group.rest, group.results, list(group.sequences))
        for group in groups
    ]


async def _groups(status: Status) -> list[tuple[int, str, bool, int, list[int]]]:
    return _shown(await status.client.list_failures(campaign_id="a"))


async def test_s1_results_are_counted_by_code(status: Status) -> None:
    """The largest group first, FAILED before UNKNOWN and SKIPPED; SENT has no group."""
    await status.start("a", 20)
    await status.report(
        "a",
        *results([1, 2]),
        *results([3], FAILED, code="421", detail="busy"),
        *results([4, 5, 6, 7], FAILED, code="550", detail="no such user"),
        *results([8], UNKNOWN, code="in_doubt"),
        *results([9], SKIPPED),
    )
    assert await _groups(status) == [
        (FAILED, "550", False, 4, [4, 5, 6]),
        (FAILED, "421", False, 1, [3]),
        (UNKNOWN, "in_doubt", False, 1, [8]),
        (SKIPPED, "", False, 1, [9]),
    ]
    groups = await status.client.list_failures(campaign_id="a", outcomes=[FAILED])
    assert [group.detail for group in groups] == ["no such user", "busy"]
    with pytest.raises(NotFoundError):
        await status.client.list_failures(campaign_id="b")
    with pytest.raises(InvalidArgumentError):
        await status.client.list_failures(campaign_id="a", outcomes=[pb.Result.OUTCOME_UNSPECIFIED])


async def test_s2_a_better_result_leaves_its_group(status: Status) -> None:
    """UNKNOWN that turns out to be SENT or FAILED lowers the group it was counted in."""
    await status.start("a", 10)
    await status.report("a", *results([1, 2, 3, 4], UNKNOWN, code="in_doubt"))
    await status.report("a", *results([1]), *results([2], FAILED, code="550"))
    assert await _groups(status) == [
        (FAILED, "550", False, 1, [2]),
        (UNKNOWN, "in_doubt", False, 2, [3]),
    ]
    # Within one frame, and again: only what is stored in the end is counted, and once.
    again = [*results([5], UNKNOWN, code="x"), *results([5], FAILED, code="y"), *results([3, 4])]
    await status.report("a", *again)
    await status.report("a", *again)
    assert await _groups(status) == [
        (FAILED, "550", False, 1, [2]),
        (FAILED, "y", False, 1, [5]),
    ]


async def test_s1_known_codes_are_counted_without_reading_them(status: Status) -> None:
    """A group that has its text and its examples only grows; the others are as ever."""
    await status.start("a", 40)
    await status.start("b", 40)
    busy = {"code": "421", "detail": "busy"}
    await status.report("a", *results([1, 2, 3], FAILED, **busy), *results([4], FAILED, code="x"))
    await status.report("b", *results([1, 2, 3], FAILED, code="421"))
    for campaign, first in (("a", 11), ("b", 21)):
        await status.report(
            campaign,
            *results([first, first + 1], FAILED, code="421", detail="later"),
            *results([first + 2], FAILED, code="x"),
            *results([first + 3], SKIPPED, code="421"),
        )
    assert await _groups(status) == [
        (FAILED, "421", False, 5, [1, 2, 3]),
        (FAILED, "x", False, 2, [4, 13]),
        (SKIPPED, "421", False, 1, [14]),
    ]
    shown = {name: await status.client.list_failures(campaign_id=name) for name in ("a", "b")}
    assert [groups[0].detail for groups in shown.values()] == ["busy", "later"]
    assert _shown(shown["b"][:1]) == [(FAILED, "421", False, 5, [1, 2, 3])]
    # One that lost an example takes another.
    await status.report("a", *results([2]))
    await status.report("a", *results([31, 32], FAILED, **busy))
    assert (await _groups(status))[0] == (FAILED, "421", False, 6, [1, 3, 31])


async def test_codes_without_a_group_are_the_rest(status: Status) -> None:
    """Of 60 codes, 50 have a group; the others are counted together, and leave together."""
    await status.start("a", 100)
    for first in (1, 31):
        await status.report(
            "a",
            *(
                pb.Result(sequence=number, outcome=FAILED, code=f"c{number}")
                for number in range(first, first + 30)
            ),
        )
    groups = await status.client.list_failures(campaign_id="a")
    assert len(groups) == 51
    assert (groups[-1].rest, groups[-1].code, groups[-1].results) == (True, "", 10)
    await status.report("a", *results([1, 60]))
    groups = await status.client.list_failures(campaign_id="a")
    assert (len(groups), groups[-1].results) == (50, 9)
    # A code that was not counted by itself never is, even where another has none left.
    await status.report("a", pb.Result(sequence=61, outcome=FAILED, code="c59"))
    groups = await status.client.list_failures(campaign_id="a")
    assert (len(groups), groups[-1].results) == (50, 10)


async def test_what_was_forced_is_known_where_its_code_has_no_group(status: Status) -> None:
    """The audit trail and the campaign tell how many messages, though they are of the rest."""
    await status.start("a", 62)
    codes = (f"c{number}" for number in range(60))
    unknown = (
        pb.Result(sequence=number, outcome=UNKNOWN, code=code)
        for number, code in enumerate(codes, 1)
    )
    await status.report("a", *unknown)
    answer = await status.client.mark_complete(campaign_id="a", reason="gone", force=True)
    assert (answer.transitioned, answer.campaign.unknown) == (True, 62)
    groups = await status.client.list_failures(campaign_id="a")
    assert (groups[-1].rest, groups[-1].results) == (True, 12)
    assert "forced" not in {group.code for group in groups}
    ((forced,),) = status.execute("SELECT forced FROM transitions WHERE to_state = 'COMPLETED'")
    assert forced == 2


async def test_s1_force_counts_what_it_records(database: Database) -> None:
    """What is missing is UNKNOWN with code "forced"; a result that comes later leaves it."""
    async with serving(database) as status:
        await status.start("a", 10)
        await status.report("a", *results([1]), *results([2], UNKNOWN, code="in_doubt"))
        await status.client.mark_complete(campaign_id="a", reason="gone", force=True)
        assert await _groups(status) == [
            (UNKNOWN, "forced", False, 8, [3, 4, 5]),
            (UNKNOWN, "in_doubt", False, 1, [2]),
        ]
        await status.report("a", *results([3]))
        assert (await _groups(status))[0] == (UNKNOWN, "forced", False, 7, [4, 5])
        status.check_invariants(raised_late={("a", 3)})


async def test_s1_counting_again_counts_by_code(status: Status) -> None:
    """A drift that is repaired is repaired in the groups as well: they add up again."""
    await status.start("a", 200)
    await status.report(
        "a",
        *results(range(1, 60), FAILED, code="550", detail="no such user"),
        *(
            pb.Result(sequence=number, outcome=FAILED, code=f"c{number}")
            for number in range(60, 130)
        ),
        *results([130], SKIPPED),
    )
    status.execute("DELETE FROM results WHERE sequence IN (1, 130)")
    status.execute("UPDATE failure_groups SET number = number + 7, examples = '[5]'")
    await status.client.repair_campaigns()
    groups = await status.client.list_failures(campaign_id="a")
    assert _shown(groups[:1]) == [(FAILED, "550", False, 58, [2, 59])]
    assert groups[0].detail == "no such user"
    assert (len(groups), groups[-1].rest, groups[-1].results) == (51, True, 21)
    # Those without a group are counted on from there.
    await status.report("a", pb.Result(sequence=131, outcome=FAILED, code="another"))
    groups = await status.client.list_failures(campaign_id="a")
    assert (len(groups), groups[-1].rest, groups[-1].results) == (51, True, 22)


async def test_s1_a_group_that_is_missing_is_counted_again(status: Status) -> None:
    """Where rows were changed by hand, the next result that leaves its group mends them."""
    await status.start("a", 10)
    await status.report("a", *results([1, 2], UNKNOWN, code="in_doubt"))
    status.execute("DELETE FROM failure_groups")
    await status.report("a", *results([1]))
    assert await _groups(status) == [(UNKNOWN, "in_doubt", False, 1, [2])]


async def test_s1_the_last_result_counts_again_what_was_changed_by_hand(status: Status) -> None:
    """A counter that is wrong is corrected when the campaign is full, and so are its groups."""
    await status.start("a", 3)
    await status.report("a", *results([1, 2], FAILED, code="550"))
    status.execute("UPDATE results SET code = '421' WHERE sequence = 2")
    status.execute("UPDATE campaigns SET failed = 1, skipped = 1")
    await status.report("a", *results([3]))
    assert await _groups(status) == [
        (FAILED, "421", False, 1, [2]),
        (FAILED, "550", False, 1, [1]),
    ]


async def test_s1_results_of_an_earlier_version_get_their_groups(database: Database) -> None:
    """What was stored before groups were kept is counted by the migration."""
    async with serving(database) as status:
        await status.start("a", 200)
        await status.report(
            "a",
            *results(range(1, 60), FAILED, code="550", detail="no such user"),
            *(
                pb.Result(sequence=number, outcome=FAILED, code=f"c{number}")
                for number in range(60, 130)
            ),
            *results([131], UNKNOWN),
            *results([132]),
        )
        status.execute("DELETE FROM failure_groups")
        status.execute(v0005_samples._COUNT_BY_CODE)
        groups = await status.client.list_failures(campaign_id="a")
        assert _shown(groups[:1]) == [(FAILED, "550", False, 59, [1, 59])]
        assert _shown(groups[-2:]) == [
            (FAILED, "", True, 21, [79, 99]),
            (UNKNOWN, "", False, 1, [131]),
        ]
        status.check_invariants()


async def test_results_of_some_codes_are_listed_in_bounded_pages(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page looks at so many results and no more: it may be empty and not be the last."""
    monkeypatch.setattr(some_results, "_LOOKED_AT", 10)
    await status.start("a", 100)
    await status.report(
        "a",
        *results(range(1, 31)),
        *results([31, 32], FAILED, code="550"),
        *results([33], FAILED, code="421"),
        *results([34], FAILED),
    )
    found = [one async for one in status.client.list_results(campaign_id="a", codes=["550", ""])]
    assert [one.sequence for one in found] == [*range(1, 33), 34]
    page = await status.stub.ListResults(pb.ListResultsRequest(campaign_id="a", codes=["550"]))
    assert not page.results
    assert page.next_page_token
    failed = [one async for one in status.client.list_results(campaign_id="a", outcomes=[FAILED])]
    assert [one.sequence for one in failed] == [31, 32, 33, 34]
    page = await status.stub.ListResults(
        pb.ListResultsRequest(campaign_id="a", outcomes=[FAILED, UNKNOWN], page_size=3)
    )
    assert [one.sequence for one in page.results] == [31, 32, 33], "found by their outcome"
    with pytest.raises(InvalidArgumentError, match="codes"):
        _ = [one async for one in status.client.list_results(campaign_id="a", codes=["x"] * 51)]
    with pytest.raises(InvalidArgumentError, match="codes"):
        _ = [one async for one in status.client.list_results(campaign_id="a", codes=["x" * 65])]


def test_b1_what_is_not_sent_is_found_by_its_index(tmp_path: Path) -> None:
    """However many results are SENT, none of them is looked at."""
    database = SqliteDatabase(tmp_path / "status.db")
    make_file(database.path, MIGRATIONS)
    asked: list[tuple[str, Any]] = []
    engine = database.engine()
    sa.event.listen(
        engine, "before_cursor_execute", lambda *given: asked.append((given[2], given[3]))
    )
    with engine.begin() as connection:
        for codes in ([], ["550"]):
            some_results.find(
                connection, 1, after=0, limit=10, outcomes=[FAILED, UNKNOWN], codes=codes
            )
        selects = [one for one in asked if one[0].startswith("SELECT")]
        assert len(selects) == 6
        for statement, values in selects:
            plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all())
            assert "INDEX results_not_sent" in plan
            assert "PRIMARY KEY (campaign=? AND sequence>?)" not in plan
    engine.dispose()
