"""``closeout keys``: who may call, by the keys of an organisation."""

from __future__ import annotations

import enum
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

import typer

from closeout.times import to_datetime
from closeout_cli import screen, words
from closeout_cli.completion import key_ids
from closeout_cli.failures import OK, say
from closeout_cli.first_key import make_local_key
from closeout_cli.options import (
    Defaults,
    Json,
    StatusAddress,
    access_client,
    run,
)
from closeout_cli.prompts import Yes, confirm, may_ask
from closeout_cli.tables import Column
from closeout_cli.words import parse_span, rfc3339, short_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from closeout.status.v1 import access_pb2 as pb

_Time: TypeAlias = Literal["create_time", "expire_time", "last_use_time"]
#: What a terminal shows. docs/command-line.md lists the order in which columns go.
_COLUMNS = (
    Column("Id"),
    Column("Name"),
    Column("Scopes", shrink=True, below=True),
    Column("State"),
    Column("Expires", drop=1),
    Column("Last use", drop=2),
    Column("Made", drop=3),
    Column("By", drop=4),
)


class KeyScope(enum.StrEnum):
    """What a key can allow."""

    READ = "read"
    REPORT = "report"
    WRITE = "write"
    REPAIR = "repair"
    ADMIN = "admin"
    SERVICE = "service"


def _span(text: str) -> timedelta:
    try:
        return parse_span(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


KeyId = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="The key's id: the 12 characters after closeout_.",
        show_default=False,
        autocompletion=key_ids,
    ),
]


def group(
    *,
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    status_address: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="Where the status service is.", show_default=False),
    ] = "",
    sender_address: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="Where the sender service is.", show_default=False),
    ] = "",
) -> None:
    """Manage the keys of your organisation: who may call, and what it may do.

    Send a key as CLOSEOUT_API_KEY, or name its file in CLOSEOUT_API_KEY_FILE.
    """
    given = context.ensure_object(Defaults)
    context.obj = Defaults(
        status_address or given.status_address,
        sender_address or given.sender_address,
        as_json=as_json or given.as_json,
    )


def create(
    *,
    name: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What people call it; the audit trail names it. With --admin: admin by default.",
            show_default=False,
        ),
    ] = "",
    scopes: Annotated[
        list[KeyScope] | None,
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help="What it allows; repeatable. With --admin: all but service by default.",
            show_default=False,
        ),
    ] = None,
    expires: Annotated[
        timedelta | None,
        typer.Option(
            metavar="SPAN",
            parser=_span,
            help="How long it holds, as in 90d or 12h; without it, until it is revoked.",
            show_default=False,
        ),
    ] = None,
    admin: Annotated[
        bool,
        typer.Option(
            "--admin",
            help="Make it in the database of the status service, on this machine, without"
            " a key: the first one, or one with scope service.",
        ),
    ] = False,
    organisation: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Whose key it is, with --admin; default by default."
            " Otherwise that of your own key.",
            show_default=False,
        ),
    ] = "",
    data_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="With --admin: where `closeout up` keeps the databases. Default: the database"
            " of the settings, or else closeout-data if it is there.",
            show_default=False,
        ),
    ] = None,
    status_address: StatusAddress = "",
    as_json: Json = False,
) -> int:
    """Make a key, and print it this once.

    Nothing else is printed to standard output, so that $(closeout keys create ...) is the
    key. It is not stored, and nobody can show it again.
    """
    if admin:
        made = run(
            make_local_key(
                organisation=organisation,
                name=name,
                scopes=scopes or [],
                expires=expires,
                data_dir=data_dir,
            )
        )
        where = f"of organisation {made.organization} in {made.database}"
        return _show_secret(made.answer, where, as_json=as_json)
    if organisation or data_dir is not None:
        raise typer.BadParameter(
            "--organisation and --data-dir go with --admin; without it, the key is one of the"
            " organisation of your own key"
        )
    if not name or not scopes:
        raise typer.BadParameter("name the key with --name, and what it allows with --scope")
    made_here = run(_create(status_address, name, scopes, expires))
    return _show_secret(made_here, "of your organisation", as_json=as_json)


async def _create(
    address: str, name: str, scopes: Sequence[str], expires: timedelta | None
) -> pb.CreateKeyResponse:
    async with access_client(address) as access:
        return await access.create_key(
            name=name,
            scopes=scopes,
            expire_time=None if expires is None else words.now() + expires,
        )


