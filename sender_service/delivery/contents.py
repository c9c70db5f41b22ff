"""The contents of the campaigns at work, compiled: the latest are kept, and only so many."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from sender_service.channels.contract import content_from_json
from sender_service.channels.rendering import bounded
from sender_service.store import campaigns

if TYPE_CHECKING:
    import sqlalchemy as sa

    from sender_service.channels.contract import Channel, Template
    from sender_service.channels.rendering.bounded import BoundedTemplate
    from sender_service.channels.rendering.workers import TemplateWorkers
    from service_runtime.database import Store

#: Contents are kept up to so many bytes, as they are stored. What is compiled of nothing but
#: Liquid takes 85 times as much memory, of an ordinary newsletter three times as much.
KEPT_BYTES = 1024 * 1024


class _Kept(NamedTuple):
    """A compiled content, and how long it is as it is stored."""

    template: BoundedTemplate | Template
    size: int


class CompiledContents:
    """Compiles the content of a campaign that gets its turn, unless it is kept from the last.

    Args:
        store: the sender's.
        workers: compile and render what takes long.
        kept_bytes: how much is kept, of contents as they are stored.
    """

    def __init__(
        self, store: Store, workers: TemplateWorkers, *, kept_bytes: int = KEPT_BYTES
    ) -> None:
        self._store = store
        self._workers = workers
        self._kept_bytes = kept_bytes
        #: By the number of the campaign; the one that was asked for last is the last.
        self._kept: OrderedDict[int, _Kept] = OrderedDict()

    async def get(self, row: sa.Row[Any], channel: Channel) -> BoundedTemplate | Template:
        """Return the content of the campaign of ``row``, compiled for its channel.

        Raises:
            ChannelError: the channel can't use it, or no process can compile it now.
            StoreUnavailableError: the store does not answer.
        """
        kept = self._kept.get(row.campaign) or await self._compile(row, channel)
        self._kept[row.campaign] = kept
        self._kept.move_to_end(row.campaign)
        while sum(one.size for one in self._kept.values()) > self._kept_bytes:
            self._kept.popitem(last=False)
        return kept.template

    def forget(self, campaign: int) -> None:
        """Let go what a campaign has no turn for any more."""
        self._kept.pop(campaign, None)

    async def _compile(self, row: sa.Row[Any], channel: Channel) -> _Kept:
        stored = await self._store.read(
            partial(
                campaigns.get_content,
                organisation=row.organisation,
                campaign_id=row.campaign_id,
            )
        )
        template = await bounded.compiled(self._workers, channel, content_from_json(stored))
        return _Kept(template, len(stored))
