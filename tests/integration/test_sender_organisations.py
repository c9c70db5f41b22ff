"""S13: organisations at one sender, with the same campaign ids, never meet."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from pysqlite3 import dbapi2
from structlog.testing import capture_logs

from closeout.aio.channel import open_channel
from closeout.errors import ClientError
from closeout.sender.v1 import sender_pb2 as pb
from closeout.sender.v1.sender_pb2_grpc import SenderServiceStub
from closeout.status.v1 import status_pb2
from integration import sender_support as support
from integration.keyed_pair import ALPHA, BETA, KeyedPair, Member, keyed_pair
from integration.status_support import by_hand, check_invariants
from sender_service import server as sender_server
from sender_service.campaigns.status_account import StatusAccount
from sender_service.channels.contract import Message, Reply
from sender_service.reporting.organisations import Reporting
from sender_service.store import outbox

State = status_pb2.Campaign.State


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[KeyedPair]:
    """Both services with keys; what must hold in the status database is checked at the end."""
    async with keyed_pair(tmp_path) as services:
        yield services
    with by_hand(tmp_path) as connection:
        check_invariants(connection)


@pytest.fixture
async def members(both: KeyedPair) -> AsyncIterator[tuple[Member, Member]]:
    """A caller of each of two organisations."""
    async with both.member(ALPHA) as alpha, both.member(BETA) as beta:
        yield alpha, beta


async def completed(member: Member, campaign_id: str) -> status_pb2.Campaign:
    """Wait until a campaign is finished at the sender; return it."""
    await member.finished(campaign_id)
    campaign = await member.status.get_campaign(campaign_id=campaign_id)
    assert (campaign.state, campaign.pending) == (State.COMPLETED, 0)
    return campaign


def refuses_seventh(message: Message) -> Reply:
    """Refuse one person of each organisation."""
    return support.REFUSED if message.address.startswith("p7@") else support.ACCEPTED


async def test_s13_two_organisations_use_the_same_ids_at_once(
    both: KeyedPair, members: tuple[Member, Member]
) -> None:
    """Each gets its own mail, counts and results, and the two names of one id stay two."""
    both.channel.script = refuses_seventh
    sizes = {ALPHA: {"news": 30, "offer": 11}, BETA: {"news": 120, "offer": 1}}
    await asyncio.gather(
        *(
            member.begin(name, size)
            for member in members
            for name, size in sizes[member.organisation].items()
        )
    )
    for member in members:
        for name, size in sizes[member.organisation].items():
            campaign = await completed(member, name)
            refused = int(size > 7)
            assert (campaign.total, campaign.sent, campaign.failed) == (
                size,
                size - refused,
                refused,
            )
            got = await member.sender.batch_get_recipients(
                campaign_id=name, sequences=range(1, 200)
            )
            assert [entry.address for entry in got] == [
                f"p{number}@{member.organisation}.example" for number in range(size)
            ]
    handed_over = {(message.campaign_id, message.address) for message in both.channel.calls}
    keys = {message.idempotency_key for message in both.channel.calls}
    assert len(both.channel.calls) == len(handed_over) == len(keys) == 162


async def test_s13_a_watch_and_a_trail_show_ones_own_campaign_alone(
    members: tuple[Member, Member],
) -> None:
    """Another organisation's campaign of the same id moves, and nothing is seen of it."""
    alpha, beta = members
    for member in members:
        await member.create("news", 5)
    seen: list[status_pb2.Campaign] = []

    async def watch() -> None:
        async for campaign in alpha.status.watch_campaign(campaign_id="news"):
            seen.append(campaign)  # noqa: PERF401 - looked at meanwhile

    watching = asyncio.create_task(watch())
    await support.eventually(lambda: seen)
    await beta.sender.start_campaign(campaign_id="news")
    await completed(beta, "news")
    assert {campaign.state for campaign in seen} == {State.DRAFT}
    assert (await alpha.status.get_campaign(campaign_id="news")).revision == seen[0].revision
    await alpha.sender.start_campaign(campaign_id="news")
    await completed(alpha, "news")
    await watching
    assert seen[-1].sent == 5
    for member in members:
        trail = member.status.list_transitions(campaign_id="news")
        created = await anext(trail)
        await trail.aclose()
        assert (created.actor, created.on_behalf_of) == ("key:sender", "key:shop")


