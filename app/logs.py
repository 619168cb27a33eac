"""What is logged, and its two forms: a line for people, or one JSON object for each event.

No key, no body and no query is ever logged: of a request its route, never its address.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from app.settings import Settings

ACCESS = logging.getLogger("tracker.access")
"""One event for each answer: at the level `info`, at `error` when the status is 500 or above."""

FIELDS = ("request_id", "method", "route", "status", "duration_ms", "key_id")
"""What an event may carry beside its message."""


class JSONLines(logging.Formatter):
    """One JSON object on a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the event: `at`, `level`, `logger`, `message`, what it carries, and any traceback."""
        event: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        event |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event, ensure_ascii=False)


class Lines(logging.Formatter):
    """A line for people, the event's fields at its end."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the time, the level and the message, then `name=value` for what it carries."""
        fields = "".join(f" {name}={getattr(record, name)}" for name in FIELDS if hasattr(record, name))
        text = f"{self.formatTime(record)} {record.levelname:7} {record.getMessage()}{fields}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def configuration(settings: Settings) -> dict[str, Any]:
    """Return how a server logs: to standard error, in the form and from the level that are set."""
    formatter = JSONLines if settings.log_format == "json" else Lines
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"set": {"()": formatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "set"}},
        "root": {"handlers": ["stderr"], "level": settings.log_level.upper()},
    }
