"""The behaviour of a test provider, scripted by the recipient's address.

The part before ``+`` is the script, as in ``refuse550+ann@example.com``:

``refuse550``      550 to the recipient (any code from 500)
``defer451``       451 to the recipient (any code from 400), every time
``defer451once``   the same at the first attempt only
``reject554``      554 to the message (any code from 300)
``reject451once``  the same at the first attempt only
``421``            421 to the recipient, and the connection closes
``421once``        the same at the first attempt only
``cut``            the connection breaks at the recipient
``cutonce``        the same at the first attempt only
``stall``          no answer to the recipient
``drop-after-data``    the message is accepted and in the ledger; the connection breaks
``drop-before-accept`` the connection breaks after the message; not accepted
``hang``           no answer to the message; not accepted

Anything else is accepted.
"""

from __future__ import annotations

import re

from closeout_cli.demo.provider import Move

_SCRIPT = re.compile(
    r"(?P<word>refuse|defer|reject|cut|stall|hang|drop-after-data|drop-before-accept|(?=421))"
    r"(?P<code>[345]\d\d)?(?P<once>once)?\+.*"
)
_MESSAGE_MOVES = {
    "hang": Move.HANG,
    "drop-after-data": Move.ACCEPT_AND_CUT,
    "drop-before-accept": Move.CUT,
}


class Script:
    """Choose the behaviour by the address, and remember one-time behaviour."""

    def __init__(self) -> None:
        self._done: set[str] = set()

    def on_recipient(self, address: str) -> Move | str:
        """Return the behaviour at the recipient."""
        match = self._match(address, "refuse", "defer", "cut", "stall", "")
        if match is None:
            return Move.ACCEPT
        if match["word"] in ("cut", "stall"):
            return Move.CUT if match["word"] == "cut" else Move.HANG
        return f"{match['code']} {match['code'][0]}.1.1 as the address asks"

    def on_message(self, address: str) -> Move | str:
        """Return the behaviour after the message."""
        match = self._match(address, "reject", *_MESSAGE_MOVES)
        if match is None:
            return Move.ACCEPT
        if match["word"] in _MESSAGE_MOVES:
            return _MESSAGE_MOVES[match["word"]]
        return f"{match['code']} {match['code'][0]}.7.1 as the address asks"

    def _match(self, address: str, *words: str) -> re.Match[str] | None:
        match = _SCRIPT.fullmatch(address)
        if match is None or match["word"] not in words:
            return None
        if match["once"]:
            if address in self._done:
                return None
            self._done.add(address)
        return match
