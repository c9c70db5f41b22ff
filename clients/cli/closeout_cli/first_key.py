"""Make a key in the database of the status service: ``closeout keys create --admin``.

The service's own command does it, as a child: a key is on no command line.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.json_format import ParseDict

from closeout.status.v1 import access_pb2 as pb
from closeout_cli.addresses import setting
from closeout_cli.failures import USAGE, CommandError
from closeout_cli.preflight import STATUS_MODULE
from closeout_cli.up import DEFAULT_DATA, Listen, status_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

#: How long a database may take, a migration of it included, seconds.
_TIMEOUT_SECONDS = 600.0


class LocalKey(NamedTuple):
    """A key that was just made.

    Attributes:
        answer: as the service itself would have answered.
        organization: whose key it is.
        database: the URL of the database, without a password.
    """

    answer: pb.CreateKeyResponse
    organization: str
    database: str


async def make_local_key(
    *,
    organisation: str,
    name: str,
    scopes: Sequence[str],
    expires: timedelta | None,
    data_dir: Path | None,
) -> LocalKey:
    """Make a key; what is empty is left to the service.

    Raises:
        CommandError: the service's command refused; the text is its own.
    """
    words = ["keys", "create"]
    for option, value in (("--organisation", organisation), ("--name", name)):
        words += [f"{option}={value}"] if value else []
    words += [f"--scope={scope}" for scope in scopes]
    words += [f"--expires-seconds={expires.total_seconds()}"] if expires is not None else []
    answer = json.loads(await _ask(words, _environment(data_dir)))
    made = pb.CreateKeyResponse(secret_key=answer["secret_key"])
    ParseDict(answer["key"], made.key)
    return LocalKey(made, answer["organization"], answer["database"])


def _environment(data_dir: Path | None) -> Mapping[str, str]:
    """Return the settings that name the database of ``closeout up`` if that is meant."""
    if data_dir is not None:
        return status_settings(data_dir.resolve(), Listen())
    of_up = not setting("status", "database_url") and (DEFAULT_DATA / "status.db").exists()
    return status_settings(DEFAULT_DATA.resolve(), Listen()) if of_up else {}


async def _ask(words: list[str], settings: Mapping[str, str]) -> str:
    """Return what the service's command prints.

    Raises:
        CommandError: it refused.
    """
    process = await asyncio.create_subprocess_exec(
        # -P: a folder of ours in the working folder must not be taken for a package.
        *(sys.executable, "-P", "-m", STATUS_MODULE, *words),
        env={**os.environ, **settings},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        raise CommandError(
            f"the database did not answer within {_TIMEOUT_SECONDS:.0f} s; no key was made"
        ) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return out.decode()
    lines = [line for line in err.decode(errors="replace").splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("usage:", " ", "{"))] or lines
    raise CommandError(
        said[-1] if said else f"no key was made; exit code {process.returncode}",
        exit_code=USAGE,
        more=tuple(said[:-1]),
    )
