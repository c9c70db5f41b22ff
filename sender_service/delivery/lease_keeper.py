"""Keep the lease of a shard for as long as one works on it, and know how long it lasts."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

import structlog

from sender_service.errors import LeaseLostError
from sender_service.store import leases
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sender_service.store.leases import Lease
    from service_runtime.database import Store

log = structlog.get_logger()


class LeaseKeeper:
    """Renews one lease.

    Args:
        store: the sender's.
        lease: claimed at ``claimed_at``.
        claimed_at: on the monotonic clock, before the claim was asked for: the
            lease lasts at least so long as is counted from here.
        lease_seconds: how long it holds without renewal.
        heartbeat_seconds: how often it is renewed.
        renewed: told after each renewal.
    """

    def __init__(
        self,
        store: Store,
        lease: Lease,
        *,
        claimed_at: float,
        lease_seconds: float,
        heartbeat_seconds: float,
        renewed: Callable[[], None],
    ) -> None:
        self._store = store
        self._lease = lease
        self._until = claimed_at + lease_seconds
        self._lease_seconds = lease_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._renewed = renewed
        #: True once another claim has the shard.
        self.lost = False

    def outlasts(self, seconds: float) -> bool:
        """Return whether the lease holds for longer than ``seconds`` from now."""
        return not self.lost and self._until - time.monotonic() > seconds

    async def run(self) -> None:
        """Renew until cancelled.

        After a renewal that failed the lease gets shorter, and :meth:`outlasts` says so.

        Raises:
            LeaseLostError: the shard belongs to another claim.
        """
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            asked_at = time.monotonic()
            try:
                await self._store.write(
                    partial(leases.renew, lease=self._lease, lease_seconds=self._lease_seconds)
                )
            except StoreUnavailableError as error:
                log.warning(
                    "lease_not_renewed",
                    campaign=self._lease.campaign,
                    shard=self._lease.shard,
                    error=error.message,
                )
            except LeaseLostError:
                self.lost = True
                raise
            else:
                self._until = asked_at + self._lease_seconds
                self._renewed()
