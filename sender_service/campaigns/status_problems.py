"""Why nothing of an organisation is reported at the moment, by organisation."""

from __future__ import annotations

from datetime import UTC, datetime

from sender_service.domain import Problem, ProblemKind

#: The setting that has the sender's key.
KEY_SETTING = "[sender] status_api_key_file"
#: What is wrong when the status service refuses the sender itself.
KEY_REFUSED = "the status service refuses the sender's key, so nothing is sent"


class StatusProblems:
    """The problems that the sender has with the status service, at most one an organisation.

    Attributes:
        times_regained: how often it answered again; each time it may be a restored one.
    """

    def __init__(self) -> None:
        self._problems: dict[str, Problem] = {}
        self.times_regained = 0

    def of(self, organisation: str) -> Problem | None:
        """Return why nothing of an organisation is reported; None: it is."""
        return self._problems.get(organisation)

    def lost(self, organisation: str, why: str) -> bool:
        """Note why the status service can't be reached; False if that lasts already."""
        problem = Problem(
            ProblemKind.STATUS_SERVICE_UNREACHABLE,
            "the status service does not answer",
            detail=why,
            setting="[sender] status_address",
        )
        return self._note(organisation, problem)

    def refused(self, organisation: str, why: str) -> bool:
        """Note why the status service refuses the sender; False if that lasts already."""
        problem = Problem(
            ProblemKind.STATUS_SERVICE_REFUSES,
            KEY_REFUSED,
            detail=why,
            setting=KEY_SETTING,
            needs_attention=True,
        )
        return self._note(organisation, problem)

    def regained(self, organisation: str) -> bool:
        """Note that the status service answers; False if it did before."""
        if self._problems.pop(organisation, None) is None:
            return False
        self.times_regained += 1
        return True

    def forget(self, organisation: str) -> None:
        """Know nothing of an organisation of which nothing is to be reported."""
        self._problems.pop(organisation, None)

    def _note(self, organisation: str, problem: Problem) -> bool:
        before = self._problems.get(organisation)
        lasts = before is not None and before.kind is problem.kind
        since = before.since_time if before is not None and lasts else datetime.now(UTC)
        self._problems[organisation] = Problem(
            problem.kind,
            problem.summary,
            detail=problem.detail,
            setting=problem.setting,
            since_time=since,
            needs_attention=problem.needs_attention,
        )
        return not lasts
