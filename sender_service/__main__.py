"""``python -m sender_service``: the sender service alone, until a signal.

``python -m sender_service migrate [--check]`` brings its database to this version, and
``python -m sender_service --check`` checks the settings and touches nothing.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from sender_service.channels.registry import channel_problems, installed_channels
from sender_service.migrations import MIGRATIONS
from sender_service.settings import HOLDER, Settings, database_url, settings_model
from service_runtime import command_line, process, settings, settings_check, tls
from service_runtime.errors import StartupError
from service_runtime.logs import configure_logs
from service_runtime.systemd import Systemd
from service_runtime.trace_export import exporting

if TYPE_CHECKING:
    from collections.abc import Sequence


async def _main() -> None:
    # Slow to import: a check and a migration do without.
    from sender_service.server import running  # noqa: PLC0415 - see above

    channels = installed_channels()
    configuration = settings.load(settings_model(channels))
    configure_logs(configuration.log.level, service="sender")
    stop = process.stop_signal(configuration.sender.grace_seconds)
    systemd = Systemd()
    async with (
        exporting("sender", grace_seconds=configuration.sender.grace_seconds),
        running(configuration, channels=channels) as service,
    ):
        # In one piece: who reads the first line finds the second one there.
        pages = f"\nsender service HTTP on {service.http_scheme}://{service.http_address}"
        print(
            f"sender service listening on {service.address}{pages if service.http_address else ''}",
            flush=True,
        )
        async with systemd.notified(lambda: service.readiness.progresses):
            await stop.wait()


def _migrate(*, check: bool) -> int:
    configuration = settings.load(settings_model(installed_channels()))
    configure_logs(configuration.log.level, service="sender")
    url = database_url(configuration)
    return command_line.migrate_database(url, MIGRATIONS, holder=HOLDER, check=check)


def _check(*, startable: bool) -> int:
    channels = installed_channels()
    found = settings.read(settings_model(channels))
    problems = [*found.problems, *channel_problems(channels, found.sections)]
    if (sender := found.sections.get("sender")) is not None:
        problems += tls.problems("sender", sender, startable=startable)
        try:
            url = database_url(Settings(sender=sender))
        except StartupError as error:
            problems.append(str(error))
        else:
            if startable:
                place = settings.place("sender", "database_url")
                problems += settings_check.database_problems(url, place)
        if startable:
            problems += settings_check.port_problems(sender.listen)
            http = settings.place("sender", "http_listen")
            problems += settings_check.port_problems(sender.http_listen, http)
    return settings_check.report(HOLDER, problems)


def main(words: Sequence[str] = ()) -> int:
    """Run the service, or migrate or check it; return the exit code of the process.

    Args:
        words: the command line, without the name of the program.
    """
    asked = command_line.read("sender_service", words)
    if asked.check_settings:
        return process.answer(partial(_check, startable=asked.check_start))
    if asked.migrate:
        return process.answer(partial(_migrate, check=asked.check))
    return process.run(_main)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
