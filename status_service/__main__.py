"""``python -m status_service``: the status service alone, until a signal.

``python -m status_service migrate [--check]`` brings its database to this version, and
``python -m status_service --check`` checks the settings and touches nothing.
``python -m status_service keys create`` makes a key: :mod:`.access.local_keys`.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from service_runtime import command_line, process, settings, settings_check, tls
from service_runtime.logs import configure_logs
from service_runtime.systemd import Systemd
from service_runtime.trace_export import exporting
from status_service.access import local_keys
from status_service.migrations import MIGRATIONS
from status_service.settings import HOLDER, Settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


async def _main() -> None:
    # Slow to import: a check, a migration and a new key do without.
    from status_service.server import running  # noqa: PLC0415 - see above

    configuration = settings.load(Settings)
    configure_logs(configuration.log.level, service="status")
    stop = process.stop_signal(configuration.status.grace_seconds)
    systemd = Systemd()
    async with (
        exporting("status", grace_seconds=configuration.status.grace_seconds),
        running(configuration) as service,
    ):
        # In one piece: who reads the first line finds the second one there.
        pages = f"\nstatus service HTTP on {service.http_scheme}://{service.http_address}"
        print(
            f"status service listening on {service.address}{pages if service.http_address else ''}",
            flush=True,
        )
        async with systemd.notified(lambda: service.readiness.progresses):
            await stop.wait()


def _migrate(*, check: bool) -> int:
    configuration = settings.load(Settings)
    configure_logs(configuration.log.level, service="status")
    url = configuration.status.database_url
    return command_line.migrate_database(url, MIGRATIONS, holder=HOLDER, check=check)


def _make_key(asked: argparse.Namespace) -> int:
    configuration = settings.load(Settings)
    # What is said is the key, or why there is none.
    configure_logs("warning", service="status")
    return local_keys.create(configuration.status.database_url, asked)


def _check(*, startable: bool) -> int:
    found = settings.read(Settings)
    problems = list(found.problems)
    status = found.sections.get("status")
    if status is not None:
        problems += tls.problems("status", status, startable=startable)
    if startable and status is not None:
        place = settings.place("status", "database_url")
        problems += settings_check.database_problems(status.database_url, place)
        problems += settings_check.port_problems(status.listen)
        http = settings.place("status", "http_listen")
        problems += settings_check.port_problems(status.http_listen, http)
    return settings_check.report(HOLDER, problems)


def main(words: Sequence[str] = ()) -> int:
    """Run the service, migrate or check it, or make a key; return the exit code of the process.

    Args:
        words: the command line, without the name of the program.
    """
    asked = command_line.read("status_service", words, extend=local_keys.add_command)
    if asked.check_settings:
        return process.answer(partial(_check, startable=asked.check_start))
    if "make_key" in asked:
        return process.answer(partial(_make_key, asked))
    if asked.migrate:
        return process.answer(partial(_migrate, check=asked.check))
    return process.run(_main)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
