"""B2: a client that opens calls and resets them is not heard any more, and others are."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from acceptance.hostile_http2 import CANCEL, RST_STREAM, connected, frame
from integration.status_support import eventually, serving
from service_runtime import early_resets

_METHODS = (
    "/closeout.status.v1.StatusService/GetCampaign",
    "/closeout.status.v1.StatusService/ReportResults",
    "/closeout.status.v1.StatusService/NoSuchMethod",
)


@pytest.mark.parametrize("method", _METHODS)
async def test_b2_a_client_that_resets_calls_is_not_heard_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Of its calls only the heads arrive; a client that sends requests goes on."""
    monkeypatch.setattr(early_resets, "_SECOND", 1_000.0)
    with capture_logs() as logs:
        async with serving(tmp_path) as status, connected(status.address) as attacker:
            await status.start("a", 2)

            async def silenced() -> bool:
                for _ in range(20):
                    stream = attacker.open_stream(method)
                    attacker.write(frame(RST_STREAM, 0, stream, CANCEL))
                return any(line["event"] == "calls_reset" for line in logs)

            async with attacker.being_read():
                await eventually(silenced, what="the client is silenced")
            assert (await status.client.get_campaign(campaign_id="a")).pending == 2
