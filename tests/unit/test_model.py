"""The model of the protocol: no violation in a small world, and every mistake is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.worlds import FAULTY, MISTAKES, SMALL, Mistake, check


def test_no_order_breaks_an_invariant(tmp_path: Path) -> None:
    """S3, S4, S6, S7, S10, S16, S17 and L1 hold in every order of a small world."""
    found = check(SMALL, tmp_path, optimised=False)
    assert (found.violation, found.complete) == ("", True)
    assert found.states > 10_000


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.macro)
def test_a_mistake_is_found(mistake: Mistake, tmp_path: Path) -> None:
    """The assertion fails that the mistake breaks."""
    found = check(FAULTY, tmp_path, mistake, optimised=False)
    assert found.violation == mistake.finds
