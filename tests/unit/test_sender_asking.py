"""Who calls the sender: what the status service said, for how long, and what without it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from closeout.errors import (
    ClientError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
)
from closeout.status.v1.access_pb2 import GetCallerResponse
from sender_service.access import asking
from sender_service.access.asking import AskingAccess
from sender_service.campaigns.status_account import on_behalf_of
from sender_service.errors import ServiceKeyError, StatusServiceUnavailableError
from service_runtime.access import Credentials
from service_runtime.caller import ALL_SCOPES, Caller, Scope
from service_runtime.errors import KeyRevokedError, ServiceError

GONE = UnavailableError("connection refused")
REVOKED = UnauthenticatedError("revoked", reason="KEY_REVOKED")


class StatusService:
    """Answers what a test says, and counts the questions."""

    def __init__(self) -> None:
        self.answer: GetCallerResponse | ClientError = GetCallerResponse(
            organization="alpha", actor="key:shop", scopes=["read", "later"], key_id="abc"
        )
        self.own_key: ServiceError | None = None
        self.asked: list[Credentials] = []
        self.both_asked = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def caller_of(self, credentials: Credentials) -> GetCallerResponse:
        """Answer who calls."""
        self.asked.append(credentials)
        if len(self.asked) == 2:
            self.both_asked.set()
        await self.open.wait()
        if isinstance(self.answer, ClientError):
            raise self.answer
        return self.answer

    async def check_key(self) -> None:
        """Say whether the sender's own key is good."""
        if self.own_key is not None:
            raise self.own_key


class Met:
    """Remembers that keys were met."""

    def __init__(self) -> None:
        self.met = False

    async def ever(self) -> bool:
        """Return whether any was."""
        return self.met

    async def note(self) -> None:
        """Note one."""
        self.met = True


