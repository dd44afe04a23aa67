"""How the gateway's processes log: JSON lines on standard error, INFO and above, never a word of a prompt or an answer."""

from __future__ import annotations

import logging
import sys

import structlog


def configure(process: str) -> None:
    """Set up this process' logging; `process` stands in every line."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    structlog.contextvars.bind_contextvars(process=process)
