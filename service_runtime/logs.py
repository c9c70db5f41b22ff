"""Configure the log: readable on a terminal, JSON elsewhere, ids and numbers only.

Both services log through :mod:`structlog`, to standard error.
"""

from __future__ import annotations

import logging
import sys

import structlog


class _CancelledStreams(logging.Filter):
    """Drop grpc's ERROR about a stream that its client cancelled: this is normal."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and "CancelledError" in str(record.exc_info[0]))


def configure_logs(level: str, *, service: str) -> None:
    """Send the log lines of the project and of libraries to standard error.

    Args:
        level: debug, info, warning or error.
        service: the value of ``service`` in every line.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(terminal=sys.stderr.isatty()),
            ],
        )
    )
    logging.getLogger("grpc._cython.cygrpc").addFilter(_CancelledStreams())
    # Its lines are internal; ``database_migrated`` reports a migration.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _renderers(*, terminal: bool) -> list[structlog.typing.Processor]:
    # Stacks are plain text: richer formats log the values of local variables, such as
    # addresses and passwords.
    if terminal:
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(exception_formatter=plain)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
