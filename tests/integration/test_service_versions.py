"""What the versions of the two services make is what their code works with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

import sender_service.migrations
import sender_service.store.schema
import status_service.migrations
import status_service.schema
from providers.postgresql_server import PostgresqlServer
from providers.written_versions import make_first_version
from sender_service.channels.contract import EmailContent, content_from_json
from sender_service.domain import ProblemKind
from sender_service.store.values import problems_from_json
from service_runtime.caller import Caller
from service_runtime.database_url import open_engines
from service_runtime.migrations import UNVERSIONED, Migrations, Step
from status_service.campaigns import registration
from status_service.campaigns.types import NewCampaign

SERVICES = [
    pytest.param(status_service.migrations.MIGRATIONS, status_service.schema.metadata, id="status"),
    pytest.param(
        sender_service.migrations.MIGRATIONS, sender_service.store.schema.metadata, id="sender"
    ),
]
#: Everything PostgreSQL has of a table: columns, constraints and indexes.
_CATALOGUE = """
SELECT 'column', relname, attname, concat_ws(' ', format_type(atttypid, atttypmod), attnotnull,
       attidentity, pg_get_expr(adbin, adrelid))
  FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
  LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
 WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
"""
_MASTER = "SELECT type, tbl_name, name, sql FROM sqlite_master"


@pytest.fixture(params=["sqlite", "postgresql"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The URLs of two empty databases."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/one.db", f"sqlite:///{tmp_path}/two.db"
        return
    server: PostgresqlServer = request.getfixturevalue("postgresql_server")
    both = server.create_database(), server.create_database()
    yield both
    for url in both:
        server.drop_database(url)


def definitions(connection: sa.Connection, *, leaving_out: str) -> set[tuple[Any, ...]]:
    """Return what a database says it is made of, but for one table."""
    sqlite = connection.dialect.name == "sqlite"
    rows = connection.exec_driver_sql(_MASTER if sqlite else _CATALOGUE)
    # Where a column was added later, SQLite keeps the blanks of the statement that did,
    # and it puts the name of a table that was renamed into quotes.
    return {
        (*row[:3], re.sub(r'^(CREATE TABLE) "(\w+)"', r"\1 \2", " ".join(str(row[3]).split())))
        for row in rows
        if row[1] != leaving_out
    }


@pytest.mark.parametrize(("migrations", "metadata"), SERVICES)
def test_a_migrated_database_is_what_the_schema_says(
    urls: tuple[str, str], migrations: Migrations, metadata: sa.MetaData
) -> None:
    """No table, column, constraint or index differs, in the database's own words."""
    migrated, made = (open_engines(url, holder="test") for url in urls)
    try:
        migrations.migrate(migrated)
        metadata.create_all(made.writer)
        with migrated.reader.begin() as one, made.reader.begin() as two:
            context = MigrationContext.configure(one, opts={"version_table": migrations.table})
            assert compare_metadata(context, metadata) == []
            found = definitions(one, leaving_out=migrations.table)
            assert found == definitions(two, leaving_out=migrations.table)
            assert any("CHECK" in str(row[3]) for row in found)
            assert any("WHERE" in str(row[3]) for row in found)
    finally:
        migrated.close()
        made.close()


@pytest.mark.parametrize("migrations", [service.values[0] for service in SERVICES])
def test_databases_from_before_versions_are_taken_over(
    urls: tuple[str, str], migrations: Migrations
) -> None:
    """What a service made before its versions were written down is its first version."""
    make_first_version(urls[0], migrations)
    engines = open_engines(urls[0], holder="test")
    try:
        step = migrations.migrate(engines)
        assert step.before == UNVERSIONED
        assert migrations.migrate(engines) == Step(step.after, step.after)
    finally:
        engines.close()


def test_a_status_database_of_the_first_version_keeps_its_campaigns(
    urls: tuple[str, str],
) -> None:
    """Those that are registered have no labels, and go on."""
    migrations = status_service.migrations.MIGRATIONS
    make_first_version(urls[0], migrations)
    engines = open_engines(urls[0], holder="test")
    try:
        with engines.writer.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO campaigns (organisation, campaign_id, state, sent, failed, skipped,"
                " unknown, revision, display_name, channel, last_reporter, create_time)"
                " VALUES ('default', 'a', 'DRAFT', 0, 0, 0, 0, 1, 'x', '', '', 1)"
            )
        assert migrations.migrate(engines).after == "0010"
        with engines.writer.begin() as connection:
            caller = Caller("default", "tester")
            again = registration.create(connection, caller, NewCampaign("a", display_name="x"))
            assert (again.transitioned, again.campaign.labels) == (False, "{}")
            labelled = NewCampaign("b", labels={"tenant": "x"})
            assert registration.create(connection, caller, labelled).transitioned
    finally:
        engines.close()


