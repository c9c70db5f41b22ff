"""Freeze an audience, unless people in it would get a campaign of the same family twice.

The look reads the audience in parts, each person with one search of an index for each
other campaign; the more campaigns, the smaller the parts. The transaction that freezes
compares two numbers, so what holds the write lock does not depend on how many people
there are. Where the audience grew meanwhile, only the new people are looked at; where
another campaign of the family was frozen, the look begins again, and the other one got on.
"""

from __future__ import annotations

import secrets
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from sender_service.domain import Phase, Repeat
from sender_service.errors import AudienceRepeatedError, LookOutdatedError
from sender_service.store import campaigns, families, omissions
from sender_service.store.families import PEOPLE_A_PART
from sender_service.store.freezes import Look

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    import sqlalchemy as sa

    from sender_service.store.families import Earlier, Question
    from service_runtime.database import Store

log = structlog.get_logger()

#: As much of a name is shown in a message, characters.
_SHOWN_NAME = 60
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


async def freeze(
    store: Store,
    organisation: str,
    campaign_id: str,
    *,
    shard_size: int,
    start_time: datetime | None,
    start_now: bool,
    repeat: Repeat,
) -> sa.Row[Any]:
    """Freeze a campaign, and leave out whom ``repeat`` says; return it afterwards.

    One that is frozen already is not looked at again.

    Raises:
        CampaignNotFoundError: there is none.
        InvalidRequestError: ``start_time`` is more than a minute past.
        AudienceRepeatedError: people would get it twice; nothing is frozen.
    """
    audience = _Audience(store, organisation, campaign_id, start_time, repeat)
    while True:
        look = await audience.look()
        try:
            row = await store.write(
                partial(
                    campaigns.freeze,
                    organisation=organisation,
                    campaign_id=campaign_id,
                    shard_size=shard_size,
                    start_time=start_time,
                    start_now=start_now,
                    look=look,
                )
            )
        except LookOutdatedError:
            continue
        if look is not None and look.left_out:
            log.info("people_left_out", campaign_id=campaign_id, left_out=look.left_out)
        return row


async def forget_lists(store: Store, campaign: int) -> None:
    """Delete what calls left behind that looked whom to leave out, and froze nothing.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    forget = partial(omissions.forget_lists, campaign=campaign, limit=PEOPLE_A_PART)
    while await store.write(forget):
        continue


class _Audience:
    """The audience of a campaign that is to be frozen, and what is known of it by now."""

    def __init__(
        self,
        store: Store,
        organisation: str,
        campaign_id: str,
        start_time: datetime | None,
        repeat: Repeat,
    ) -> None:
        self._store = store
        self._organisation = organisation
        self._campaign_id = campaign_id
        self._start_time = start_time
        self._repeat = repeat
        self._question: Question | None = None
        self._list_number = 0
        self._people: Counter[int] = Counter()

    async def look(self) -> Look | None:
        """Return what was found; None: there is nothing to look for.

        Raises:
            CampaignNotFoundError: there is none.
            InvalidRequestError: the start time is more than a minute past.
            AudienceRepeatedError: people would get the campaign twice.
        """
        question = await self._store.read(self._ask)
        if question is None:
            return None
        before, self._question = self._question, question
        first = 1
        if before is not None and before.freezes == question.freezes:
            first = before.total + 1
        else:
            self._people.clear()
            self._list_number = secrets.randbits(62)
        others = await self._store.read(partial(families.count_others, question=question))
        if others:
            size = families.people_a_part(others)
            for part in range(first, question.total + 1, size):
                await self._look_at(question, part, min(part + size - 1, question.total))
        repeated = self._people.total()
        if repeated and self._repeat is not Repeat.ONLY_NEW:
            latest = partial(families.latest, numbers=list(self._people))
            refusal = _refusal(question, self._people, await self._store.read(latest))
            log.info("start_refused", campaign_id=self._campaign_id, reason=refusal.message)
            raise refusal
        return Look(
            freezes=question.freezes,
            total=question.total,
            list_number=self._list_number if repeated else None,
            left_out=repeated,
        )

    def _ask(self, connection: sa.Connection) -> Question | None:
        row = campaigns.get(connection, self._organisation, self._campaign_id)
        if row.phase != Phase.COLLECTING:
            return None
        campaigns.check_not_past(connection, self._start_time)
        if self._repeat is Repeat.AGAIN or not row.family or not row.repeat_after_ms:
            return None
        return families.ask(connection, row, self._start_time)

    async def _look_at(self, question: Question, first: int, last: int) -> None:
        find = partial(families.find, question=question, first=first, last=last)
        people = await self._store.read(find)
        self._people.update(people.values())
        if people and self._repeat is Repeat.ONLY_NEW:
            # Beside the search, which would hold the write lock for longer.
            leave_out = partial(
                families.leave_out, question=question, list_number=self._list_number, people=people
            )
            await self._store.write(leave_out)


def _refusal(question: Question, people: Counter[int], latest: Earlier) -> AudienceRepeatedError:
    name = latest.display_name[:_SHOWN_NAME]
    campaign = f"{name!r} ({latest.campaign_id})" if name else repr(latest.campaign_id)
    if latest.begin_time > question.now:
        verb, when = "will get", f"in {_span(latest.begin_time - question.now)}"
    else:
        is_one = people.total() == 1
        verb = ("is getting" if is_one else "are getting") if latest.is_open else "got"
        when = f"{_span(question.now - latest.begin_time)} ago"
        if latest.is_open:
            when = f"started {when}"
    which = f"campaign {campaign}"
    if len(people) > 1:
        which = f"{len(people)} campaigns of the same family, the latest {campaign},"
    return AudienceRepeatedError(
        f"{_people(people.total(), question.total)} {verb} {which} {when}; nothing is"
        " started. Start it with repeat = ONLY_NEW to leave them out, or with"
        " repeat = AGAIN to send to them as well. If it is no repetition, create it with"
        " another family or name",
        metadata={
            "repeated": str(people.total()),
            "total": str(question.total),
            "campaign_id": latest.campaign_id,
            "start_time": latest.begin_time.isoformat(),
            "family": question.family,
        },
    )


def _people(repeated: int, total: int) -> str:
    return "the only recipient" if total == 1 else f"{repeated} of these {total} people"


def _span(span: timedelta) -> str:
    """Return a time span in the largest unit that fits, as in "2 min"."""
    seconds = max(round(span.total_seconds()), 1)
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"
