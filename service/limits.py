"""Limits around every request, as plain ASGI: request id, body size, time and outcome, the last net for errors."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
import uuid
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLarge, ServiceError, error_response
from service.logs import where
from service.metrics import Metrics
from service.records import METHODS, REQUEST_ID, Record, Watcher, close_record, open_record
from service.security import secured

LOG = logging.getLogger("onoma.service")

_SANE_ID = re.compile(rb"[A-Za-z0-9._:\-]{1,128}")
_DISCARDED_BYTES, _DISCARD_SECONDS = 64 * 1024 * 1024, 5.0
ENDPOINTS = frozenset(
    {
        *("/", "/ner", "/ner/stream", "/embed", "/similarity", "/v1/embeddings"),
        *("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"),
    }
)

UNBOUNDED = frozenset({"/ner/stream"})
"""Endpoints whose bodies may have any size."""


class BrokenOff(Exception):
    """An answer ended in the middle: whatever serves the app closes the connection."""


def request_id_of(scope: Scope) -> str:
    """The `x-request-id` of a request if it is a sane one, else a new one."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return given.decode("ascii") if _SANE_ID.fullmatch(given) else uuid.uuid4().hex


class RequestContext:
    """Gives each request an id, answers errors nobody caught, and measures every answer.

    A sane `x-request-id` is kept, so that a request can be followed through several services.

    :param watchers: told of every request that is over; none: nothing is noted for them.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, watchers: Sequence[Watcher] = ()) -> None:
        self._app = app
        self._metrics = metrics
        self._watchers = watchers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        token = REQUEST_ID.set(request_id)
        began = time.monotonic()
        record = open_record(request_id, scope, began) if self._watchers else None
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = secured(
                    (*message.get("headers", ()), (b"x-request-id", request_id.encode("ascii")))
                )
            elif record is not None:
                record.size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ServiceError as error:
            if status:
                raise BrokenOff from None
            await self._refuse(error, request_id, scope, receive, send_with_id)
        except Exception as error:
            LOG.error("request %s failed: %s", request_id, where(error))
            if status:
                # Not the error itself: who serves the app logs what it says, and that may quote a text.
                raise BrokenOff from None
            failure = ServiceError("internal error; the log of the server has more under this request_id")
            await self._refuse(failure, request_id, scope, receive, send_with_id)
        finally:
            seconds = time.monotonic() - began
            endpoint = _endpoint(scope)
            self._metrics.requests.labels(endpoint, str(status)).observe(seconds)
            if record is not None:
                record.endpoint, record.status, record.seconds = endpoint, status, seconds
                self._tell(record)
            REQUEST_ID.reset(token)

    def _tell(self, record: Record) -> None:
        close_record()
        method = record.scope["method"]
        record.method = method if method in METHODS else "OTHER"
        for watcher in self._watchers:
            watcher.answered(record)

    async def _refuse(self, error: ServiceError, request_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        self._metrics.errors.labels(code=error.code).inc()
        await error_response(error, request_id, path=scope["path"])(scope, receive, send)


def _endpoint(scope: Scope) -> str:
    """The path as a template: never what a client made up."""
    path: str = scope["path"]
    return path if path in ENDPOINTS else getattr(scope.get("route"), "path", "other")


async def _discard(receive: Receive) -> None:
    """Read away the rest of a body, within reason.

    A client that is still sending when the connection closes sees a reset instead of the answer.
    """
    left = _DISCARDED_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return


class BodyLimit:
    """Refuses bodies over a size: at once when announced, otherwise as soon as too much has come.

    A stream may be of any length, it is never held as a whole.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] in UNBOUNDED:
            await self._app(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if announced.isdigit() and (len(announced) > 18 or int(announced) > self._max_bytes):
            if not any(name == b"expect" for name, _ in scope["headers"]):  # that client waits for leave to send
                await _discard(receive)
            raise self._error(announced.decode("ascii")[:20])
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > self._max_bytes:
                    if message.get("more_body", False):
                        await _discard(receive)
                    raise self._error(f"at least {seen}")
            return message

        await self._app(scope, counted, send)

    def _error(self, size: str) -> BodyTooLarge:
        return BodyTooLarge(f"the body may have {self._max_bytes} bytes, got {size}; send several requests")
