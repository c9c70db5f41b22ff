"""``python -m sender_service``: the sender service alone, until a signal."""

from __future__ import annotations

import sys

from sender_service.registry import installed_channels
from sender_service.server import running
from sender_service.settings import settings_model
from service_runtime import process, settings
from service_runtime.logs import configure_logs


async def _main() -> None:
    channels = installed_channels()
    configuration = settings.load(settings_model(channels))
    configure_logs(configuration.log.level, service="sender")
    stop = process.stop_signal()
    async with running(configuration, channels=channels) as service:
        print(f"sender service listening on {service.address}", flush=True)
        await stop.wait()


def main() -> int:
    """Run the service; return the exit code of the process."""
    return process.run(_main)


if __name__ == "__main__":
    sys.exit(main())
