"""Status services that start at once on one database that needs a migration."""

from __future__ import annotations

import contextlib
from pathlib import Path

from acceptance.forked import ForkedService
from acceptance.processes import wait_until
from providers.postgresql_server import PostgresqlServer
from service_runtime.postgresql import MIGRATION_LOCK


def test_one_of_three_migrates_and_all_serve(
    tmp_path: Path, postgresql_server: PostgresqlServer
) -> None:
    """On an empty database one instance creates the tables; the others wait and log it."""
    url = postgresql_server.create_database()
    settings = {"CLOSEOUT_STATUS_DATABASE_URL": url, "CLOSEOUT_STATUS_LISTEN": "127.0.0.1:0"}
    line = "status service listening on "
    with contextlib.ExitStack() as stack:
        services = [
            stack.enter_context(
                ForkedService("status_service", line, tmp_path / str(number), settings)
            )
            for number in range(3)
        ]
        with postgresql_server.connect(url.rpartition("/")[2]) as by_hand:
            by_hand.execute(f"SELECT pg_advisory_lock({MIGRATION_LOCK})")
            for service in services:
                service.launch()
            for service in services:
                wait_until(lambda s=service: s.events("migration_awaited"), what="it waits")
        for service in services:
            wait_until(lambda s=service: s.events("serving"), what="it serves")
        migrated = [event for service in services for event in service.events("database_migrated")]
        assert [(event["version_before"], event["version"]) for event in migrated] == [
            ("empty", "0010")
        ]
        generations = {service.events("serving")[0]["generation"] for service in services}
        assert len(generations) == 1
        assert [service.terminate() for service in services] == [0, 0, 0]
    postgresql_server.drop_database(url)
