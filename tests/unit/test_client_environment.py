"""The key and TLS of clients from the environment and from files."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import closeout.credentials
from closeout import Tls, from_environment
from closeout.credentials import KeyFile

_KEY = "closeout_abcdefghijkl_notAKeyOfAnybody"


def test_nothing_set_means_neither_key_nor_tls() -> None:
    """As it was before there were keys; an empty variable is as if it were not set."""
    nothing = {"api_key": "", "tls": None, "allow_plaintext": False}
    assert from_environment({}) == nothing
    assert from_environment({"CLOSEOUT_API_KEY": "", "CLOSEOUT_TLS": ""}) == nothing


@pytest.mark.parametrize("word", ["on", "ON", "true", "1"])
def test_tls_is_on_when_it_is_said(word: str) -> None:
    """Without a file too: then for certificates of the public web."""
    assert from_environment({"CLOSEOUT_TLS": word})["tls"] == Tls()


@pytest.mark.parametrize("word", ["off", "OFF", "false", "0"])
def test_off_lets_a_key_go_in_plain_text(word: str) -> None:
    """It is the one way to say that plain calls are meant."""
    options = from_environment({"CLOSEOUT_TLS": word, "CLOSEOUT_API_KEY": _KEY})
    assert (options["tls"], options["allow_plaintext"]) == (None, True)


def test_the_key_of_the_environment_is_never_shown() -> None:
    """The options are printed by mistake more easily than the environment."""
    options = from_environment({"CLOSEOUT_API_KEY": _KEY})
    assert _KEY not in repr(options)
    assert callable(options["api_key"])
    assert options["api_key"]() == _KEY


def test_a_file_of_a_key_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it changes; one that can't be used later leaves the key as it was."""
    monkeypatch.setattr(closeout.credentials, "LOOK_SECONDS", 0)
    path = tmp_path / "key"
    path.write_text("first\n")
    key = KeyFile(path)
    assert (key(), "first" in repr(key)) == ("first", False)
    for content, expected in (("second", "second"), ("", "second"), ("two words", "second")):
        path.write_text(content)
        assert key() == expected
    path.unlink()
    assert key() == "second"
    path.write_text("the-third")
    assert key() == "the-third"


def test_a_file_of_a_key_is_not_looked_at_for_each_call(tmp_path: Path) -> None:
    """But once a second."""
    path = tmp_path / "key"
    path.write_text("first")
    key = KeyFile(path)
    before = time.monotonic()
    path.write_text("second")
    found = key()
    assert found == "first" or time.monotonic() - before > closeout.credentials.LOOK_SECONDS


@pytest.mark.parametrize("content", [None, b"", b"two words", b"\xff\xfe"])
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """With its name, what to do, and nothing of what is in it."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"file of the key {path}: ") as caught:
        KeyFile(path)
    assert "two words" not in str(caught.value)
