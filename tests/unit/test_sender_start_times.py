"""Which times a campaign may still be started with."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from pysqlite3 import dbapi2

from sender_service.store.campaigns import check_not_past
from service_runtime.database_time import read_clock
from service_runtime.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("seconds", "is_refused"),
    [(-120, True), (-61, True), (-30, False), (0, False), (30, False), (61, False)],
)
def test_a_time_may_be_a_minute_past(seconds: int, *, is_refused: bool) -> None:
    """So much clocks differ, and so long a request may take; what is to come is never past."""
    engine = sa.create_engine("sqlite://", module=dbapi2)
    with engine.connect() as connection:
        time = read_clock(connection) + timedelta(seconds=seconds)
        if is_refused:
            with pytest.raises(InvalidRequestError) as refused:
                check_not_past(connection, time)
            assert "more than a minute past" in str(refused.value)
        else:
            check_not_past(connection, time)
        check_not_past(connection, None)
    engine.dispose()
