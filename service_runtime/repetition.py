"""Background work that is done again and again, whatever goes wrong with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NoReturn

import structlog

from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = structlog.get_logger()

#: How long work waits after a failure that nobody expects, seconds.
DEFECT_SECONDS: Final = 5.0


async def repeat(
    work: Callable[[], Awaitable[bool]],
    *,
    rest: Callable[[], Awaitable[object]],
    postponed: str,
    failed: str,
    defect_seconds: float = DEFECT_SECONDS,
    **fields: object,
) -> NoReturn:
    """Do ``work`` until cancelled: at once again while it returns True, else after a rest.

    For work that may fail while the service has other things to do. A store that does not
    answer is waited for, and a defect is logged with its stack; neither ends the work.

    Args:
        work: does something, and returns whether there may be more of it.
        rest: waits until ``work`` is to be done again.
        postponed: the event when the store does not answer; logged once until it does.
        failed: the event of a defect.
        defect_seconds: how long to wait after a defect, before the rest.
        fields: what both events say as well.
    """
    is_postponed = False
    while True:
        busy = False
        try:
            busy = await work()
            is_postponed = False
        except StoreUnavailableError as error:
            if not is_postponed:
                log.warning(postponed, **fields, error=error.message)
            is_postponed = True
        except Exception:
            log.exception(failed, **fields)
            await asyncio.sleep(defect_seconds)
        if not busy:
            await rest()
