"""How all campaigns are, in two sentences; pure code."""

from __future__ import annotations

from status_service.dashboard.formats import in_words, plural


def heading(needy: int) -> str:
    """Return how many campaigns need a person."""
    if not needy:
        return "Nothing needs a person"
    needs = plural(needy, "campaign needs", "campaigns need")
    return f"{in_words(needy, capital=True)} {needs} a person"


def lede(needy: int, others: int) -> str:
    """Return how the other open campaigns are."""
    noun = "other" if needy else "campaign"
    if not others:
        return f"No {noun} is open."
    word = in_words(others, capital=True)
    if others == 1:
        return f"{word} {noun} is open, and nothing is wrong with it."
    return f"{word} {noun}s are open, and nothing is wrong with them."