def _show_secret(made: pb.CreateKeyResponse, where: str, *, as_json: bool) -> int:
    if as_json:
        screen.print_json(made)
        return OK
    screen.line(made.secret_key)
    key = made.key
    say(
        f"key {key.name} ({key.key_id}) {where} allows {', '.join(key.scopes)}{_end_of(key)};"
        " it is shown this once, so keep it"
    )
    return OK


def _end_of(key: pb.Key) -> str:
    return f" until {words.clock(key.expire_time)}" if key.HasField("expire_time") else ""


def list_keys(*, status_address: StatusAddress = "", as_json: Json = False) -> int:
    """List the keys of your organisation, newest first.

    In a pipe or a file, each is one line with tabs between its values: id, name, scopes,
    state, creation, expiry, revocation, last use, creator.
    """
    return run(_list(status_address, as_json=as_json))


async def _list(address: str, *, as_json: bool) -> int:
    async with access_client(address) as access:
        found = [key async for key in access.list_keys()]
    if as_json:
        for key in found:
            screen.print_json(key)
    elif screen.on_terminal():
        screen.show_table(_COLUMNS, [_cells(key) for key in found])
    else:
        for key in found:
            screen.row(*_values(key))
    return OK


def _state(key: pb.Key) -> str:
    if key.HasField("revoke_time"):
        return "REVOKED"
    if key.HasField("expire_time") and to_datetime(key.expire_time) <= words.now():
        return "EXPIRED"
    return "VALID"


def _values(key: pb.Key) -> Sequence[str]:
    """Return the values of a line; new ones come at the end."""
    times = ("create_time", "expire_time", "revoke_time", "last_use_time")
    return (
        key.key_id,
        key.name,
        ",".join(key.scopes),
        _state(key),
        *(rfc3339(key, field) for field in times),
        key.creator,
    )


def _cells(key: pb.Key) -> list[str]:
    def shown(field: _Time, otherwise: str) -> str:
        return short_clock(getattr(key, field)) if key.HasField(field) else otherwise

    return [
        key.key_id,
        key.name,
        ", ".join(key.scopes),
        _state(key),
        shown("expire_time", "never"),
        shown("last_use_time", "never"),
        shown("create_time", ""),
        key.creator,
    ]


def revoke(
    *, key_id: KeyId, yes: Yes = False, status_address: StatusAddress = "", as_json: Json = False
) -> int:
    """End a key, for good.

    Calls with it are refused within 5 seconds, and its streams end within 10. On a
    terminal you are asked first.
    """
    if may_ask() and not yes:
        confirm(f"Revoke key {key_id}? Whoever uses it is refused from now on.")
    key = run(_revoke(status_address, key_id))
    if as_json:
        screen.print_json(key)
    else:
        screen.line(f"{key.key_id}: {_state(key)} {key.name}")
    return OK


async def _revoke(address: str, key_id: str) -> pb.Key:
    async with access_client(address) as access:
        return (await access.revoke_key(key_id=key_id)).key


def rotate(
    *,
    key_id: KeyId,
    overlap: Annotated[
        timedelta | None,
        typer.Option(
            metavar="SPAN",
            parser=_span,
            help="How long the old key still holds, as in 2h or 7d. Default: a day.",
            show_default=False,
        ),
    ] = None,
    status_address: StatusAddress = "",
    as_json: Json = False,
) -> int:
    """Make a second key like one, which stops after a while, and print it this once.

    Nothing but the new key is printed to standard output. A key that expires is followed
    by one that lives as long as it did.
    """
    answer = run(_rotate(status_address, key_id, overlap))
    if as_json:
        screen.print_json(answer)
        return OK
    screen.line(answer.secret_key)
    key = answer.key
    say(
        f"key {key.name} ({key.key_id}) allows {', '.join(key.scopes)}{_end_of(key)}; it is"
        f" shown this once, so keep it. The old key {key_id} holds{_end_of(answer.former_key)}"
    )
    return OK


async def _rotate(address: str, key_id: str, overlap: timedelta | None) -> pb.RotateKeyResponse:
    async with access_client(address) as access:
        return await access.rotate_key(key_id=key_id, overlap=overlap)


#: By their names below ``closeout keys``.
COMMANDS: Final[Mapping[str, Callable[..., int]]] = {
    "create": create,
    "list": list_keys,
    "revoke": revoke,
    "rotate": rotate,
}
