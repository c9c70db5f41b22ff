"""Keys in the clients: they go with every call, and nowhere in plain text by mistake."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import grpc
import pytest

import closeout
import closeout.aio
from closeout import Tls
from closeout.aio.channel import open_channel
from closeout.credentials import Credentials, is_local
from closeout.sender.v1.sender_pb2 import Recipient
from closeout.sender.v1.sender_pb2_grpc import add_SenderServiceServicer_to_server
from closeout.status.v1 import status_pb2
from closeout.status.v1.status_pb2_grpc import add_StatusServiceServicer_to_server
from unit.fake_services import InThreads, Sender, Status

_KEY = "closeout_abcdefghijkl_notAKeyOfAnybody"
_AUTHORIZATION = ("authorization", f"Bearer {_KEY}")


class Witness(grpc.aio.ServerInterceptor):
    """Notes the metadata of every call, by the name of its method."""

    def __init__(self) -> None:
        self.seen: dict[str, list[tuple[str, str | bytes]]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Note it, and go on."""
        method = handler_call_details.method.rpartition("/")[2]
        self.seen[method] = list(handler_call_details.invocation_metadata or ())
        return await continuation(handler_call_details)


@pytest.fixture
def witness() -> Witness:
    return Witness()


@pytest.fixture(params=["asyncio", "blocking"])
def kind(request: pytest.FixtureRequest) -> str:
    """Return the kind of client."""
    return str(request.param)


