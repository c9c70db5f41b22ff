"""Recipients on their way in, on a real database."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from integration import sender_support as support
from sender_service.errors import (
    AudienceFrozenError,
    CampaignNotFoundError,
    UploadOutOfOrderError,
)
from sender_service.store import campaigns, recipients, schema
from sender_service.store.recipients import CheckedRow, RejectedRow, UploadResult

if TYPE_CHECKING:
    from pathlib import Path

    from service_runtime.database import Store


async def take(
    store: Store, rows: list[CheckedRow], *, first_row: int = 0, **changes: Any
) -> UploadResult:
    values = {"organisation": support.ORGANISATION, "campaign_id": "c1", "upload_id": "u"}
    return await store.write(
        partial(recipients.take_batch, first_row=first_row, rows=rows, **(values | changes))
    )


async def collecting(store: Store) -> None:
    await store.write(partial(campaigns.insert, new=support.new_campaign()))


async def audience(store: Store) -> list[tuple[int, str]]:
    table = schema.recipients
    query = sa.select(table.c.sequence, table.c.address).order_by(table.c.sequence)
    return [tuple(row) for row in await support.rows(store, query)]


async def test_accepted_rows_are_numbered_without_a_gap(tmp_path: Path) -> None:
    """Sequences are 1..n over accepted rows, whatever was between them."""
    async with support.open_store(tmp_path) as store:
        await collecting(store)
        result = await take(
            store,
            [
                CheckedRow("a@x", "", "{}"),
                CheckedRow("no", reason="no @ in it"),
                CheckedRow("b@x", "", "{}"),
                CheckedRow("a@x", "", "{}"),
                CheckedRow("c@x", "", "{}"),
            ],
        )
        assert (result.accepted, result.duplicate, result.invalid, result.total) == (3, 1, 1, 3)
        assert list(result.rejected_rows) == [
            RejectedRow(1, "no", "no @ in it"),
            RejectedRow(3, "a@x", "the campaign has this address already"),
        ]
        assert await audience(store) == [(1, "a@x"), (2, "b@x"), (3, "c@x")]


async def test_a_repeated_upload_goes_on_where_it_was(tmp_path: Path) -> None:
    """Rows taken before are passed over, in whole batches and in parts of one."""
    async with support.open_store(tmp_path) as store:
        await collecting(store)
        rows = support.rows_of(f"p{n}@x" for n in range(10))
        await take(store, rows[:4])
        repeated = await take(store, rows[:4])
        assert (repeated.accepted, repeated.duplicate, repeated.total) == (4, 0, 4)
        overlapping = await take(store, rows[2:], first_row=2)
        assert (overlapping.accepted, overlapping.duplicate, overlapping.total) == (10, 0, 10)
        assert [sequence for sequence, _ in await audience(store)] == list(range(1, 11))


async def test_a_gap_names_the_row_expected(tmp_path: Path) -> None:
    """Rows that were left out are asked for; nothing is stored meanwhile."""
    async with support.open_store(tmp_path) as store:
        await collecting(store)
        await take(store, support.rows_of(["a@x", "b@x"]))
        with pytest.raises(UploadOutOfOrderError) as refused:
            await take(store, support.rows_of(["d@x"]), first_row=3)
        assert refused.value.metadata["expected_row"] == "2"
        assert len(await audience(store)) == 2


async def test_one_address_gets_one_message_over_all_uploads(tmp_path: Path) -> None:
    """A second upload adds only what the campaign does not have."""
    async with support.open_store(tmp_path) as store:
        await collecting(store)
        await take(store, support.rows_of(["a@x", "b@x"]))
        second = await take(store, support.rows_of(["b@x", "c@x"]), upload_id="v")
        assert (second.accepted, second.duplicate, second.total) == (1, 1, 3)
        assert [address for _, address in await audience(store)] == ["a@x", "b@x", "c@x"]


async def test_only_the_first_rejected_rows_are_kept(tmp_path: Path) -> None:
    """All are counted, twenty are explained, over any number of batches."""
    async with support.open_store(tmp_path) as store:
        await collecting(store)
        bad = [CheckedRow(f"n{n}", reason="no @ in it") for n in range(15)]
        await take(store, bad)
        result = await take(store, bad, first_row=15)
        assert result.invalid == 30
        assert [row.row for row in result.rejected_rows] == list(range(20))


async def test_a_frozen_audience_takes_nothing_new(tmp_path: Path) -> None:
    """After the start new rows are refused, and a repeat of old ones is still answered."""
    async with support.open_store(tmp_path) as store:
        await support.add_campaign(store, messages=3)
        known = support.rows_of(f"p{number}@example.com" for number in range(3))
        assert (await take(store, known)).total == 3
        with pytest.raises(AudienceFrozenError):
            await take(store, support.rows_of(["new@x"]), first_row=3)


async def test_another_organisations_campaign_is_not_found(tmp_path: Path) -> None:
    """S13: absent and foreign look the same."""
    async with support.open_store(tmp_path) as store:
        await collecting(store)
        rows = support.rows_of(["a@x"])
        with pytest.raises(CampaignNotFoundError) as foreign:
            await take(store, rows, organisation="other")
        with pytest.raises(CampaignNotFoundError) as absent:
            await take(store, rows, campaign_id="c2")
        assert str(foreign.value).replace("c1", "c2") == str(absent.value)


async def test_a_thousand_rows_in_one_batch(tmp_path: Path) -> None:
    """The largest batch, with statements of every size, keeps the order of the file."""
    async with support.open_store(tmp_path) as store:
        await collecting(store)
        await take(store, support.rows_of(f"p{n:04}@x" for n in range(999)))
        assert await audience(store) == [(n + 1, f"p{n:04}@x") for n in range(999)]
