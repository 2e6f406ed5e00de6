"""A refused body is read away, so that a client still sending gets the answer and not a reset."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import service.limits
from service.limits import BodyLimit, RequestContext
from service.metrics import Metrics


def ask(chunks: int, *, headers: list[tuple[bytes, bytes]], hangs: bool = False) -> tuple[int, int]:
    """Send `chunks` of 100 bytes to a service that takes 250; returns the status and how many were read."""
    read = 0

    async def receive() -> dict[str, Any]:
        nonlocal read
        if read == chunks:
            await asyncio.sleep(60 if hangs else 0)
            return {"type": "http.disconnect"}
        read += 1
        return {"type": "http.request", "body": b"a" * 100, "more_body": hangs or read < chunks}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("the body never reaches the app")

    limit = RequestContext(BodyLimit(app, max_bytes=250), metrics=Metrics())
    scope = {"type": "http", "path": "/ner", "headers": headers}
    asyncio.run(limit(scope, receive, send))
    return sent[0]["status"], read


def test_an_announced_body_is_read_away() -> None:
    assert ask(5, headers=[(b"content-length", b"500")]) == (413, 5)


def test_a_client_that_waits_for_leave_gets_its_answer_at_once() -> None:
    assert ask(5, headers=[(b"content-length", b"500"), (b"expect", b"100-continue")]) == (413, 0)


def test_no_more_is_read_than_reasonable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.limits, "_DISCARDED_BYTES", 300)
    assert ask(50, headers=[(b"content-length", b"5000")]) == (413, 3)


def test_a_client_that_stops_sending_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.limits, "_DISCARD_SECONDS", 0.05)
    assert ask(2, headers=[(b"content-length", b"5000")], hangs=True) == (413, 2)