class World:
    """A sender's access, with a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.status = StatusService()
        self.met = Met()
        self.access = AskingAccess(
            cast("Any", self.status), cast("Any", self.met), clock=lambda: self.now
        )

    async def caller(self, authorization: str = "Bearer k", **changed: str) -> Caller:
        """Return who calls."""
        values = {"organization": "", "on_behalf_of": "", "peer": "ipv4:127.0.0.1:1"} | changed
        return await self.access.authenticate(Credentials(authorization=authorization, **values))

    async def refusal(self, **changed: str) -> ServiceError:
        """Return why a call is refused."""
        with pytest.raises(ServiceError) as caught:
            await self.caller(**changed)
        return caught.value


@pytest.fixture
def world() -> World:
    return World()


async def test_an_answer_is_kept_for_five_seconds(world: World) -> None:
    """With scopes of later versions left out; the claim is that of each call."""
    caller = await world.caller(on_behalf_of="ann")
    assert caller == Caller(
        "alpha", "key:shop", "ann", frozenset({Scope.READ}), key_id="abc", key_name=""
    )
    world.now += 4.9
    assert (await world.caller(on_behalf_of="bob")).on_behalf_of == "bob"
    assert len(world.status.asked) == 1
    world.now += 0.2
    await world.caller()
    assert len(world.status.asked) == 2


async def test_without_an_answer_a_caller_is_known_for_sixty_seconds_more(world: World) -> None:
    """Then nobody is: UNAVAILABLE, never allowed, however long; and known again afterwards."""
    await world.caller()
    answer, world.status.answer = world.status.answer, GONE
    for later in (5.1, 30.0, 64.9):
        world.now = 1_000.0 + later
        assert (await world.caller()).organisation == "alpha"
    for later in (65.1, 66.0, 1_000.0):
        world.now = 1_000.0 + later
        refused = await world.refusal()
        assert isinstance(refused, StatusServiceUnavailableError)
        assert refused.reason == "STATUS_SERVICE_UNAVAILABLE"
    world.status.answer = answer
    assert (await world.caller()).organisation == "alpha"


async def test_a_caller_who_was_never_known_is_refused_at_once(world: World) -> None:
    """Where keys are in use, an unreachable status service allows nobody anything."""
    await world.caller()
    world.status.answer = GONE
    with capture_logs() as logged:
        for other in ({"authorization": "Bearer other"}, {"authorization": ""}):
            assert isinstance(await world.refusal(**other), StatusServiceUnavailableError)
        assert isinstance(await world.refusal(organization="beta"), StatusServiceUnavailableError)
        world.now += 2
        await world.refusal(organization="beta")
    assert [line["unlogged"] for line in logged] == [0, 2]


async def test_a_status_service_that_is_away_is_not_asked_for_each_call(world: World) -> None:
    """About once a second, so that one that hangs holds up few calls."""
    await world.caller()
    world.status.answer = GONE
    world.now += 6
    for _ in range(10):
        await world.caller()
    assert len(world.status.asked) == 2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (REVOKED, "KEY_REVOKED"),
        (UnauthenticatedError("missing", reason="KEY_MISSING"), "KEY_MISSING"),
        (UnauthenticatedError("malformed", reason="KEY_MALFORMED"), "KEY_MALFORMED"),
        (UnauthenticatedError("invalid", reason="KEY_INVALID"), "KEY_INVALID"),
        (UnauthenticatedError("expired", reason="KEY_EXPIRED"), "KEY_EXPIRED"),
        (
            PermissionDeniedError("no", reason="SCOPE_MISSING", metadata={"scope": "service"}),
            "SCOPE_MISSING",
        ),
        (ResourceExhaustedError("too many", reason="TOO_MANY_ATTEMPTS"), "TOO_MANY_ATTEMPTS"),
    ],
)
async def test_a_refusal_is_passed_on_with_its_reason(
    world: World, answer: ClientError, reason: str
) -> None:
    """It ends what was kept: no later outage brings the caller back."""
    await world.caller()
    world.now += 6
    world.status.answer = answer
    refused = await world.refusal()
    assert (refused.reason, refused.code) == (reason, answer.code)
    world.status.answer = GONE
    assert isinstance(await world.refusal(), StatusServiceUnavailableError)


async def test_a_bad_key_of_the_sender_is_not_the_callers_fault(world: World) -> None:
    """Callers who are known stay so for a while; others get UNAVAILABLE with what to do."""
    await world.caller()
    world.now += 6
    world.status.answer = REVOKED
    world.status.own_key = ServiceKeyError("put a key into the file")
    assert (await world.caller()).organisation == "alpha"
    refused = await world.refusal(authorization="Bearer other")
    assert not isinstance(refused, KeyRevokedError)
    assert "put a key into the file" in refused.message


async def test_a_full_server_is_no_refusal_of_a_key(world: World) -> None:
    """RESOURCE_EXHAUSTED that no service of ours has said is as no answer."""
    world.met.met = True
    world.status.answer = ResourceExhaustedError("message too large")
    assert isinstance(await world.refusal(), StatusServiceUnavailableError)


async def test_before_any_key_everybody_is_default(world: World) -> None:
    """With or without the status service, by the address."""
    world.status.answer = GetCallerResponse(
        organization="default", actor="ipv4:127.0.0.1:1", scopes=sorted(ALL_SCOPES)
    )
    for answer in (world.status.answer, GONE):
        world.status.answer = answer
        world.now += 100
        caller = await world.caller(authorization="")
        assert caller == Caller("default", "ipv4:127.0.0.1:1")
    assert (await world.refusal(organization="rival")).reason == "SCOPE_MISSING"
    assert not world.met.met


async def test_the_first_key_closes_the_door(world: World) -> None:
    """A sender that was once asked for a key serves nobody unknown any more."""
    world.status.answer = UnauthenticatedError("none", reason="KEY_MISSING")
    assert (await world.refusal(authorization="")).reason == "KEY_MISSING"
    world.status.answer = GONE
    assert isinstance(await world.refusal(authorization=""), StatusServiceUnavailableError)


async def test_questions_about_one_key_at_once_are_one_call(world: World) -> None:
    """Also where the first of the callers hangs up meanwhile."""
    world.status.open.clear()
    calls = [asyncio.create_task(world.caller()) for _ in range(20)]
    other = asyncio.create_task(world.caller("Bearer other"))
    async with asyncio.timeout(60):
        await world.status.both_asked.wait()
    calls[0].cancel()
    world.status.open.set()
    callers = await asyncio.gather(*calls[1:], other)
    assert {caller.organisation for caller in callers} == {"alpha"}
    assert len(world.status.asked) == 2


async def test_memory_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer that was needed longest ago goes first, and no key is kept."""
    monkeypatch.setattr(asking, "MOST_ANSWERS", 3)
    for key in "abcda":
        await world.caller(f"Bearer secret-{key}")
    assert len(world.access._answers) == 3
    assert "secret" not in repr(world.access._answers)
    assert len(world.status.asked) == 5
    await world.caller("Bearer secret-d")
    assert len(world.status.asked) == 5


@pytest.mark.parametrize(
    ("caller", "shown"),
    [
        (None, ""),
        (Caller("default", "ipv4:1.2.3.4:5"), ""),
        (Caller("default", "ipv4:1.2.3.4:5", "ops@host"), "ops@host"),
        (Caller("a", "key:shop", key_id="k"), "key:shop"),
        (Caller("a", "key:shop", "ops@host", key_id="k"), "key:shop for ops@host"),
        (
            Caller("a", "key:" + "n" * 64, "c" * 128, key_id="k"),
            "key:" + "n" * 64 + " for " + "c" * 55,
        ),
        (Caller("a", "key:" + "n" * 64, "c" * 54 + " d", key_id="k"), None),
    ],
)
def test_the_audit_trail_gets_the_key_first_and_the_claim_as_far_as_there_is_room(
    caller: Caller | None, shown: str | None
) -> None:
    """What the clients take for it is printable, of at most 128 characters, without blanks."""
    found = on_behalf_of(caller)
    assert shown is None or found == shown
    assert len(found) <= 128
    assert found == found.strip()
