"""A child ends when its parent does, however the parent ends.

The parent keeps one end of a pipe, and the child watches the other one. The system
closes the parent's end even where it is killed; the child reads the end of the pipe and
stops in order. The services do the same.
"""

from __future__ import annotations

import asyncio
import os

#: The variable that names the child's descriptor; the services know it too.
VARIABLE = "CLOSEOUT_STOP_DESCRIPTOR"


def follow(stop: asyncio.Event) -> None:
    """Set ``stop`` when the parent ends; does nothing without a parent that hands over a pipe."""
    given = os.environ.pop(VARIABLE, "")
    if not given:
        return
    descriptor = int(given)
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - has no name
    loop = asyncio.get_running_loop()

    def ended() -> None:
        loop.remove_reader(descriptor)
        stop.set()

    loop.add_reader(descriptor, ended)
