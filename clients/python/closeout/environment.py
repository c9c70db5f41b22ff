"""The key and TLS of a client from settings, with one rule for when TLS is on.

``CLOSEOUT_TLS=on``, or any of the files, turns TLS on. Without it calls are plain, and a
key goes to this machine only. ``CLOSEOUT_TLS=off`` says that plain calls are meant, so a
key goes anywhere.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict

from closeout.credentials import FixedKey, KeyFile, checked
from closeout.tls import Tls, TlsFiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from closeout.credentials import ApiKey

_PREFIX = "CLOSEOUT_"
_ON: Final = frozenset({"on", "true", "yes", "1"})
_OFF: Final = frozenset({"off", "false", "no", "0"})


class ClientOptions(TypedDict):
    """What a client or a channel is made with, as keyword arguments.

    Attributes:
        api_key: the key, or what returns it; its ``repr`` does not show it.
        tls: the files of TLS; None: no TLS.
        allow_plaintext: whether a key may go to another machine without TLS.
    """

    api_key: ApiKey
    tls: Tls | None
    allow_plaintext: bool


def from_environment(environment: Mapping[str, str] = os.environ) -> ClientOptions:
    """Return what the variables of a client say.

    These are ``CLOSEOUT_API_KEY`` or ``CLOSEOUT_API_KEY_FILE``, ``CLOSEOUT_TLS_CA_FILE``,
    ``CLOSEOUT_TLS_CERTIFICATE_FILE``, ``CLOSEOUT_TLS_KEY_FILE`` and ``CLOSEOUT_TLS`` (on
    or off). An empty variable is as if it were not set. ::

        client = StatusClient("status.example.com:20051", **from_environment())

    Raises:
        ValueError: a variable is wrong, or a file can't be used; the text names it.
    """
    found = {
        name: environment.get(f"{_PREFIX}{name}".upper(), "")
        for name in (
            "api_key",
            "api_key_file",
            "tls",
            "tls_ca_file",
            "tls_certificate_file",
            "tls_key_file",
        )
    }
    return client_options(
        prefix=_PREFIX,
        api_key=found["api_key"],
        api_key_file=found["api_key_file"],
        tls=_switch(found["tls"]),
        files=Tls(
            ca_file=found["tls_ca_file"],
            certificate_file=found["tls_certificate_file"],
            key_file=found["tls_key_file"],
        ),
    )


def client_options(
    *,
    prefix: str,
    api_key: str = "",
    api_key_file: str | Path = "",
    tls: bool | None = None,
    files: Tls,
) -> ClientOptions:
    """Return what settings mean.

    Args:
        prefix: what the names of the settings begin with, for messages.
        api_key: the key; empty: none.
        api_key_file: the file that has the key; empty: none.
        tls: whether TLS is on; None: it is if a file is named.
        files: the files of TLS.

    Raises:
        ValueError: settings contradict each other, or a file can't be used.
    """
    if api_key and api_key_file:
        raise ValueError(
            f"{_name(prefix, 'api_key')} and {_name(prefix, 'api_key_file')} are both set; set one"
        )
    named = files != Tls()
    if tls is False and named:
        raise ValueError(
            f"{_name(prefix, 'tls')} is off, and files of TLS are named; set it to on, or name"
            " no files"
        )
    wanted = files if tls or (tls is None and named) else None
    if wanted is not None:
        TlsFiles(wanted)  # so that a wrong file is known before the first call
    key: ApiKey = ""
    if api_key_file:
        key = KeyFile(api_key_file)
    elif api_key:
        key = FixedKey(checked(api_key))
    return ClientOptions(api_key=key, tls=wanted, allow_plaintext=tls is False)


def _name(prefix: str, field: str) -> str:
    name = f"{prefix}{field}"
    return name.upper() if prefix.isupper() else name


def _switch(text: str) -> bool | None:
    if not text:
        return None
    if text.lower() in _ON:
        return True
    if text.lower() in _OFF:
        return False
    raise ValueError(f"CLOSEOUT_TLS is {text!r}; set it to on or off")
