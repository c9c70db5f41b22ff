"""How long the answers take that nobody may distinguish: foreign and absent, wrong and unknown.

The calls go over one connection, in turns: one, other, other, one. Each turn gives a
difference, so that what gets slower or faster on the way is the same for both.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from closeout.status.v1 import status_pb2 as pb
from integration.key_support import Metadata, credentials, make_key, other_secret
from integration.status_support import Status, serving
from service_runtime.caller import ALL_SCOPES
from soak.paired import trimmed
from status_service.access.key_access import AccessLimits
from status_service.access.keys import generate

#: Turns before those that count.
_WARM_UP = 50
#: Fewer turns have no mean.
_FEWEST_TURNS = 5
_CAMPAIGNS = 200
#: No refused key is one too many.
_LIMITS = AccessLimits(attempts_per_second=1_000_000)


async def compare_times(calls: int) -> list[str]:
    """Return a line for each pair, with the difference of ``calls`` calls of each kind."""
    with tempfile.TemporaryDirectory(prefix="closeout-timing-") as folder:
        async with serving(Path(folder), limits=_LIMITS) as status:
            return await _compared(status, max(_FEWEST_TURNS, calls // 2))


async def _compared(status: Status, turns: int) -> list[str]:
    mine = make_key(status.database, organisation="acme", scopes=ALL_SCOPES)
    theirs = make_key(status.database, organisation="rival", scopes=ALL_SCOPES)
    for number in range(_CAMPAIGNS):
        request = pb.CreateCampaignRequest(campaign_id=f"foreign-{number:03}")
        await status.stub.CreateCampaign(request, metadata=credentials(theirs))
    right = credentials(mine)
    campaign = await _pair(
        status,
        turns,
        {
            "foreign": lambda number: (f"foreign-{number % _CAMPAIGNS:03}", right),
            "absent": lambda number: (f"missing-{number % _CAMPAIGNS:03}", right),
        },
    )
    key = await _pair(
        status,
        turns,
        {
            "wrong secret": lambda _: ("x", credentials(other_secret(mine))),
            "unknown id": lambda _: ("x", credentials(generate())),
        },
    )
    return [f"campaign: {campaign}", f"key: {key}"]


async def _pair(
    status: Status, turns: int, kinds: dict[str, Callable[[int], tuple[str, Metadata]]]
) -> str:
    """Return the mean of each kind, their difference with its error, and what that says."""
    one, other = kinds
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    gc.collect()
    gc.disable()  # a collection in the middle of a call would count as its time
    try:
        for number in range(_WARM_UP + turns):
            for kind in (one, other, other, one):
                campaign_id, metadata = kinds[kind](number)
                taken[kind].append(await _refused(status.stub, campaign_id, metadata))
    finally:
        gc.enable()
    first, second = (_turns(taken[kind]) for kind in kinds)
    apart = trimmed([a - b for a, b in zip(first, second, strict=True)])
    seen = "A DIFFERENCE" if apart.differs else "no difference"
    return (
        f"{one} {trimmed(first).mean:.0f} us, {other} {trimmed(second).mean:.0f} us;"
        f" {seen} seen ({apart.mean:+.1f} +- {apart.error:.1f} us)"
    )


def _turns(times: list[float]) -> list[float]:
    """Return the mean of the two calls of each turn that counts, microseconds."""
    counted = times[2 * _WARM_UP :]
    return [1e6 * sum(pair) / 2 for pair in zip(counted[::2], counted[1::2], strict=True)]


async def _refused(stub: Any, campaign_id: str, metadata: Metadata) -> float:
    """Return how long a refusal takes, seconds."""
    begin = time.perf_counter()
    try:
        await stub.GetCampaign(pb.GetCampaignRequest(campaign_id=campaign_id), metadata=metadata)
    except grpc.aio.AioRpcError:
        return time.perf_counter() - begin
    raise AssertionError(campaign_id)
