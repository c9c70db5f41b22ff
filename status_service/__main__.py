"""``python -m status_service``: the status service alone, until a signal."""

from __future__ import annotations

import sys

from service_runtime import process, settings
from service_runtime.logs import configure_logs
from status_service.server import running
from status_service.settings import Settings


async def _main() -> None:
    configuration = settings.load(Settings)
    configure_logs(configuration.log.level, service="status")
    stop = process.stop_signal()
    async with running(configuration) as service:
        print(f"status service listening on {service.address}", flush=True)
        await stop.wait()


def main() -> int:
    """Run the service; return the exit code of the process."""
    return process.run(_main)


if __name__ == "__main__":
    sys.exit(main())
