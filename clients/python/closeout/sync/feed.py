"""What hands requests from the thread of a caller to the thread in which gRPC reads them."""

from __future__ import annotations

import queue
import threading
from typing import Generic, TypeVar

R = TypeVar("R")


class Feed(Generic[R]):
    """An iterator that one thread fills and another one reads.

    At most one item waits, so the source of the items is read as fast as the service
    takes them and never far ahead.
    """

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[R | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(1)
        self._closed = threading.Event()

    def put(self, item: R) -> bool:
        """Hand over an item once the one before is read; false if the feed is closed."""
        self._room.acquire()
        if self._closed.is_set():
            return False
        self._items.put(item)
        return True

    def close(self) -> None:
        """End the iteration after what was put; a ``put`` that waits returns. Idempotent."""
        self._closed.set()
        self._items.put(None)
        self._room.release()

    def __iter__(self) -> Feed[R]:
        return self

    def __next__(self) -> R:
        item = self._items.get()
        if item is None:
            raise StopIteration
        self._room.release()
        return item
