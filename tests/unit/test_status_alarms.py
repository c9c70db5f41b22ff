"""Which alarms a pass raises and clears, of what it found and what was announced before."""

from __future__ import annotations

from status_service.campaigns.alarms import MOST_CHANGES, STALLED, Alarm, due
from status_service.campaigns.open_campaigns import Noticed
from status_service.domain import Diagnosis
from status_service.recording.outbox import FAILURE_RATE_HIGH
from status_service.recording.types import CampaignKey


def noticed(name: str, *, stalled: bool = False, fails: bool = False) -> Noticed:
    """Return an open campaign that a pass found."""
    return Noticed(
        CampaignKey("default", name),
        is_full=False,
        diagnosis=Diagnosis.IN_PROGRESS,
        needs_attention=stalled,
        fails_often=fails,
    )


def alarm(name: str, kind: str = STALLED) -> Alarm:
    """Return what was, or is to be, announced of a campaign."""
    return Alarm(CampaignKey("default", name), kind)


def test_each_alarm_is_raised_once_and_cleared_when_it_is_over() -> None:
    """A campaign may have both; one that is only full calls for none."""
    found = [
        noticed("both", stalled=True, fails=True),
        noticed("full"),
        noticed("known", stalled=True),
    ]
    before = [alarm("known"), alarm("known", FAILURE_RATE_HIGH), alarm("gone")]
    new, over = due(found, before)
    assert new == [alarm("both"), alarm("both", FAILURE_RATE_HIGH)]
    assert sorted(over) == sorted([alarm("known", FAILURE_RATE_HIGH), alarm("gone")])
    assert due(found[2:], [alarm("known")]) == ([], [])


def test_b1_a_pass_raises_and_clears_so_many_and_leaves_the_rest_to_the_next() -> None:
    """In the order in which they were found."""
    many = [noticed(f"c{number}", stalled=True) for number in range(MOST_CHANGES + 1)]
    new, over = due(many, [])
    assert (new, over) == ([alarm(one.key.campaign_id) for one in many[:-1]], [])
    new, over = due([], [*new, alarm("last")])
    assert (new, len(over)) == ([], MOST_CHANGES)
