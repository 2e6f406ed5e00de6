"""Limits around every request, as plain ASGI: request id, body size, time and outcome, the last net for errors."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
import traceback
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLarge, ServiceError, error_response
from service.metrics import Metrics

LOG = logging.getLogger("onoma.service")

_SANE_ID = re.compile(rb"[A-Za-z0-9._:\-]{1,128}")
_DISCARDED_BYTES, _DISCARD_SECONDS = 64 * 1024 * 1024, 5.0
ENDPOINTS = frozenset({"/", "/ner", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"})


class RequestContext:
    """Gives each request an id, answers errors nobody caught, and measures every answer.

    A sane `x-request-id` is kept, so that a request can be followed through several services.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = given.decode("ascii") if _SANE_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        began = time.monotonic()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode("ascii"))]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            # Where, not what: an exception's message may quote a text, and texts do not belong in logs.
            where = "".join(traceback.format_tb(error.__traceback__))
            LOG.error("request %s failed: %s\n%s", request_id, type(error).__name__, where)
            if status:
                raise
            failure = ServiceError("internal error; the log of the server has more under this request_id")
            self._metrics.errors.labels(code=failure.code).inc()
            await error_response(failure, request_id)(scope, receive, send_with_id)
        finally:
            endpoint = scope["path"] if scope["path"] in ENDPOINTS else "other"
            self._metrics.requests.labels(endpoint=endpoint, status=str(status)).observe(time.monotonic() - began)


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
    """Refuses bodies over a size: at once when announced, otherwise as soon as too much has come."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, max_bytes: int) -> None:
        self._app = app
        self._metrics = metrics
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if announced.isdigit() and (len(announced) > 18 or int(announced) > self._max_bytes):
            error = self._error(announced.decode("ascii")[:20])
            self._metrics.errors.labels(code=error.code).inc()
            if not any(name == b"expect" for name, _ in scope["headers"]):  # that client waits for leave to send
                await _discard(receive)
            await error_response(error, scope["state"]["request_id"])(scope, receive, send)
            return
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
