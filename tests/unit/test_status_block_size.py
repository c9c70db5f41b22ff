"""B1: what one transaction of long work takes follows the speed of the database."""

from __future__ import annotations

import pytest

from status_service.recording.block_size import TARGET_SECONDS, BlockSize


def _settled(microseconds_a_row: float, *, most: int = 20_000) -> BlockSize:
    """Return the size after ten transactions on a database of this speed."""
    size = BlockSize(most)
    for _ in range(10):
        size.took(size.rows, size.rows * microseconds_a_row / 1e6)
    return size


@pytest.mark.parametrize("microseconds", [2.0, 5.0, 20.0, 45.0])
def test_b1_a_transaction_takes_about_the_target(microseconds: float) -> None:
    """Whatever a row takes, as many go into a transaction as fit."""
    size = _settled(microseconds)
    assert size.rows * microseconds / 1e6 == pytest.approx(TARGET_SECONDS, rel=0.01)


def test_b1_one_that_took_too_long_makes_the_next_smaller_at_once() -> None:
    """It rises by doubling, and falls in one step, but not to nothing."""
    size = _settled(2.0)
    assert size.rows == 12_500
    size.took(size.rows, 0.25)
    assert size.rows == 1_250
    size.took(size.rows, 0.0001)
    assert size.rows == 2_500
    size.took(size.rows, 30.0)
    assert size.rows == 500


def test_b1_it_has_a_largest_and_a_smallest_size() -> None:
    """A block is never larger than asked for, nor smaller than makes sense."""
    assert _settled(0.001).rows == 20_000
    assert _settled(1e6).rows == 500
    small = BlockSize(4)
    assert small.rows == 4
    small.took(4, 60.0)
    small.took(4, 0.0)
    assert small.rows == 4