@pytest.fixture
async def address(witness: Witness) -> AsyncIterator[str]:
    """Serve both services on one port."""
    server = grpc.aio.server(interceptors=[witness])
    add_StatusServiceServicer_to_server(Status(), server)
    add_SenderServiceServicer_to_server(Sender(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


@contextlib.asynccontextmanager
async def client_of(kind: str, name: str, address: str, **options: Any) -> AsyncIterator[Any]:
    """Yield a client of either kind, to be awaited."""
    if kind == "asyncio":
        async with getattr(closeout.aio, name)(address, **options) as client:
            yield client
    else:
        with getattr(closeout, name)(address, **options) as client:
            yield InThreads(client)


async def test_a_key_goes_with_every_kind_of_call(
    kind: str, address: str, witness: Witness
) -> None:
    """Unary calls, a watch, the stream of results, an upload; beside what else is said."""
    frame = status_pb2.ReportResultsRequest(frame=1, campaign_id="c")
    async with client_of(
        kind, "StatusClient", address, api_key=_KEY, on_behalf_of="ops@desk"
    ) as status:
        await status.get_campaign(campaign_id="known")
        await anext(aiter(status.watch_campaign(campaign_id="known")))
        if kind == "asyncio":
            stream = status.report_results()
            await stream.write(frame)
            await stream.read()
            stream.cancel()
        else:
            assert [answer async for answer in status.report_results(frames=[frame])]
    async with client_of(kind, "SenderClient", address, api_key=_KEY) as sender:
        await sender.upload_recipients(
            campaign_id="c", upload_id="u", batches=[[Recipient(address="a@example.com")]]
        )
    assert set(witness.seen) == {
        "GetCampaign",
        "WatchCampaign",
        "ReportResults",
        "UploadRecipients",
    }
    assert all(_AUTHORIZATION in metadata for metadata in witness.seen.values())
    assert ("closeout-on-behalf-of", "ops@desk") in witness.seen["WatchCampaign"]


async def test_a_client_for_somebody_else_has_the_key(
    kind: str, address: str, witness: Witness
) -> None:
    """Acting for another person, or in another organisation, is on the same channel."""
    async with client_of(kind, "StatusClient", address, api_key=_KEY) as status:
        made = status if kind == "asyncio" else status.client
        other = made.acting_for("ops@desk").in_organization("acme").acting_for("cron@desk")
        await (other if kind == "asyncio" else InThreads(other)).get_campaign(campaign_id="known")
    metadata = witness.seen["GetCampaign"]
    assert _AUTHORIZATION in metadata
    assert ("closeout-organization", "acme") in metadata
    assert ("closeout-on-behalf-of", "cron@desk") in metadata
    assert ("closeout-on-behalf-of", "ops@desk") not in metadata


async def test_a_key_of_a_function_is_asked_for_at_each_call(
    kind: str, address: str, witness: Witness
) -> None:
    """So that a key can be replaced under a running client; an empty one sends none."""
    keys: Iterator[str] = iter(["first", "second", ""])
    async with client_of(kind, "StatusClient", address, api_key=partial(next, keys)) as status:
        for expected in ("Bearer first", "Bearer second", None):
            await status.get_campaign(campaign_id="known")
            found = dict(witness.seen["GetCampaign"])
            assert found.get("authorization") == expected


@pytest.mark.parametrize("target", ["192.0.2.1:20051", "status:20051", "dns:///status:20051"])
async def test_a_key_in_plain_text_to_another_machine_is_refused(kind: str, target: str) -> None:
    """Where the client is made; the text says what to do and does not show the key."""
    for name in ("StatusClient", "SenderClient"):
        with pytest.raises(ValueError, match=r"in plain text.+tls=Tls\(ca_file") as caught:
            async with client_of(kind, name, target, api_key=_KEY):
                pass
        assert _KEY not in str(caught.value)
        async with client_of(kind, name, target, api_key=_KEY, allow_plaintext=True):
            pass
        async with client_of(kind, name, target):
            pass


@pytest.mark.parametrize(
    ("target", "local"),
    [
        ("127.0.0.1:1", True),
        ("127.0.0.9:1", True),
        ("localhost:1", True),
        ("LOCALHOST:1", True),
        ("[::1]:1", True),
        ("ipv4:127.0.0.1:1,127.0.0.2:2", True),
        ("ipv6:[::1]:1", True),
        ("dns:localhost:1", True),
        ("dns:///localhost:1", True),
        ("dns://192.0.2.7/localhost:1", True),
        ("unix:/run/closeout.sock", True),
        ("127.0.0.1:1,192.0.2.1:1", False),
        ("192.0.2.1:1,127.0.0.1:1", False),
        ("0.0.0.0:1", False),
        ("localhost.example.com:1", False),
        ("127.0.0.1.example.com:1", False),
        ("xds:///localhost:1", False),
        ("dns:///status:1", False),
        ("[fe80::1]:1", False),
        ("", False),
    ],
)
def test_what_stays_on_this_machine(target: str, local: bool) -> None:  # noqa: FBT001
    """Every address of a target must be loopback, or a socket of this machine."""
    assert is_local(target) is local


@pytest.mark.parametrize("key", ["two words", "line\n", "schl\xfcssel", "\x00"])
async def test_what_can_be_no_key_is_refused_and_not_shown(
    kind: str, address: str, key: str
) -> None:
    """At the construction, or at the call where a function returns it."""
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        async with client_of(kind, "StatusClient", address, api_key=key):
            pass
    assert key not in str(caught.value)
    async with client_of(kind, "StatusClient", address, api_key=lambda: key) as status:
        with pytest.raises(ValueError, match="printable ASCII") as caught:
            await status.get_campaign(campaign_id="known")
    assert key not in str(caught.value)


async def test_a_ready_channel_takes_no_key(address: str) -> None:
    """A key that would be dropped silently is refused, and so is TLS."""
    async with open_channel(address) as channel:
        for options in ({"api_key": _KEY}, {"tls": Tls()}):
            with pytest.raises(ValueError, match="give them to open_channel"):
                closeout.aio.StatusClient(channel, **options)  # type: ignore[arg-type]
    with (
        closeout.sync.channel.open_channel(address) as blocking,
        pytest.raises(ValueError, match="give them to open_channel"),
    ):
        closeout.SenderClient(blocking, api_key=_KEY)


async def test_nothing_of_a_client_shows_its_key(kind: str, address: str) -> None:
    """Neither its repr nor those of its channel and credentials; pickle takes none of them."""
    credentials = Credentials.wanted(address, _KEY, None, allow_plaintext=False)
    assert _KEY not in repr(credentials)
    async with client_of(kind, "StatusClient", address, api_key=_KEY) as status:
        client = status if kind == "asyncio" else status.client
        for thing in (client, client._channel, client._stub, client._stub.GetCampaign):
            assert _KEY not in f"{thing!r} {thing}"
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
            pickle.dumps(client)
        with pytest.raises(closeout.NotFoundError) as caught:
            await status.get_campaign(campaign_id="other")
    error: BaseException | None = caught.value
    while error is not None:
        assert _KEY not in f"{error!r} {error} {vars(error)}"
        error = error.__cause__


async def test_a_closed_client_with_a_key_is_closed(kind: str, address: str) -> None:
    """Its calls end as those of a client without one."""
    async with client_of(kind, "StatusClient", address, api_key=_KEY) as status:
        await status.get_campaign(campaign_id="known")
        await status.close()
        with pytest.raises(closeout.CallCancelledError, match="the client is closed"):
            await status.get_campaign(campaign_id="known")
        with pytest.raises(closeout.CallCancelledError, match="the client is closed"):
            await anext(aiter(status.watch_campaign(campaign_id="known")))
