"""How long the answers take that must not be told apart: foreign and absent, wrong and unknown."""

from __future__ import annotations

import random
import statistics
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
from status_service.access.key_access import AccessLimits
from status_service.access.keys import generate

#: Calls of each kind before those that count.
_WARM_UP = 50
_CAMPAIGNS = 200
#: No refused key is one too many.
_LIMITS = AccessLimits(attempts_per_second=1_000_000)


async def compare_times(calls: int, seed: int) -> list[str]:
    """Return a line for each pair: the means of ``calls`` calls of each kind, in chance order."""
    chance = random.Random(f"{seed} timing")  # noqa: S311 - a load
    with tempfile.TemporaryDirectory(prefix="closeout-timing-") as folder:
        async with serving(Path(folder), limits=_LIMITS) as status:
            return await _compared(status, calls, chance)


async def _compared(status: Status, calls: int, chance: random.Random) -> list[str]:
    mine = make_key(status.database, organisation="acme", scopes=ALL_SCOPES)
    theirs = make_key(status.database, organisation="rival", scopes=ALL_SCOPES)
    for number in range(_CAMPAIGNS):
        request = pb.CreateCampaignRequest(campaign_id=f"foreign-{number}")
        await status.stub.CreateCampaign(request, metadata=credentials(theirs))
    right = credentials(mine)
    return [
        await _pair(
            status,
            calls,
            chance,
            "campaign",
            {
                "foreign": lambda number: (f"foreign-{number % _CAMPAIGNS}", right),
                "absent": lambda number: (f"missing-{number % _CAMPAIGNS}", right),
            },
        ),
        await _pair(
            status,
            calls,
            chance,
            "key",
            {
                "wrong secret": lambda _: ("x", credentials(other_secret(mine))),
                "unknown id": lambda _: ("x", credentials(generate())),
            },
        ),
    ]


async def _pair(
    status: Status,
    calls: int,
    chance: random.Random,
    what: str,
    kinds: dict[str, Callable[[int], tuple[str, Metadata]]],
) -> str:
    order = [kind for kind in kinds for _ in range(calls)]
    chance.shuffle(order)
    order = [*list(kinds) * _WARM_UP, *order]
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number, kind in enumerate(order):
        campaign_id, metadata = kinds[kind](number)
        taken[kind].append(await _refused(status.stub, campaign_id, metadata))
    means = {kind: 1e6 * statistics.fmean(times[_WARM_UP:]) for kind, times in taken.items()}
    (first, one), (second, other) = means.items()
    error = 1e6 * max(
        statistics.stdev(times[_WARM_UP:]) / len(times[_WARM_UP:]) ** 0.5
        for times in taken.values()
    )
    return (
        f"{what}: {first} {one:.0f} us, {second} {other:.0f} us; difference {one - other:+.1f} us,"
        f" standard error of a mean {error:.1f} us"
    )


async def _refused(stub: Any, campaign_id: str, metadata: Metadata) -> float:
    """Return how long a refusal takes, seconds."""
    begin = time.perf_counter()
    try:
        await stub.GetCampaign(pb.GetCampaignRequest(campaign_id=campaign_id), metadata=metadata)
    except grpc.aio.AioRpcError:
        return time.perf_counter() - begin
    raise AssertionError(campaign_id)
