"""The steps of an SMTP conversation, and how far it has come before each is answered."""

from __future__ import annotations

import enum


class Step(enum.Enum):
    """What the server is to answer; the value is its name for people."""

    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "EHLO"
    TLS = "STARTTLS"
    LOGIN = "login"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    MESSAGE = "final dot"

    @property
    def clause(self) -> str:
        """How far the conversation has come while this step is not answered.

        A clause that follows "stopped", as in "before the server greeted".
        """
        return _CLAUSES.get(self) or f"before the server answered {self.value}"


_CLAUSES = {
    Step.CONNECT: "before there was a connection",
    Step.GREETING: "before the server greeted",
    Step.TLS: "before TLS was agreed",
    Step.LOGIN: "before the login was answered",
    Step.MESSAGE: "after the message's data was sent, before the server answered",
}
