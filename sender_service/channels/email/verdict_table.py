"""What each answer of a mail server means: a table, of which the first row that fits counts.

Rows for the provider as a whole come before those for the recipient where the words are
clear; the last rows catch all that is left, by the first digit.

The example of a row is in the words of Gmail, Microsoft 365, Amazon SES, SendGrid, Postfix,
Exim or Sendmail, from their documentation or source. A test judges it, and
``docs/verdicts.md`` shows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sender_service.channels.email.recipient_verdicts import RECIPIENT_ROWS
from sender_service.channels.email.sender_verdicts import SENDER_ROWS
from sender_service.channels.email.session_verdicts import SESSION_ROWS

if TYPE_CHECKING:
    from sender_service.channels.email.verdict_row import Row

TABLE: tuple[Row, ...] = (*SESSION_ROWS, *SENDER_ROWS, *RECIPIENT_ROWS)