def test_what_force_recorded_before_it_was_counted_is_counted(urls: tuple[str, str]) -> None:
    """A completion by force of an earlier version has the number of its results afterwards."""
    migrations = status_service.migrations.MIGRATIONS
    make_first_version(urls[0], migrations)
    engines = open_engines(urls[0], holder="test")
    try:
        with engines.writer.begin() as connection:
            for statement in (
                (
                    "INSERT INTO campaigns (campaign, organisation, campaign_id, state, total,"
                    " sent, failed, skipped, unknown, revision, display_name, channel,"
                    " last_reporter, create_time, complete_time)"
                    " VALUES (7, 'o', 'a', 'COMPLETED', 3, 1, 0, 0, 2, 5, '', '', '', 1, 2)"
                ),
                (
                    "INSERT INTO transitions (transition, campaign, from_state, to_state, cause,"
                    " actor, reason, create_time) VALUES (1, 7, NULL, 'DRAFT', 'USER', '', '', 1),"
                    " (2, 7, 'DRAFT', 'SENDING', 'SEAL', '', '', 1),"
                    " (3, 7, 'SENDING', 'COMPLETED', 'MANUAL', 'x', 'gone', 2)"
                ),
                (
                    "INSERT INTO results (campaign, sequence, outcome, attempt, code, detail,"
                    " provider_message_id, record_time) VALUES (7, 1, 4, 1, '', '', '', 1),"
                    " (7, 2, 1, 0, 'forced', '', '', 2), (7, 3, 1, 0, 'forced', '', '', 2)"
                ),
            ):
                connection.exec_driver_sql(statement)
        migrations.migrate(engines)
        with engines.reader.begin() as connection:
            table = status_service.schema.transitions
            rows = connection.execute(
                sa.select(table.c.forced, table.c.on_behalf_of).order_by(table.c.transition)
            )
            assert [tuple(row) for row in rows] == [(0, ""), (0, ""), (2, "")]
    finally:
        engines.close()


def test_campaigns_of_the_first_version_keep_what_they_say(urls: tuple[str, str]) -> None:
    """Content becomes an e-mail, options keep their values, and a problem becomes the first one."""
    migrations = sender_service.migrations.MIGRATIONS
    make_first_version(urls[0], migrations)
    engines = open_engines(urls[0], holder="test")
    values = (
        "'default', NULL, 'Spring', 'smtp', '{\"subject\": \"Hi\"}', 'd', 'r', 'AT_MOST_ONCE',"
        " 7, 3, 250"
    )
    columns = (
        "campaign, campaign_id, organisation, request_id, display_name, channel, content,"
        ' content_digest, request_digest, guarantee, "window", max_attempts, retry_backoff_ms,'
        " phase, total, create_time, state, problem, problem_time"
    )
    try:
        with engines.writer.begin() as connection:
            for tail in (
                f"1, 'c1', {values}, 'STARTED', 5, 1, '', '', NULL",
                f"2, 'c2', {values}, 'FINISHED', 5, 1, 'CANCELLED', 'it was cancelled', 1000000",
            ):
                connection.exec_driver_sql(f"INSERT INTO campaigns ({columns}) VALUES ({tail})")  # noqa: S608 - a test's own
            connection.exec_driver_sql(
                "INSERT INTO uploads (campaign, upload_id, next_row, accepted, duplicate, invalid,"
                " rejected_rows) VALUES (1, 'u', 5, 5, 0, 0, '[]')"
            )
        migrations.migrate(engines)
        with engines.reader.begin() as connection:
            table = sender_service.store.schema.campaigns
            first, second = connection.execute(sa.select(table).order_by(table.c.campaign))
            (upload,) = connection.execute(sa.select(sender_service.store.schema.uploads))
    finally:
        engines.close()
    assert content_from_json(first.content) == EmailContent(subject="Hi")
    assert (first.max_in_flight, first.max_attempts, first.initial_backoff_ms) == (7, 3, 250)
    assert (first.max_backoff_ms, first.retry_deadline_ms) == (3_600_000, None)
    assert json.loads(first.labels) == {}
    assert (first.content_digest, first.total, first.phase) == ("d", 5, "STARTED")
    assert problems_from_json(first.problems) == ()
    (problem,) = problems_from_json(second.problems)
    assert (problem.kind, problem.summary) == (ProblemKind.START_REFUSED, "it was cancelled")
    assert problem.since_time == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert upload.campaign == 1


