"""Secrets in settings: whatever is mistyped around them, no message of a start shows them."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import sqlalchemy as sa
from hypothesis import example, given
from hypothesis import strategies as st

import sender_service.__main__ as sender
import status_service.__main__ as status
from service_runtime.database_url import check_url
from service_runtime.engines import url_of
from service_runtime.errors import StartupError
from service_runtime.postgresql import postgresql_engine
from service_runtime.setting_names import known_settings

#: No part of it is in any message for another reason.
SECRETS = ("hunter2", "Wq7x/Rz9k", "Wq7x@Rz9k", "Wq7x:Rz9k", "Wq7x?Rz9k", "Wq7x#Rz9k", "40917735")
PEM = "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n"
KEY = "closeout_abcdefghijkl_{}"
URLS = (
    "postgresql://closeout:{}@db/closeout",
    "postgresql//closeout:{}@db/closeout",
    "postgresql:/closeout:{}@db/closeout",
    "postgres://closeout:{}@db/closeout",
    "postgresql://closeout:{}db/closeout",
    "postgresql://closeout:{}@db",
    "postgresql://closeout@db/closeout?password={}",
    "postgresql+asyncpg://closeout:{}@db/closeout",
    "mysql://db/closeout?password={}",
    "sqlite:///status.db?key={}",
    "closeout:{}@db/closeout",
    "{}",
)
WEB = ("https://ann:{}@hook.example", "https:/ann:{}@hook.example", "ftp://hook.example/{}", "{}")
PEERS = ("https://ann:{}@mail.example", "ann:{}@mail.example:25")
#: Each setting that can have a secret in it, and what may be written there.
HOLDERS = {
    **{(table, "database_url"): URLS for table in ("status", "sender")},
    **{(table, "tls_key_file"): (PEM,) for table in ("status", "sender")},
    ("status", "sender_address"): PEERS,
    ("status", "sender_tls_key_file"): (PEM,),
    ("sender", "status_address"): PEERS,
    ("sender", "status_api_key"): ("{}", KEY, "Bearer {}"),
    ("sender", "status_api_key_file"): (KEY,),
    ("sender", "status_tls_key_file"): (PEM,),
    ("smtp", "host"): PEERS,
    ("smtp", "password"): ("{}",),
    ("webhook", "secret"): ("{}", "whsec_{}"),
    ("webhook", "authorization"): ("{}", "Bearer {}", "Bearer é{}"),
    ("webhook", "url"): WEB,
    ("webhook", "health_url"): WEB,
}
#: How a value stands in the file: right, unquoted, of a wrong type, or torn.
FORMS = (
    '{key} = "{value}"',
    "{key} = {value}",
    "{key} = '{value}",
    '{key} = ["{value}"]',
    '{key} = {{ value = "{value}" }}',
    '{key}.value = "{value}"',
    '{key}: "{value}"',
    '{key} "{value}"',
    '{key} = "{value}"\n{key} = "{value}"',
)


def parts(secret: str) -> set[str]:
    """Return what must not be shown: a secret, and each long part of it."""
    pieces = {secret}
    for mark in "/@:?#":
        pieces |= {piece for piece in secret.split(mark) if len(piece) > 3}
    return pieces


def said(folder: Path, words: list[str], variables: dict[str, str]) -> str:
    """Return what both services say of these settings, one after the other."""
    printed = io.StringIO()
    with (
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, variables),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        for service in (status, sender):
            with contextlib.suppress(SystemExit):
                service.main(words)
    return printed.getvalue()


def mistyped(name: str) -> st.SearchStrategy[str]:
    """Return a strategy for a name: right, with a letter lost or doubled, or another word."""
    places = st.integers(0, len(name) - 1)
    return st.one_of(
        st.just(name),
        places.map(lambda at: name[:at] + name[at + 1 :]),
        places.map(lambda at: name[: at + 1] + name[at:]),
        st.sampled_from(["password", "pass", "token", "port", "security", "level"]),
    )


@st.composite
def mistakes(draw: st.DrawFn) -> tuple[str, dict[str, str], str]:
    """Return a secret, variables, and a file, with something wrong about them perhaps."""
    (table, field), shapes = draw(st.sampled_from(sorted(HOLDERS.items())))
    secret = draw(st.sampled_from(SECRETS))
    value = draw(st.sampled_from(shapes)).format(secret)
    table, field = draw(mistyped(table)), draw(mistyped(field))
    if draw(st.booleans()):
        return secret, {f"CLOSEOUT_{table}_{field}".upper(): value}, ""
    line = draw(st.sampled_from(FORMS)).format(key=field, value=value)
    return secret, {}, f"[{table}]\n{line}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty folder, with no setting of the developer in the environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CLOSEOUT_")}
    with mock.patch.dict(os.environ, kept, clear=True):
        yield tmp_path_factory.mktemp("settings")


@given(mistakes())
@example(("Wq7x/Rz9k", {"CLOSEOUT_STATUS_DATABASE_URL": URLS[0].format("Wq7x/Rz9k")}, ""))
@example(("hunter2", {"CLOSEOUT_STATUS_DATABASE_URL": URLS[1].format("hunter2")}, ""))
@example(("40917735", {}, "[smtp]\npassword = 40917735\n"))
@example(("hunter2", {"CLOSEOUT_SMTP_SECURITY": "hunter2"}, ""))
@example(("hunter2", {}, f'[status]\ndatabase_url = ["{URLS[0].format("hunter2")}"]\n'))
@example(("hunter2", {"CLOSEOUT_SENDER_STATUS_API_KEY_FILE": KEY.format("hunter2")}, ""))
def test_no_mistake_about_a_setting_shows_a_secret(
    folder: Path, mistake: tuple[str, dict[str, str], str]
) -> None:
    """A typo in the name, the value, the type or the quotes, in a variable or in the file."""
    secret, variables, file = mistake
    (folder / "closeout.toml").write_text(file, encoding="utf-8")
    shown = said(folder, ["--check"], variables)
    assert not [part for part in parts(secret) if part in shown], shown
    assert shown


def test_every_setting_that_is_kept_secret_is_tried() -> None:
    """A new one, or a new file of a key, has its place in the table of this test."""
    words = ("password", "secret", "key", "authorization", "url")
    switches = {("status", "allow_without_keys"), ("sender", "allow_without_keys")}
    found = {
        (table, field)
        for table, fields in known_settings().items()
        for field in fields
        if any(word in field for word in words)
    }
    assert found - switches <= HOLDERS.keys()


@pytest.mark.parametrize(
    "words",
    [
        ["--password=hunter2"],
        ["hunter2"],
        ["--check", "hunter2"],
        ["--check=hunter2"],
        ["migrate", "postgresql://closeout:hunter2@db/closeout"],
        ["migrate", "--url=postgresql://closeout:hunter2@db/closeout"],
    ],
    ids=" ".join,
)
def test_no_mistake_of_a_command_line_shows_a_secret(folder: Path, words: list[str]) -> None:
    """What is wrong is said, with what may be written there, and not what was."""
    (folder / "closeout.toml").write_text("")
    shown = said(folder, words, {})
    assert "hunter2" not in shown
    assert shown.count("usage: python -m") == 2
    assert shown.count("error: ") == 2


def test_a_database_is_named_without_any_password() -> None:
    """Also one that stands behind the question mark."""
    url = sa.make_url("postgresql://u:hunter2@h/d?password=hunter2&sslpassword=hunter2&sslmode=r")
    engine = postgresql_engine(url, holder="test", isolation="READ COMMITTED", connections=1)
    assert "hunter2" not in url_of(engine)
    assert url_of(engine).startswith("postgresql://u:***@h/d?")
    assert "sslmode=r" in url_of(engine)
    engine.dispose()


@pytest.mark.parametrize("password", ["ab@cd", "12/a@b"])
def test_a_password_with_an_at_sign_is_no_name_of_a_host(password: str) -> None:
    """What follows the sign would be a host that is shown."""
    with pytest.raises(StartupError, match="in a password, write @ as %40"):
        check_url(f"postgresql://u:{password}@h/d")


@pytest.mark.parametrize("password", ["a:b", "a/b", "1/2", "a#b", "a?b", "a%40b", "a b"])
def test_what_else_a_password_has_stays_in_it(password: str) -> None:
    """It is read as one, so it is never shown."""
    assert check_url(f"postgresql://u:{password}@h/d").host == "h"
