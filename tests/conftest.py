"""Fixtures and options of all tests."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from integration.compiled import compile_once
from integration.migrated import MigratedDatabases
from providers import programs
from providers.postgresql_server import PostgresqlServer
from status_service.migrations import MIGRATIONS

pytest_plugins = ["providers.leaks", "providers.time_zones"]

# All runs use the same examples: a test that fails for one person fails for all, and no
# change is blamed for what another seed would have found before. To search with new
# seeds, and for longer: pytest --hypothesis-profile=search.
settings.register_profile(
    "repeatable",
    derandomize=True,
    max_examples=60,
    deadline=None,  # a shared machine is slow at times
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "search",
    deadline=None,
    max_examples=1_000,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")

compile_once()

# A shell starts what runs in the background with Ctrl-C ignored, and that is inherited: the
# commands that tests interrupt would not hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the tests of programs that this machine does not have."""
    return True if collection_path in programs.left_out() else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out, and how to get it."""
    for line in programs.remarks():
        terminalreporter.write_line(line, yellow=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of `make soak`."""
    parser.addoption(
        "--race-rounds",
        type=int,
        default=200,
        help="how many campaigns end in races on each database (default: %(default)s)",
    )
    parser.addoption(
        "--order-rounds",
        type=int,
        default=20,
        help="in how many rounds calls that change a campaign meet, on each kind of"
        " database (default: %(default)s)",
    )
    parser.addoption(
        "--http-examples",
        type=int,
        default=10,
        help="how many requests are made up for each path of HTTP, right ones and wrong ones"
        " (default: %(default)s each)",
    )
    parser.addoption(
        "--rpc-messages",
        type=int,
        default=2_000,
        help="how many messages are made up for the rpcs of each service (default: %(default)s)",
    )
    parser.addoption(
        "--rpc-seed",
        type=int,
        default=0,
        help="another one makes other messages up (default: %(default)s)",
    )
    parser.addoption(
        "--kills",
        type=int,
        default=6,
        help="how often a test kills the service that a campaign needs (default: %(default)s)",
    )
    parser.addoption(
        "--pause-kills",
        type=int,
        default=2,
        help="how often a test kills the status service once it has confirmed a pause, on each"
        " kind of database (default: %(default)s)",
    )
    parser.addoption(
        "--machine-examples",
        type=int,
        default=10,
        help="how many sequences of calls are made beside a model, on each kind of database"
        " (default: %(default)s)",
    )
    parser.addoption(
        "--all-faults",
        action="store_true",
        help="attack every step of the write path with every fault, not with the telling ones",
    )


@pytest.fixture(scope="session")
def kills(request: pytest.FixtureRequest) -> int:
    """How often a service is killed while a campaign needs it."""
    kills: int = request.config.getoption("--kills")
    return kills


@pytest.fixture(scope="session")
def machine_examples(request: pytest.FixtureRequest) -> int:
    """How many sequences of calls are made beside a model."""
    examples: int = request.config.getoption("--machine-examples")
    return examples


@pytest.fixture(scope="session")
def http_examples(request: pytest.FixtureRequest) -> int:
    """How many requests are made up for each path of HTTP."""
    examples: int = request.config.getoption("--http-examples")
    return examples


@pytest.fixture(scope="session")
def rpc_messages(request: pytest.FixtureRequest) -> int:
    """How many messages are made up for the rpcs of each service."""
    messages: int = request.config.getoption("--rpc-messages")
    return messages


@pytest.fixture(scope="session")
def rpc_seed(request: pytest.FixtureRequest) -> int:
    """The seed of the messages that are made up."""
    seed: int = request.config.getoption("--rpc-seed")
    return seed


@pytest.fixture(scope="session")
def order_rounds(request: pytest.FixtureRequest) -> int:
    """In how many rounds calls that change a campaign meet."""
    rounds: int = request.config.getoption("--order-rounds")
    return rounds


@pytest.fixture(scope="session")
def race_rounds(request: pytest.FixtureRequest) -> int:
    """The number of campaigns that end in races."""
    rounds: int = request.config.getoption("--race-rounds")
    return rounds


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """The shared PostgreSQL: create a database in it, and leave the server unchanged."""
    with PostgresqlServer() as server:
        yield server


@pytest.fixture(scope="session")
def status_databases(postgresql_server: PostgresqlServer) -> MigratedDatabases:
    """Databases of the status service on the shared server, which tests use one after another."""
    return MigratedDatabases(postgresql_server, MIGRATIONS)


@pytest.fixture
def own_postgresql_server() -> Iterator[Callable[..., PostgresqlServer]]:
    """Start servers that a test may stop, kill or configure."""
    with ExitStack() as servers:
        yield lambda *args, **kwargs: servers.enter_context(PostgresqlServer(*args, **kwargs))