def test_campaigns_of_an_older_version_get_a_family_and_a_begin(urls: tuple[str, str]) -> None:
    """What was sent a week ago under a name stands in the way of its repetition."""
    migrations = sender_service.migrations.MIGRATIONS
    make_first_version(urls[0], migrations)
    engines = open_engines(urls[0], holder="test")
    columns = (
        "campaign, campaign_id, display_name, organisation, channel, content, content_digest,"
        ' request_digest, guarantee, "window", max_attempts, retry_backoff_ms, total, state,'
        " problem, phase, create_time, schedule_time, start_time"
    )
    values = "'default', 'smtp', '{}', 'd', 'r', 'AT_MOST_ONCE', 7, 3, 250, 0, '', ''"
    try:
        with engines.writer.begin() as connection:
            for head, tail in (
                ("1, 'c1', ' Cafe\u0301 '", "'FINISHED', 1, NULL, 3"),
                ("2, 'c2', ''", "'STARTED', 1, 4, 3"),
                ("3, 'c3', 'Spring'", "'FROZEN', 1, NULL, NULL"),
                ("4, 'c4', 'Spring'", "'COLLECTING', 1, NULL, NULL"),
            ):
                connection.exec_driver_sql(
                    f"INSERT INTO campaigns ({columns}) VALUES ({head}, {values}, {tail})"  # noqa: S608 - a test's own
                )
        migrations.migrate(engines)
        with engines.reader.begin() as connection:
            table = sender_service.store.schema.campaigns
            found = connection.execute(
                sa.select(
                    table.c.family,
                    sa.type_coerce(table.c.begin_time, sa.BigInteger),
                    table.c.repeat_after_ms,
                    table.c.left_out,
                ).order_by(table.c.campaign)
            ).all()
    finally:
        engines.close()
    week = 7 * 24 * 3600 * 1000
    assert [tuple(row) for row in found] == [
        ("Caf\u00e9", 3, week, 0),
        ("", 4, week, 0),
        ("Spring", 1, week, 0),
        ("Spring", None, week, 0),
    ]


@pytest.mark.parametrize("service", ["status_service", "sender_service"])
def test_a_version_imports_nothing_of_ours(service: str) -> None:
    """What a version does stays the same, however the code goes on."""
    root = Path(__file__).parents[2]
    versions = sorted((root / service / "migrations" / "versions").glob("v*.py"))
    assert versions
    for version in versions:
        text = version.read_text()
        for package in ("status_service", "sender_service", "service_runtime", "closeout"):
            assert f"import {package}" not in text
            assert f"from {package}" not in text


def test_campaigns_that_ended_before_retention_know_when(urls: tuple[str, str]) -> None:
    """COMPLETED ones by their completion, CANCELLED ones by their audit trail; open ones never."""
    migrations = status_service.migrations.MIGRATIONS
    make_first_version(urls[0], migrations)
    engines = open_engines(urls[0], holder="test")
    try:
        with engines.writer.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO campaigns (campaign, organisation, campaign_id, state, total, sent,"
                " failed, skipped, unknown, revision, display_name, channel, last_reporter,"
                " create_time, complete_time)"
                " VALUES (7, 'o', 'a', 'COMPLETED', 0, 0, 0, 0, 0, 5, '', '', '', 1, 2),"
                " (8, 'o', 'b', 'CANCELLED', 0, 0, 0, 0, 0, 5, '', '', '', 1, NULL),"
                " (9, 'o', 'c', 'DRAFT', NULL, 0, 0, 0, 0, 1, '', '', '', 1, NULL)"
            )
            connection.exec_driver_sql(
                "INSERT INTO transitions (transition, campaign, from_state, to_state, cause,"
                " actor, reason, create_time)"
                " VALUES (1, 8, 'DRAFT', 'CANCELLED', 'USER', '', '', 9)"
            )
        migrations.migrate(engines)
        with engines.reader.begin() as connection:
            found = connection.exec_driver_sql(
                "SELECT campaign, end_time FROM campaigns ORDER BY campaign"
            )
            assert [tuple(row) for row in found] == [(7, 2), (8, 9), (9, None)]
    finally:
        engines.close()
