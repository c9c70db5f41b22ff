"""Options of gRPC: a name that it does not know is ignored without a word."""

from __future__ import annotations

from pathlib import Path

import pytest
from grpc._cython import cygrpc

from closeout.connection import CHANNEL_OPTIONS
from service_runtime.grpc_server import KEEPALIVE, Keepalive, server_options

_NAMES = sorted(
    {name for name, _ in [*server_options(connection_age_seconds=60), *CHANNEL_OPTIONS]}
)


@pytest.fixture(scope="module")
def library() -> bytes:
    """The installed library of gRPC, which has each name as a C string."""
    return Path(cygrpc.__file__).read_bytes()


@pytest.mark.parametrize("name", _NAMES)
def test_grpc_knows_each_option_that_is_set(library: bytes, name: str) -> None:
    """Each name that a server or a channel of ours sets is a string of the library."""
    assert name.encode() + b"\0" in library


def test_a_name_that_grpc_does_not_know_is_found_out(library: bytes) -> None:
    """The name of a macro of gRPC, which its value does not repeat, is no option."""
    assert b"grpc.http2.min_recv_ping_interval_without_data_ms\0" not in library


def test_pings_and_age_are_set_in_milliseconds() -> None:
    """What is said in seconds reaches gRPC in its unit."""
    options = dict(
        server_options(
            keepalive=Keepalive(client_interval_seconds=0.5, ping_seconds=2, timeout_seconds=1),
            connection_age_seconds=60,
        )
    )
    assert options["grpc.http2.min_ping_interval_without_data_ms"] == 500
    assert options["grpc.keepalive_time_ms"] == 2_000
    assert options["grpc.keepalive_timeout_ms"] == 1_000
    assert options["grpc.max_connection_age_ms"] == 60_000


def test_our_clients_ping_no_more_often_than_our_servers_allow() -> None:
    """An idle stream of our own client outlives any number of its pings."""
    every = dict(CHANNEL_OPTIONS)["grpc.keepalive_time_ms"]
    assert every >= KEEPALIVE.client_interval_seconds * 1_000
