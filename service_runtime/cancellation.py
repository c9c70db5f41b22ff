"""Whose end a cancellation is: that of the task, or of something it waits for."""

from __future__ import annotations

import asyncio


def task_is_cancelled() -> bool:
    """Return whether the running task is cancelled, and not only a call that it waits for.

    gRPC raises ``CancelledError`` for a call that somebody else has cancelled, and so may a
    channel of deliveries for a connection of its own: that ends no task.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
