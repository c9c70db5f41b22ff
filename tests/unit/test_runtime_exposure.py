"""Whether a service may listen where others reach it: every combination of facts."""

from __future__ import annotations

import itertools

import pytest

from service_runtime.errors import StartupError
from service_runtime.exposure import Exposure, check

_LOOPBACK = ("127.0.0.1:20051", "localhost:20080", "[::1]:1", "")
_OUTSIDE = ("127.0.0.1:20051", "0.0.0.0:20080")
_FACTS = ("keys_exist", "tls", "allow_without_keys", "allow_plaintext")
_EVERY = [
    dict(zip(_FACTS, values, strict=True)) for values in itertools.product([False, True], repeat=4)
]


@pytest.mark.parametrize("facts", _EVERY, ids=str)
def test_on_loopback_everything_is_allowed(facts: dict[str, bool]) -> None:
    """Without a word; an empty address is nowhere."""
    assert check(Exposure(table="status", addresses=_LOOPBACK, **facts)) == []


@pytest.mark.parametrize("facts", _EVERY, ids=str)
def test_elsewhere_keys_and_tls_are_needed_unless_a_setting_allows_it(
    facts: dict[str, bool],
) -> None:
    """A refusal names the setting that would allow it, and what is allowed is warned of."""
    exposure = Exposure(table="sender", addresses=_OUTSIDE, **facts)
    if not facts["keys_exist"]:
        needed = "allow_without_keys"
    elif not facts["tls"]:
        needed = "allow_plaintext"
    else:
        assert check(exposure) == []
        return
    if facts[needed]:
        (warning,) = check(exposure)
        assert warning.startswith("0.0.0.0:20080 can be reached from elsewhere")
        assert f"[sender] {needed}" in warning
        return
    with pytest.raises(StartupError, match=rf"set {needed} = true in \[sender\]") as caught:
        check(exposure)
    assert "127.0.0.1:20051 " not in str(caught.value)
