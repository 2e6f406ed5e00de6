"""Logs: lines for people or for machines.

What an exception says may quote a text, and texts do not belong in logs: only its type is logged, and where it was.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from service.records import REQUEST_ID, Record
from service.settings import Settings

LOG = logging.getLogger("onoma.service")
ACCESS = logging.getLogger("onoma.access")


def configure(settings: Settings) -> None:
    """Send everything that is logged, by whichever library, to stderr in one form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    level = settings.log_level.upper()
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    # uvicorn looks at its own level alone to see whether it should describe every connection.
    logging.getLogger("uvicorn.error").setLevel(level)
    threading.excepthook = _thread_failed


def where(error: BaseException) -> str:
    """The type of an exception and the places it passed, and those of what caused it; nothing of what it says."""
    parts: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(parts) < 10:
        places = "".join(traceback.format_tb(cause.__traceback__))
        parts.append(f"{type(cause).__module__}.{type(cause).__qualname__}\n{places}")
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "caused by ".join(parts).rstrip("\n")


def fields(**values: object) -> dict[str, Mapping[str, object]]:
    """What a line says besides its message: `LOG.info("...", extra=fields(model="student"))`."""
    return {"fields": values}


class _Formatter(logging.Formatter):
    """What both forms share."""

    @staticmethod
    def _time(record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    @staticmethod
    def _fields(record: logging.LogRecord) -> dict[str, Any]:
        found = dict(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[1] is not None:
            found["exception"] = where(record.exc_info[1])
        return found


class JsonFormatter(_Formatter):
    """One JSON object a line: time (UTC), level, logger, message, request_id within a request, and fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line: dict[str, Any] = {
            "time": self._time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request_id := REQUEST_ID.get()) is not None:
            line["request_id"] = request_id
        for name, value in self._fields(record).items():
            line.setdefault(name, value)
        return json.dumps(line, default=str)  # in ASCII, so that nothing which is no UTF-8 can break a line


class TextFormatter(_Formatter):
    """Time, level, logger and message; then the request's id and the fields as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record; an exception takes more."""
        found = self._fields(record)
        if (request_id := REQUEST_ID.get()) is not None:
            found.setdefault("request_id", request_id)
        exception = found.pop("exception", None)
        line = f"{self._time(record)} {record.levelname} {record.name} {record.getMessage()}"
        line += "".join(f" {name}={value}" for name, value in found.items())
        return line if exception is None else f"{line}\n{exception}"


class AccessLog:
    """A line for every request (a Watcher)."""

    def answered(self, record: Record) -> None:
        """Log a request."""
        ACCESS.info(
            "%s %s %d",
            record.method,
            record.endpoint,
            record.status,
            extra=fields(
                method=record.method,
                path=record.endpoint,
                status=record.status,
                ms=round(record.seconds * 1000, 3),
                bytes=record.size,
                model=",".join(record.asked) or None,
                texts=record.texts,
            ),
        )


def loop_failed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An event loop's exception handler: the default one shows what callbacks were called with, texts among it."""
    error = context.get("exception")
    LOG.error("a task or callback failed%s", "" if error is None else f": {where(error)}")


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    error = failure.exc_value
    LOG.error("a thread failed%s", "" if error is None else f": {where(error)}")
