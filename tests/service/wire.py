"""A client of streams at the level of ASGI, which decides when it sends and when it reads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import ASGIApp, Message


class Wire:
    """One request to /ner/stream that is under way.

    :param received: bytes of the body that the app has asked for.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.lines: list[dict[str, Any]] = []
        self.over = False
        self.received = 0
        self.asked = 0  # calls of receive
        self.reads = asyncio.Event()
        self.reads.set()
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._changed = asyncio.Event()
        self._rest = b""

    def say(self, *lines: object, more: bool = True) -> None:
        """Send lines in one chunk; bytes go as they are."""
        body = b"".join(one if isinstance(one, bytes) else json.dumps(one).encode() + b"\n" for one in lines)
        self._to_app.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def finish(self) -> None:
        """End the body."""
        self.say(more=False)

    async def taken(self) -> None:
        """Wait until the app has received all that was sent."""
        await self._to_app.join()

    def hang_up(self) -> None:
        self._to_app.put_nowait({"type": "http.disconnect"})

    async def answers(self, count: int) -> list[dict[str, Any]]:
        """All lines so far, when there are that many."""
        async with asyncio.timeout(10):
            while len(self.lines) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.lines

    async def receive(self) -> Message:
        self.asked += 1
        message = await self._to_app.get()
        self._to_app.task_done()
        self.received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        assert not self.over
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            assert self.status != 200 or self.headers["content-type"] == "application/x-ndjson"
        elif self.status != 200:
            self.over = True
        else:
            *whole, self._rest = (self._rest + message.get("body", b"")).split(b"\n")
            self.lines += map(json.loads, whole)
            self.over = not message.get("more_body", False)
            assert not (self.over and self._rest), "the last line has no end"
        self._changed.set()


@asynccontextmanager
async def streaming(app: ASGIApp, query: str = "", *, wire: Wire | None = None) -> AsyncIterator[Wire]:
    """A stream; at the end of the block the app must have ended it."""
    wire = wire or Wire()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/ner/stream",
        "raw_path": b"/ner/stream",
        "root_path": "",
        "query_string": query.encode(),
        "headers": [],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8_000),
        "state": {},
    }
    task = asyncio.ensure_future(app(scope, wire.receive, wire.send))
    try:
        yield wire
        async with asyncio.timeout(10):
            await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
