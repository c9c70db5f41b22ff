"""An SMTP server for tests: the address of a recipient scripts the answer.

In a test: ``async with smtp_provider.scripted() as provider: … provider.port``.
As a process: ``python tests/providers/smtp_provider.py --port 0 --ledger FILE``.

With ``--steps FILE`` the process can also fall silent, answer with an error or hang up
at any step, the greeting included, as the file says at that moment; ``--seen FILE`` gets
a line for every step. ``--certificate FILE`` is a PEM file with key and certificate: the
process then offers STARTTLS, or with ``--tls-from-start`` begins with TLS, and ``--login
USER:PASSWORD`` asks for a login. See :mod:`providers.stepped_smtp`.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import ssl
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as pytest's pythonpath does it
    sys.path.insert(0, str(Path(__file__).parent.parent))

from closeout_cli.demo.ledger import Ledger
from closeout_cli.demo.provider import SmtpProvider
from providers.scripts import Script
from providers.stepped_smtp import SteppedProvider, write_steps

__all__ = ["Ledger", "SmtpProvider", "SteppedProvider", "scripted", "write_steps"]


def scripted(**options: Any) -> SmtpProvider:
    """Return a provider that follows the script in each address."""
    return SmtpProvider(Script(), **options)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 for any free one")
    parser.add_argument("--ledger", type=Path, help="file to append accepted messages to")
    parser.add_argument("--latency-seconds", type=float, default=0.0)
    parser.add_argument("--steps", type=Path, help="file of the rules for steps")
    parser.add_argument("--seen", type=Path, help="file to append each step to")
    parser.add_argument("--certificate", type=Path, help="PEM file with key and certificate")
    parser.add_argument("--tls-from-start", action="store_true")
    parser.add_argument("--login", help="USER:PASSWORD")
    return parser.parse_args()


def _provider(arguments: argparse.Namespace) -> SmtpProvider | SteppedProvider:
    place = {
        "host": arguments.host,
        "port": arguments.port,
        "ledger": Ledger(arguments.ledger),
    }
    if arguments.steps is None:
        return scripted(latency_seconds=arguments.latency_seconds, **place)
    tls = None
    if arguments.certificate is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(arguments.certificate)
    user, _, password = (arguments.login or "").partition(":")
    return SteppedProvider(
        steps_file=arguments.steps,
        seen_file=arguments.seen,
        tls=tls,
        tls_from_start=arguments.tls_from_start,
        login=(user, password) if user else None,
        **place,
    )


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with _provider(arguments) as provider:
        sys.stdout.write(f"provider listening on {provider.host}:{provider.port}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(_serve(_arguments()))
