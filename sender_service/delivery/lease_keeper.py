"""Renew a shard's lease in the background and track when it expires."""

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
    from sender_service.store.shards import Lease
    from service_runtime.database import Store

log = structlog.get_logger()


class LeaseKeeper:
    """Renews one lease.

    Args:
        store: the sender's.
        campaign_id: the campaign, for the log.
        lease: claimed at ``claimed_at``.
        claimed_at: on the monotonic clock, before the claim was made: the lease lasts
            at least as long as is counted from here.
        lease_seconds: how long it holds without renewal.
        heartbeat_seconds: how often it is renewed.

    Attributes:
        lost: True once another claim has the shard.
    """

    def __init__(
        self,
        store: Store,
        campaign_id: str,
        lease: Lease,
        *,
        claimed_at: float,
        lease_seconds: float,
        heartbeat_seconds: float,
    ) -> None:
        self._store = store
        self._campaign_id = campaign_id
        self._lease = lease
        self._until = claimed_at + lease_seconds
        self._lease_seconds = lease_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self.lost = False

    def outlasts(self, seconds: float) -> bool:
        """Return whether the lease holds for longer than ``seconds`` from now."""
        return not self.lost and self._until - time.monotonic() > seconds

    async def run(self) -> None:
        """Renew until cancelled.

        A renewal that fails leaves the lease with its old end: see :meth:`outlasts`.

        Raises:
            LeaseLostError: the shard belongs to another claim.
        """
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            requested_at = time.monotonic()
            try:
                await self._store.write(
                    partial(leases.renew, lease=self._lease, lease_seconds=self._lease_seconds)
                )
            except StoreUnavailableError as error:
                log.warning(
                    "lease_not_renewed",
                    campaign_id=self._campaign_id,
                    shard=self._lease.shard,
                    error=error.message,
                )
            except LeaseLostError:
                self.lost = True
                raise
            else:
                self._until = requested_at + self._lease_seconds
