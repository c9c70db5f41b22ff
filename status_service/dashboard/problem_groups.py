"""What a scan for problems found, as the page shows it: three groups; pure code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from status_service.campaigns.wording import number
from status_service.dashboard import formats
from status_service.domain import Diagnosis

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from status_service.campaigns.repair import Finding

#: Campaigns shown of those that can be fixed, and of those that need a person.
SHOWN = 100
#: Campaigns shown of those that are left alone.
SHOWN_ALONE = 20
_IN_WORDS = {Diagnosis.IN_PROGRESS: "in progress", Diagnosis.PAUSED: "paused"}


@dataclass(frozen=True, slots=True)
class Found:
    """A campaign in a group.

    Attributes:
        campaign_id: its id.
        name: what people call it.
        diagnosis: what is the matter with it.
        sentence: how it stands.
        is_paused: whether it can be resumed.
    """

    campaign_id: str
    name: str
    diagnosis: str
    sentence: str
    is_paused: bool


@dataclass(frozen=True, slots=True)
class Scan:
    """What a scan found, in bounded memory however many campaigns are open.

    Attributes:
        moment: when it was made.
        looked_at: how many campaigns were open.
        fixable: the first of those that a repair mends.
        fixable_count: how many those are.
        needy: the first of those that need a person.
        needy_count: how many those are.
        alone: the first of the others.
        alone_count: how many those are.
        more_alone: what the others are that are not shown; empty: all are shown.
    """

    moment: datetime
    looked_at: int
    fixable: Sequence[Found]
    fixable_count: int
    needy: Sequence[Found]
    needy_count: int
    alone: Sequence[Found]
    alone_count: int
    more_alone: str

    @property
    def heading(self) -> str:
        """What a colleague would be written."""
        return heading(self.fixable_count, self.needy_count)

    @property
    def title(self) -> str:
        """The same in figures, for the title of a page."""
        parts = [f"{number(self.fixable_count)} to fix"] if self.fixable_count else []
        if self.needy_count:
            need = formats.plural(self.needy_count, "needs", "need")
            parts.append(f"{number(self.needy_count)} {need} a person")
        return ", ".join(parts) or "Nothing to fix"


def group(findings: Iterable[Finding], moment: datetime) -> Scan:
    """Return the groups of what RepairCampaigns with ``dry_run`` found.

    Args:
        findings: of each open campaign.
        moment: when they were read.
    """
    fixable: list[Finding] = []
    needy: list[Finding] = []
    alone: list[Finding] = []
    for found in findings:
        if not found.is_open:
            continue  # it ended since it was listed
        if found.repaired:
            fixable.append(found)
        else:
            (needy if found.needs_attention else alone).append(found)
    return Scan(
        moment=moment,
        looked_at=len(fixable) + len(needy) + len(alone),
        fixable=list(map(_found, fixable[:SHOWN])),
        fixable_count=len(fixable),
        needy=list(map(_found, needy[:SHOWN])),
        needy_count=len(needy),
        alone=list(map(_found, alone[:SHOWN_ALONE])),
        alone_count=len(alone),
        more_alone=_more(alone[SHOWN_ALONE:]),
    )


def _found(finding: Finding) -> Found:
    row = finding.campaign
    is_paused = finding.diagnosis is Diagnosis.PAUSED
    sentence = finding.explanation.partition("\n")[0]
    return Found(
        row.campaign_id,
        row.display_name or row.campaign_id,
        str(finding.diagnosis),
        f"{sentence} {finding.action}" if _is_said(finding) else sentence,
        is_paused,
    )


def _is_said(finding: Finding) -> bool:
    """Return whether the row says what to do: a button or a page does it elsewhere."""
    return finding.repaired or finding.diagnosis is Diagnosis.NEVER_STARTED


def _more(others: Sequence[Finding]) -> str:
    if not others:
        return ""
    parts = []
    for diagnosis, name in _IN_WORDS.items():
        count = sum(found.diagnosis is diagnosis for found in others)
        if count:
            parts.append(f"{number(count)} {name}")
    return f"and {number(len(others))} more: {', '.join(parts)}."


def heading(fixable: int, needy: int) -> str:
    """Return the heading of a page for so many campaigns of each kind."""
    if not fixable and not needy:
        return "Nothing to fix, and nobody is needed"
    if not fixable:
        needed = formats.plural(needy, "campaign needs", "campaigns need")
        return f"Nothing to fix, and {formats.in_words(needy)} {needed} a person"
    fix = formats.plural(fixable, "campaign", "campaigns")
    fixed = f"{formats.in_words(fixable, capital=True)} {fix} can be fixed"
    if not needy:
        return f"{fixed}, and nobody is needed"
    return f"{fixed}, {formats.in_words(needy)} {formats.plural(needy, 'needs', 'need')} a person"
