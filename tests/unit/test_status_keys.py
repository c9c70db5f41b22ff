"""The form of keys, the limit of attempts, and what is said of refusals."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service_runtime.errors import KeyMalformedError, KeyMissingError
from status_service.access import attempts, keys
from status_service.access.attempts import Attempts, address_of

_KEY = keys.generate()
_SIGNS = st.sampled_from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-")


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_a_key_has_the_published_form() -> None:
    """Scanners find it, and the parts that are stored are those of the text."""
    made = [keys.generate() for _ in range(200)]
    for key in made:
        assert re.fullmatch(keys.PATTERN, key.text)
        presented = keys.parse(key.text)
        assert presented.key_id == key.key_id
        assert presented.matches(key.secret_hash)
    assert len({key.key_id for key in made}) == len(made)
    assert len({key.secret_hash for key in made}) == len(made)


@given(st.integers(0, len(_KEY.text) - 1), _SIGNS)
def test_a_typo_is_malformed(place: int, sign: str) -> None:
    """One wrong sign anywhere is distinguished from a wrong key without a look at the database."""
    wrong = _KEY.text[:place] + sign + _KEY.text[place + 1 :]
    if wrong == _KEY.text:
        assert keys.parse(wrong).key_id == _KEY.key_id
        return
    with pytest.raises(KeyMalformedError) as caught:
        keys.parse(wrong)
    assert wrong not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "x", _KEY.text[:-1], _KEY.text + "0", f" {_KEY.text}", _KEY.text + "\n", "\x00"],
    # The key is another one in each process, and names of tests must not be.
    ids=["empty", "short", "cut", "longer", "blank", "newline", "nul"],
)
def test_what_is_no_whole_key_is_malformed(text: str) -> None:
    """Nothing is cut or mended."""
    with pytest.raises(KeyMalformedError):
        keys.parse(text)


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", " Bearer  {} "])
def test_a_header_carries_a_key(form: str) -> None:
    """The scheme is in any case, and blanks around do no harm."""
    assert keys.parse_bearer(form.format(_KEY.text)).key_id == _KEY.key_id


def test_no_header_is_a_missing_key_and_another_scheme_a_malformed_one() -> None:
    """The texts say what to send, and never show what was sent."""
    with pytest.raises(KeyMissingError, match="CLOSEOUT_API_KEY"):
        keys.parse_bearer(" ")
    for text in (f"Basic {_KEY.text}", _KEY.text, "Bearer"):
        with pytest.raises(KeyMalformedError) as caught:
            keys.parse_bearer(text)
        assert _KEY.text not in str(caught.value)


def test_no_representation_shows_a_secret() -> None:
    """Not of a new key, and not of one that a caller presents."""
    presented = keys.parse(_KEY.text)
    secret = _KEY.text.rpartition("_")[2]
    for shown in (repr(_KEY), str(_KEY), repr(presented), str(presented)):
        assert secret not in shown
        assert repr(_KEY.secret_hash) not in shown
        assert _KEY.key_id in shown


def test_ten_refused_keys_a_second_are_within_the_limit() -> None:
    """And the next is not; a second later all of them are back."""
    clock = Clock()
    counted = Attempts(10, clock)
    assert all(counted.take("one") for _ in range(10))
    assert counted.exhausted("one")
    assert not counted.take("one")
    assert not counted.exhausted("two")
    assert counted.take("two")
    clock.now += 0.11
    assert counted.take("one")
    assert not counted.take("one")
    clock.now += 1.0
    assert all(counted.take("one") for _ in range(10))
    assert not counted.take("one")


def test_addresses_without_number_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those refused longest ago are forgotten first."""
    monkeypatch.setattr(attempts, "MOST_ADDRESSES", 3)
    counted = Attempts(1, Clock())
    for address in "abcd":
        counted.take(address)
    assert [counted.exhausted(address) for address in "abcd"] == [False, True, True, True]


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.7:4711", "192.0.2.7"),
        ("ipv6:[2001:db8::1]:4711", "2001:db8::/64"),
        ("ipv6:%5B2001:db8::1%5D:4711", "2001:db8::/64"),
        ("ipv6:[2001:db8::ffff:1]:80", "2001:db8::/64"),
        ("ipv6:[fe80::1%25eth0]:80", "fe80::/64"),
        ("ipv6:[::ffff:192.0.2.7]:80", "192.0.2.7"),
        ("unix:/run/closeout", "unix:/run/closeout"),
        ("ipv4:nonsense", "ipv4:nonsense"),
        ("x" * 1_000, "x" * 64),
        ("", ""),
    ],
)
def test_refused_keys_are_counted_for_an_address(peer: str, address: str) -> None:
    """Whatever its port; who has IPv6 has a network."""
    assert address_of(peer) == address
