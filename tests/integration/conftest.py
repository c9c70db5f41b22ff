"""What the integration tests share: services in the process of the test, on free ports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration.status_support import Status, serving


@pytest.fixture
async def status(tmp_path: Path) -> AsyncIterator[Status]:
    """A status service with a new database; what must hold in it is checked at the end."""
    async with serving(tmp_path) as service:
        yield service
        service.check_invariants()
