"""Logs: structlog on standard error, in one line an event, with secrets redacted whatever wrote them.

People at a terminal get aligned lines; anything else gets ``key=value`` for a log collector. Libraries that log through the
standard library (uvicorn, botocore, httpx) pass the same processors, and below a warning they stay silent unless asked.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import structlog

from archiver.cli.output import has_colour, is_terminal, printable
from archiver.cli.redact import redact, redact_value

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

_TWICE = 2


def set_up(*, quiet: bool, verbosity: int) -> None:
    """Send every log of this process to standard error; ``verbosity`` 0 logs what an operator wants, 1 details, 2 libraries too."""
    level = logging.WARNING if quiet else logging.DEBUG if verbosity else logging.INFO
    library_level = logging.DEBUG if verbosity >= _TWICE else logging.WARNING
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact_processor,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer()],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(library_level)
    logging.getLogger("archiver").setLevel(level)
    # They print whole requests, credentials included, at their finest level.
    for talkative in ("botocore", "boto3", "urllib3", "httpcore", "s3transfer", "hpack"):
        logging.getLogger(talkative).setLevel(logging.WARNING)


def redact_processor(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Replace every secret and control character in a log event; the sentence is redacted by shape, its fields by name too."""
    del logger, method
    for name, value in event.items():
        clean = redact(value) if name == "event" and isinstance(value, str) else redact_value(name, value)
        event[name] = printable(clean) if isinstance(clean, str) else clean
    return event


def _renderer() -> Processor:
    if is_terminal(sys.stderr):
        return structlog.dev.ConsoleRenderer(colors=has_colour(sys.stderr))
    return structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], drop_missing=True)
