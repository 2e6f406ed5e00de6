"""A client that sends what httpx would not: any bytes as headers, bodies in any chunks, half a body and gone.

It also checks the app's side of ASGI.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message

Headers = Sequence[tuple[bytes, bytes]]
SECONDS = 20


def no_constant(name: str) -> float:
    """For `json.loads`, which takes NaN and Infinity otherwise."""
    raise ValueError(f"{name} is no JSON")


@dataclass(frozen=True)
class Answer:
    """What came back; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, which must be JSON for the strictest of parsers: UTF-8, no NaN, no lone surrogates."""
        content = json.loads(self.body.decode("utf-8"), parse_constant=no_constant)
        json.dumps(content, ensure_ascii=False).encode("utf-8")
        return content


async def ask(
    app: ASGIApp,
    *chunks: bytes,
    headers: Headers = (),
    method: str = "POST",
    path: str = "/ner",
    gone: bool = False,
) -> Answer | None:
    """One request whose body comes in `chunks`.

    :param gone: the client closes the connection when it has sent them, before the end of its body; else it stays until
        it has the whole answer.
    :return: None only for a client that is gone and got no answer.
    """
    waiting = list(chunks) or [b""]
    answered = asyncio.Event()
    sent: list[Message] = []

    async def receive() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(0), "more_body": gone or bool(waiting)}
        if not gone:
            await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        assert not answered.is_set(), "a message after the end of the answer"
        assert message["type"] == ("http.response.body" if sent else "http.response.start")
        sent.append(message)
        if len(sent) > 1 and not message.get("more_body", False):
            answered.set()

    async with asyncio.timeout(SECONDS):  # a request that hangs should say so
        await app(_scope(method, path, headers), receive, send)
    if gone and not sent:
        return None
    assert answered.is_set(), "the app returned without a whole answer"
    start, *bodies = sent
    found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in start["headers"]}
    assert len(found) == len(start["headers"]), f"a header twice: {start['headers']}"
    body = b"".join(message.get("body", b"") for message in bodies)
    assert int(found.get("content-length", len(body))) == len(body)
    return Answer(start["status"], found, body)


def _scope(method: str, path: str, headers: Headers) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"onoma"), *headers],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8_000),
        "state": {},
    }
