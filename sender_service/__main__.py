"""``python -m sender_service``: the sender service alone, until a signal.

``python -m sender_service migrate [--check]`` brings its database to this version.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from sender_service.channels.registry import installed_channels
from sender_service.migrations import MIGRATIONS
from sender_service.server import HOLDER, database_url, running
from sender_service.settings import settings_model
from service_runtime import command_line, process, settings
from service_runtime.logs import configure_logs

if TYPE_CHECKING:
    from collections.abc import Sequence


async def _main() -> None:
    channels = installed_channels()
    configuration = settings.load(settings_model(channels))
    configure_logs(configuration.log.level, service="sender")
    stop = process.stop_signal()
    async with running(configuration, channels=channels) as service:
        print(f"sender service listening on {service.address}", flush=True)
        await stop.wait()


def _migrate(*, check: bool) -> int:
    configuration = settings.load(settings_model(installed_channels()))
    configure_logs(configuration.log.level, service="sender")
    url = database_url(configuration)
    return command_line.migrate_database(url, MIGRATIONS, holder=HOLDER, check=check)


def main(words: Sequence[str] = ()) -> int:
    """Run the service or its migration; return the exit code of the process.

    Args:
        words: the command line, without the name of the program.
    """
    asked = command_line.read("sender_service", words)
    if asked.migrate:
        return process.answer(partial(_migrate, check=asked.check))
    return process.run(_main)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