_CALLS: list[tuple[str, Callable[[str], Any]]] = [
    ("StartCampaign", lambda name: pb.StartCampaignRequest(campaign_id=name)),
    ("GetDelivery", lambda name: pb.GetDeliveryRequest(campaign_id=name)),
    ("ListShards", lambda name: pb.ListShardsRequest(campaign_id=name)),
    (
        "BatchGetRecipients",
        lambda name: pb.BatchGetRecipientsRequest(campaign_id=name, sequences=[1]),
    ),
    (
        "ResendCampaign",
        lambda name: pb.ResendCampaignRequest(
            source_campaign_id=name, campaign_id="new", include_unsent=True
        ),
    ),
    (
        "ResendCampaign",
        lambda name: pb.ResendCampaignRequest(
            source_campaign_id=name, include_unsent=True, validate_only=True
        ),
    ),
    (
        "UploadRecipients",
        lambda name: iter(
            [
                pb.UploadRecipientsRequest(
                    campaign_id=name,
                    upload_id="u",
                    recipients=[pb.Recipient(address="a@b.example")],
                )
            ]
        ),
    ),
]


@pytest.mark.parametrize(
    ("method", "request_of"), _CALLS, ids=[f"{row[0]}{n}" for n, row in enumerate(_CALLS)]
)
async def test_s13_no_call_distinguishes_a_foreign_campaign_from_an_absent_one(
    both: KeyedPair, members: tuple[Member, Member], method: str, request_of: Callable[[str], Any]
) -> None:
    """Both are NOT_FOUND, byte for byte the same but for the id."""
    alpha, _ = members
    await alpha.create("foreign", 3)
    answers = []
    async with open_channel(both.sender_address, api_key=both.key(BETA).text) as channel:
        stub: Any = SenderServiceStub(channel)
        for name in ("missing", "foreign"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await getattr(stub, method)(request_of(name))
            error = caught.value
            parts = [(error.details() or "").encode()]
            for key, value in error.trailing_metadata() or ():
                parts += [key.encode(), value if isinstance(value, bytes) else value.encode()]
            answers.append((error.code(), [part.replace(name.encode(), b"X") for part in parts]))
    assert answers[0][0] == grpc.StatusCode.NOT_FOUND
    assert answers[0] == answers[1]


async def test_s13_a_token_of_ones_own_list_opens_no_other(
    both: KeyedPair, members: tuple[Member, Member]
) -> None:
    """A page token belongs to one organisation, also where both have the campaign."""
    for member in members:
        await member.begin("news", 120)
        await completed(member, "news")
    tokens = []
    for member in members:
        async with open_channel(
            both.sender_address, api_key=both.key(member.organisation).text
        ) as channel:
            stub: Any = SenderServiceStub(channel)
            page = await stub.ListShards(pb.ListShardsRequest(campaign_id="news", page_size=1))
            tokens.append(page.next_page_token)
    assert all(tokens)
    assert tokens[0] != tokens[1]
    async with open_channel(both.sender_address, api_key=both.key(ALPHA).text) as channel:
        stub = SenderServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListShards(pb.ListShardsRequest(campaign_id="news", page_token=tokens[1]))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_s17_a_pause_concerns_ones_own_campaign_alone(
    both: KeyedPair, members: tuple[Member, Member]
) -> None:
    """The campaign of the same id of the other organisation goes on and completes."""
    alpha, beta = members
    await alpha.begin("warm-up", 1)
    await completed(alpha, "warm-up")
    both.channel.hold.clear()
    for member in members:
        await member.begin("news", 40)
    await support.eventually(lambda: both.channel.flying == both.channel.concurrency)
    await alpha.status.pause_campaign(campaign_id="news")

    async def known() -> bool:
        return (await alpha.sender.get_delivery(campaign_id="news")).state == State.PAUSED

    await support.eventually(known)
    both.channel.hold.set()
    assert (await completed(beta, "news")).sent == 40
    paused = await alpha.sender.get_delivery(campaign_id="news")
    assert paused.finished < 40
    await alpha.status.resume_campaign(campaign_id="news")
    assert (await completed(alpha, "news")).sent == 40


async def test_s13_a_campaign_is_repeated_within_its_organisation_alone(
    both: KeyedPair, members: tuple[Member, Member]
) -> None:
    """Another organisation wrote to the same people under the same name: that is no repetition."""
    for member in members:
        await member.sender.create_campaign(
            campaign_id="news",
            display_name="Newsletter",
            channel="scripted",
            body=pb.EmailContent(subject="Hello"),
        )
        await member.sender.upload_recipients(
            campaign_id="news",
            upload_id="u",
            batches=[[pb.Recipient(address="same@people.example")]],
        )
        await member.sender.start_campaign(campaign_id="news")
        assert (await completed(member, "news")).sent == 1
    assert len(both.channel.calls) == 2


async def test_s10_restarts_in_the_middle_mix_nothing_up(
    both: KeyedPair, members: tuple[Member, Member]
) -> None:
    """The sender and the status service stop again and again while both organisations send."""
    for member in members:
        await member.begin("news", 200)
    for round_number in range(3):
        await support.eventually(lambda: len(both.channel.calls) > 40 * (round_number + 1))  # noqa: B023 - awaited here
        if round_number == 1:
            await both.stop_status()
            await both.start_status()
        else:
            await both.stop_sender()
            await both.start_sender()
    for member in members:
        campaign = await completed_soon(member, "news")
        assert campaign.sent + campaign.unknown == 200
        results = {
            result.sequence async for result in member.status.list_results(campaign_id="news")
        }
        assert results == set(range(1, 201))
    sent = [message.address for message in both.channel.calls]
    assert len(sent) == len(set(sent))


async def completed_soon(member: Member, campaign_id: str) -> status_pb2.Campaign:
    """Wait until a campaign is finished, also while services are away."""

    async def look() -> status_pb2.Campaign | None:
        try:
            return await completed(member, campaign_id)
        except ClientError:
            return None

    campaign: status_pb2.Campaign = await support.eventually(look)
    return campaign


async def test_another_store_gets_the_results_of_every_organisation_again(
    both: KeyedPair, members: tuple[Member, Member], tmp_path: Path
) -> None:
    """Those of organisations without work too: the last stream that is open notices it."""
    with (
        closing(dbapi2.connect(tmp_path / "status.db")) as source,
        closing(dbapi2.connect(tmp_path / "backup.db")) as target,
    ):
        source.backup(target)
    for member in members:
        await member.begin("news", 30)
        await completed(member, "news")
    await both.stop_status()
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"status.db{suffix}").unlink(missing_ok=True)
    shutil.copyfile(tmp_path / "backup.db", tmp_path / "status.db")
    await both.start_status()
    for member in members:

        async def back(member: Member = member) -> bool:
            try:
                campaign = await member.status.get_campaign(campaign_id="news")
            except ClientError:
                return False
            return campaign.state == State.COMPLETED and campaign.sent == 30

        await support.eventually(back)
    assert len(both.channel.calls) == 60


