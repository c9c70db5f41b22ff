"""An SMTP server for tests: the address of a recipient scripts the answer.

In a test: ``async with smtp_provider.scripted() as provider: … provider.port``.
As a process: ``python tests/providers/smtp_provider.py --port 0 --ledger FILE``.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as pytest's pythonpath does it
    sys.path.insert(0, str(Path(__file__).parent.parent))

from closeout_cli.demo.ledger import Ledger
from closeout_cli.demo.provider import SmtpProvider, parse_arguments, serve
from providers.scripts import Script

__all__ = ["Ledger", "SmtpProvider", "scripted"]


def scripted(**options: Any) -> SmtpProvider:
    """Return a provider that follows the script in each address."""
    return SmtpProvider(Script(), **options)


if __name__ == "__main__":
    asyncio.run(serve(parse_arguments(None, __doc__), Script()))
