"""``python -m benchmarks.reads``: measure what pages and lists cost with many campaigns.

It makes databases with so many open campaigns, twice as many that have ended, and so many
results, half of them of one campaign, and prints the milliseconds of each read: the median
of five, after one that is not counted. Last, a service is started on the database, and the
command ``closeout fix --dry-run`` asks it: the seconds from its start to its end.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import sqlalchemy as sa

from benchmarks.databases import PostgresqlDatabases, SqliteFiles
from benchmarks.processes import status_service
from closeout_cli.failures import NEEDS_A_PERSON
from service_runtime.caller import Caller
from service_runtime.database import Store
from service_runtime.logs import configure_logs
from service_runtime.pages import PageRequest
from status_service.campaigns.scans import Scans
from status_service.campaigns.service import CampaignService
from status_service.domain import OPEN, Outcome, State
from status_service.migrations import MIGRATIONS
from status_service.reads.service import CampaignViews
from status_service.recording.notifier import Notifier

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from benchmarks.databases import Database

_ROUNDS = 5
_NAME = "reads"
_CALLER = Caller("default", "benchmark")
_THRESHOLD = timedelta(minutes=5)
_NUMBERS = (
    "WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < {most})"
)
#: Of ten open ones, one is paused, and so many have had no result for an hour.
STANDING_STILL = 3
_CAMPAIGNS = """
INSERT INTO campaigns (campaign, organisation, campaign_id, display_name, channel, state, total,
    sent, failed, skipped, unknown, revision, last_reporter, create_time, start_time,
    progress_time, complete_time)
{numbers}
SELECT n, 'default', 'campaign-' || CAST(n AS TEXT), 'Campaign', 'smtp',
    CASE WHEN n > {open} THEN 'COMPLETED' WHEN n % 10 = 0 THEN 'PAUSED' ELSE 'SENDING' END,
    {results}, CASE WHEN n > {open} THEN {results} ELSE 0 END, 0, 0, 0, 7, 'sender',
    {now} - 7200000000 - n, {now} - 7200000000,
    CASE WHEN n % 10 BETWEEN 1 AND {standing} THEN {now} - 3600000000 ELSE {now} - 1000000 END,
    CASE WHEN n > {open} THEN {now} END
FROM counted
"""
#: The first campaign has half of the results, the other open ones share the rest.
_RESULTS = """
INSERT INTO results (campaign, sequence, outcome, attempt, code, detail, provider_message_id,
    record_time)
{numbers}
SELECT CASE WHEN n <= {half} THEN 1 ELSE 2 + (n - {half} - 1) % ({open} - 1) END,
    CASE WHEN n <= {half} THEN n ELSE 1 + (n - {half} - 1) / ({open} - 1) END,
    CASE WHEN n % 1000 = 0 THEN 1 WHEN n % 50 = 0 THEN 3 ELSE 4 END, 1,
    CASE WHEN n % 50 = 0 THEN CAST(500 + n / 50 % 70 AS TEXT) ELSE '250' END, '',
    'queued-as-' || CAST(n AS TEXT), {now}
FROM counted
"""
_SAMPLES = """
INSERT INTO samples (campaign, sample_time, sent, failed, skipped, unknown, number, step)
{numbers}
SELECT campaign, CAST({now} AS BIGINT) - (60 - n) * CAST(10000000 AS BIGINT), n, 0, 0, 0, n, 10
FROM counted, campaigns WHERE campaign <= {open}
"""
_TRANSITIONS = """
INSERT INTO transitions (campaign, from_state, to_state, cause, actor, reason, create_time)
SELECT campaign, 'DRAFT', state, 'SEAL', 'benchmark', '', start_time FROM campaigns
"""
_COUNTERS = "UPDATE campaigns SET {sets} WHERE campaign <= {open}"
_COUNTED = (
    "(SELECT count(*) FROM results WHERE results.campaign = campaigns.campaign AND outcome = {n})"
)
_GROUPS = """
INSERT INTO failure_groups (campaign, outcome, is_rest, code, number, detail, examples)
SELECT campaign, outcome, 0, code, count(*), 'as it was said',
    '[' || CAST(min(sequence) AS TEXT) || ']'
FROM results WHERE outcome < 4 GROUP BY campaign, outcome, code
"""
#: The next campaign that is registered gets the next number.
_CONTINUE = """
SELECT setval(pg_get_serial_sequence('campaigns', 'campaign'), max(campaign)) FROM campaigns
"""


def fill(connection: sa.Connection, *, campaigns: int, results: int) -> None:
    """Store campaigns and results; the groups of codes are more than the service would keep."""
    now = int(time.time() * 1_000_000)
    values = {"now": now, "open": campaigns, "half": results // 2, "results": results}
    values["standing"] = STANDING_STILL
    counters = ", ".join(
        f"{outcome.name.lower()} = {_COUNTED.format(n=int(outcome))}" for outcome in Outcome
    )
    for statement, most in (
        (_CAMPAIGNS, 3 * campaigns),
        (_RESULTS, results),
        (_SAMPLES, 60),
        (_TRANSITIONS, 0),
        (_COUNTERS.replace("{sets}", counters), 0),
        (_GROUPS, 0),
    ):
        numbers = _NUMBERS.format(most=most)
        connection.execute(sa.text(statement.format(numbers=numbers, **values)))
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(_CONTINUE))


def _vacuum(url: str) -> None:
    """Do what the server does by itself some time later."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")


