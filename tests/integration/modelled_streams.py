"""Streams of results beside the model: what they are answered is what it says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import pytest

from closeout.aio import StatusClient
from closeout.errors import ClientError
from closeout.status.v1 import status_pb2 as pb
from integration.status_model import CampaignModel, Counts, RefusedError
from integration.status_support import Stream
from status_service.domain import State

#: The number of a stream, a campaign, and (sequence, outcome) of each result.
Reported = tuple[int, str, Sequence[tuple[int, int]]]

STATES = {state: pb.Campaign.State.Value(state) for state in State}


def _result(sequence: int, outcome: int) -> pb.Result:
    """Return a result with one of a few codes."""
    return pb.Result(sequence=sequence, outcome=outcome, code=f"c{sequence % 3}")  # type: ignore[arg-type]


async def batch_reported(
    client: StatusClient,
    models: Mapping[str, CampaignModel],
    reported: Mapping[str, Sequence[tuple[int, int]]],
) -> None:
    """Report results of several campaigns in one call, and compare the receipts."""
    expected: list[Counts | str] = []
    for name, rows in reported.items():
        try:
            expected.append(models[name].report(rows))
        except RefusedError as refused:
            expected.append(refused.reason)
    campaigns = [
        pb.CampaignResults(
            campaign_id=name,
            results=[_result(*row) for row in rows],
        )
        for name, rows in reported.items()
    ]
    if all(isinstance(one, str) for one in expected):
        with pytest.raises(ClientError) as caught:
            await client.batch_report_results(campaigns)
        assert caught.value.reason == expected[0]
        return
    response = await client.batch_report_results(campaigns)
    assert [receipt.campaign_id for receipt in response.receipts] == list(reported)
    for receipt, outcome in zip(response.receipts, expected, strict=True):
        model = models[receipt.campaign_id]
        counts = (receipt.new_results, receipt.raised_results, receipt.duplicate_results)
        assert (receipt.rejection.reason or Counts(*counts)) == outcome
        state = receipt.campaign_state
        assert (state.state, state.processed) == (STATES[model.state], len(model.stored))


class ModelledStreams:
    """Streams that are opened when they are used first.

    Args:
        models: the campaigns, by id; what is reported is reported to them as well.
    """

    def __init__(self, models: Mapping[str, CampaignModel]) -> None:
        self._models = models
        self._streams: dict[int, Stream] = {}
        #: The campaign of each frame, by stream.
        self._sent: defaultdict[int, list[str]] = defaultdict(list)
        self._refused: defaultdict[int, list[tuple[int, str, str]]] = defaultdict(list)

    async def report(
        self, client: StatusClient, reported: Sequence[Reported], *, together: bool
    ) -> None:
        """Report a frame each, all at once or one after the other, and compare the answers."""
        expected, before = Counts(), self._counts()
        for number, name, given in reported:
            if number not in self._streams:
                self._streams[number] = Stream(client)
            results = [_result(*row) for row in given]
            frame = await self._streams[number].send(name, *results)
            self._sent[number].append(name)
            if not together:
                await self._streams[number].acked(frame)
            try:
                expected = expected.plus(self._models[name].report(given))
            except RefusedError as refused:
                self._refused[number].append((frame, name, refused.reason))
            if together:  # another frame than in the model may have completed it
                self._models[name].raised_late |= {sequence for sequence, _ in given}
        for number, stream in self._streams.items():
            await stream.acked(len(self._sent[number]))
            assert stream.rejections == self._refused[number]
        found, expected = self._counts(), before.plus(expected)
        if together:
            assert found.in_any_order == expected.in_any_order
        else:
            assert found == expected

    def _counts(self) -> Counts:
        counts = Counts()
        for stream in self._streams.values():
            counts = counts.plus(Counts(*stream.counts))
        return counts

    async def know(self) -> None:
        """Wait until each stream received the states of the campaigns it reports to."""
        for number, stream in self._streams.items():
            for name in dict.fromkeys(self._sent[number]):
                await stream.announced(name, STATES[self._models[name].state])

    async def close(self) -> None:
        """Close all, and forget them."""
        for stream in self._streams.values():
            await stream.close()
        for kept in (self._streams, self._sent, self._refused):
            kept.clear()
