"""What services of this process still count after they were stopped: nothing may be left.

Listeners of changes and watches are memory that grows; permits that are not given back are
calls and connections that nobody can make any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sender_service import server as sender_server
from sender_service.channels.email.pool import SmtpPool
from sender_service.channels.registry import ChannelRegistry
from service_runtime.call_limits import CallLimits
from status_service.server import serving
from status_service.server.parts import Parts


class Made:
    """The parts of services that a test made."""

    def __init__(self) -> None:
        self.services: list[Parts] = []
        self.registries: list[ChannelRegistry] = []
        self.pools: list[SmtpPool] = []

    def left(self) -> list[str]:
        """Return what those that are stopped still have, each in a line."""
        counts: list[tuple[str, Any]] = []
        for parts in self.services:
            if parts.stopping.is_set():
                counts += [
                    ("listeners of changes", parts.notifier.keys()),
                    ("revisions of campaigns", parts.notifier._revisions),
                    ("watches", parts.looks._watched),
                    ("frames that wait", parts.writer_pool._campaigns),
                    *_places(parts.peers),
                ]
        for registry in self.registries:
            for name, limit in registry._limits.items():
                out = registry.get(name).concurrency - limit._value
                counts.append((f"calls of {name}", out))
        for pool in self.pools:
            if pool._closed:
                out = pool._settings.connections - pool._free._value
                counts.append(("connections to a mail server", out))
        return [f"{what}: {count}" for what, count in counts if count]


def _places(peers: CallLimits) -> list[tuple[str, int]]:
    kinds = (
        *(peers._streams, peers._sending, peers._calls, peers._requests),
        *(peers._open_streams, peers._open_sending, peers._open_calls),
    )
    return [(f"places of {places.kind}", places._taken) for places in kinds]


@contextmanager
def noted() -> Iterator[Made]:
    """Note what services are made of in the block."""
    made = Made()
    assemble = serving.assemble

    async def assembled(*arguments: Any, **options: Any) -> Parts:
        made.services.append(await assemble(*arguments, **options))
        return made.services[-1]

    class Registry(ChannelRegistry):
        async def close(self, seconds: float) -> None:
            await super().close(seconds)
            made.registries.append(self)

    give_out = SmtpPool.__init__

    def begun(self: SmtpPool, *arguments: Any) -> None:
        give_out(self, *arguments)
        made.pools.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving, "assemble", assembled)
        patch.setattr(sender_server, "ChannelRegistry", Registry)
        patch.setattr(SmtpPool, "__init__", begun)
        yield made