def _show(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _milliseconds(read: Callable[[], Awaitable[object]], rounds: int) -> float:
    await read()
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        await read()
        times.append(1_000 * (time.perf_counter() - begin))
    return statistics.median(times)


def _reads(
    views: CampaignViews, service: CampaignService
) -> Sequence[tuple[str, Callable[[], Awaitable[object]]]]:
    page = PageRequest(50, "")
    some = PageRequest(500, "")

    def overview(*states: State, id_prefix: str = "") -> Callable[[], Awaitable[object]]:
        return lambda: views.overview(_CALLER, page, states=states, labels={}, id_prefix=id_prefix)

    def listed(*, stuck_first: bool, labels: dict[str, str]) -> Callable[[], Awaitable[object]]:
        return lambda: views.list_campaigns(
            _CALLER, page, states=[], labels=labels, stuck_first=stuck_first
        )

    def results(**filters: Sequence[int] | Sequence[str]) -> Callable[[], Awaitable[object]]:
        given = {"outcomes": [], **filters}
        return lambda: views.list_results(_CALLER, "campaign-1", some, **given)  # type: ignore[arg-type]

    return [
        ("page of campaigns", overview()),
        ("page of open campaigns", overview(*sorted(OPEN))),
        ("page of paused campaigns", overview(State.PAUSED)),
        ("page of drafts: none", overview(State.DRAFT)),
        ("page of ended campaigns", overview(State.COMPLETED, State.CANCELLED)),
        ("page of an id that is not there", overview(id_prefix="x")),
        ("ListCampaigns, stuck first", listed(stuck_first=True, labels={})),
        ("ListCampaigns, a label of none", listed(stuck_first=False, labels={"a": "b"})),
        ("page of the large campaign", lambda: views.campaign_page(_CALLER, "campaign-1")),
        ("page of a small campaign", lambda: views.campaign_page(_CALLER, "campaign-7")),
        ("ListSamples", lambda: views.list_samples(_CALLER, "campaign-1")),
        ("ListFailures", lambda: views.list_failures(_CALLER, "campaign-1")),
        ("ListResults, UNKNOWN", results(outcomes=[Outcome.UNKNOWN])),
        ("ListResults, a code of none", results(codes=["x"])),
        ("ListResults, FAILED with a code", results(outcomes=[Outcome.FAILED], codes=["555"])),
        ("ExplainCampaign, the large one", lambda: views.explain(_CALLER, "campaign-1")),
        (
            "ListMissingRanges, the large one",
            lambda: views.list_missing_ranges(_CALLER, "campaign-1", some),
        ),
        ("RepairCampaigns, dry run", lambda: service.repair(_CALLER, dry_run=True)),
    ]


async def seconds_of_fix(address: str) -> float:
    """Return how long ``closeout fix --dry-run`` takes, from its start to its end.

    Raises:
        RuntimeError: it ended otherwise than with campaigns that need a person.
    """
    begin = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "closeout_cli", "fix", "--dry-run"),
        *("--status-address", address),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    if process.returncode != NEEDS_A_PERSON:
        raise RuntimeError(f"closeout fix ended with {process.returncode}: {said.decode()}")
    return time.perf_counter() - begin


async def measure(databases: Database, *, campaigns: int, results: int) -> None:
    """Fill a database and print what each read takes, and the command through a service."""
    _show(databases.title)
    url = databases.url(_NAME)
    await _measure_reads(url, campaigns=campaigns, results=results)
    async with status_service(databases, _NAME) as service:
        seconds = await seconds_of_fix(service.address)
        _show(f"  {'closeout fix --dry-run':34}{seconds:10,.1f} s")


async def _measure_reads(url: str, *, campaigns: int, results: int) -> None:
    store = await asyncio.to_thread(Store, url, MIGRATIONS, holder="benchmark")
    try:
        begin = time.perf_counter()
        await store.write(lambda connection: fill(connection, campaigns=campaigns, results=results))
        _show(f"  filled in {time.perf_counter() - begin:.0f} s")
        if store.dialect == "postgresql":
            await asyncio.to_thread(_vacuum, url)
        views = CampaignViews(store, Scans(), stall_threshold=_THRESHOLD)
        service = CampaignService(store, Notifier(), stall_threshold=_THRESHOLD, largest_total=1)
        for name, read in _reads(views, service):
            rounds = 1 if name.startswith("Repair") else _ROUNDS
            _show(f"  {name:34}{await _milliseconds(read, rounds):10,.1f} ms")
    finally:
        store.close()


async def main(campaigns: int, results: int) -> None:
    """Measure on both kinds of database."""
    _show(f"{campaigns:,} open campaigns, {2 * campaigns:,} ended, {results:,} results")
    with tempfile.TemporaryDirectory(prefix="closeout-bench-") as name:
        files = SqliteFiles(Path(name))
        await measure(files, campaigns=campaigns, results=results)
        with PostgresqlDatabases(Path(name)) as databases:
            await measure(databases, campaigns=campaigns, results=results)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reads", description=__doc__)
    parser.add_argument("--campaigns", type=int, default=10_000, help="open campaigns")
    parser.add_argument("--results", type=int, default=10_000_000, help="results in all")
    given = parser.parse_args()
    configure_logs("warning", service="benchmark")
    asyncio.run(main(given.campaigns, given.results))