async def test_another_store_is_noticed_for_each_organisation_by_itself(tmp_path: Path) -> None:
    """What one organisation's stream found does not count for another that has not looked."""
    adopt = partial(outbox.adopt_generation, replay_days=7)
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=1)
        for organisation in ("default", ALPHA):
            known = partial(adopt, organisation=organisation, generation="first")
            assert await store.write(known) is None
            assert await store.write(known) is None
        alpha, default = [
            await store.write(partial(adopt, organisation=organisation, generation="second"))
            for organisation in (ALPHA, "default")
        ]
        assert alpha == []
        assert default == [row.campaign]


async def test_one_organisations_refused_stream_holds_up_no_other(
    members: tuple[Member, Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong with one stream: the others go on, and so does this one afterwards."""
    alpha, beta = members
    broken = True
    client = StatusAccount.client

    def sometimes(account: StatusAccount, organisation: str, caller: Any = None) -> Any:
        if broken and organisation == ALPHA and caller is None:
            raise RuntimeError("this stream is broken")
        return client(account, organisation, caller)

    monkeypatch.setattr(StatusAccount, "client", sometimes)
    for member in members:
        await member.begin("news", 20)
    assert (await completed(beta, "news")).sent == 20
    held = await alpha.sender.get_delivery(campaign_id="news")
    assert held.finished == 0
    assert [problem.kind for problem in held.problems] == [
        status_pb2.Problem.STATUS_SERVICE_UNREACHABLE
    ]
    assert not (await beta.sender.get_delivery(campaign_id="news")).problems
    broken = False
    assert (await completed(alpha, "news")).sent == 20


async def test_more_organisations_than_streams_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two streams serve seven organisations, and every campaign completes."""
    few = partial(Reporting, most_streams=2, turn_seconds=0.3, linger_seconds=0.1)
    monkeypatch.setattr(sender_server, "Reporting", few)
    async with keyed_pair(tmp_path) as both, AsyncExitStack() as stack:
        with capture_logs() as logged:
            members = [
                await stack.enter_async_context(both.member(f"o{number}")) for number in range(7)
            ]
            for member in members:
                await member.begin("news", 60)
            for member in members:
                assert (await completed(member, "news")).sent == 60
        assert "organisations_take_turns" in {line["event"] for line in logged}
        sent = [message.address for message in both.channel.calls]
        assert len(sent) == len(set(sent)) == 420


async def test_a_stream_is_closed_when_its_organisation_has_no_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the last one, by which a restored status service is noticed."""
    made: list[Reporting] = []

    def making(*arguments: Any, **options: Any) -> Reporting:
        made.append(Reporting(*arguments, linger_seconds=0.0, **options))
        return made[-1]

    monkeypatch.setattr(sender_server, "Reporting", making)
    async with keyed_pair(tmp_path) as both, AsyncExitStack() as stack:
        for number in range(5):
            member = await stack.enter_async_context(both.member(f"o{number}"))
            await member.begin("news", 3)
            await completed(member, "news")
        (reporting,) = made
        await support.eventually(lambda: len(reporting._tasks) == 1)
        await support.eventually(lambda: len(reporting._streams) == 1)
        assert not reporting._owners


async def test_a_sender_with_a_key_opens_no_stream_without_work(
    both: KeyedPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even for the organisation that a sender without a key acts for."""
    opened: list[str] = []
    stream = Reporting._stream

    def noted(reporting: Reporting, organisation: str) -> Any:
        opened.append(organisation)
        return stream(reporting, organisation)

    monkeypatch.setattr(Reporting, "_stream", noted)
    async with both.member(ALPHA) as alpha:
        await alpha.begin("news", 3)
        await completed(alpha, "news")
    assert set(opened) == {ALPHA}


async def test_a_bad_name_of_an_organisation_is_refused(both: KeyedPair) -> None:
    """A key with scope service that names none that can exist."""
    async with open_channel(both.sender_address, api_key=both.service_key.text) as channel:
        stub: Any = SenderServiceStub(channel)
        call = stub.StartCampaign(
            pb.StartCampaignRequest(campaign_id="x"),
            metadata=(("closeout-organization", "no such/name"),),
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
