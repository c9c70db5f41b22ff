"""S10, S18: a sender that is stopped beside a mail server that fails loses and doubles nothing.

`make soak` runs every combination; these are one of each kind.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from acceptance.silent_providers import FAULTS, SIGNALS, stop_beside


@pytest.mark.parametrize(
    ("fault", "by", "after"),
    [
        ("never-greets", "ctrl-c", 1),
        ("silent-after-mail", "sigkill", 1),
        ("silent-after-dot", "ctrl-c", 1),
        ("silent-after-dot", "sigkill", 1),
        ("tls-on-a-plain-port", "sigterm", 1),
        ("plain-on-a-tls-port", "sigkill", 1),
    ],
)
async def test_s18_a_stop_beside_a_bad_server_fails_nobody(
    tmp_path: Path, fault: str, by: str, after: float
) -> None:
    """S10: everybody gets one message, but those whose data was sent, and the probe of a kill."""
    await stop_beside(tmp_path, FAULTS[fault], SIGNALS[by], after)
