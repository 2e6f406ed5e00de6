"""A real server in a thread, and streams through a real socket."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI

from service.draining import DrainingServer


@contextmanager
def listening(app: FastAPI) -> Iterator[tuple[int, DrainingServer]]:
    """The port of a server of `app`, and the server, which ends with the block."""
    server = DrainingServer(app)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, name="uvicorn")
        thread.start()
        try:
            until = time.monotonic() + 10
            while server.acceptor is None:
                assert thread.is_alive() and time.monotonic() < until, "the server did not start"
                time.sleep(0.005)
            yield bound.getsockname()[1], server
        finally:
            server.should_exit = True
            thread.join(15)
            assert not thread.is_alive(), "the server did not stop"


class Caller:
    """A client of /ner/stream that writes HTTP by hand, and reads while it writes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def call(cls, port: int, *headers: str) -> Caller:
        """Begin a request; `limit` is small, so that it does not read ahead much."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
        head = ["POST /ner/stream HTTP/1.1", "host: onoma", "transfer-encoding: chunked", *headers, "", ""]
        writer.write("\r\n".join(head).encode())
        return cls(reader, writer)

    async def head(self) -> list[str]:
        """The next head of an answer, its lines."""
        async with asyncio.timeout(10):
            return (await self.reader.readuntil(b"\r\n\r\n")).decode().splitlines()[:-1]

    def say(self, *lines: object) -> None:
        """Send lines as a chunk of the body."""
        body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        self.writer.write(b"%x\r\n%s\r\n" % (len(body), body))

    def finish(self) -> None:
        self.writer.write(b"0\r\n\r\n")

    async def chunk(self) -> list[dict[str, Any]]:
        """The lines of the next chunk of the answer; none at its end."""
        async with asyncio.timeout(10):
            size = int(await self.reader.readline(), 16)
            body = await self.reader.readexactly(size + 2)
        return [json.loads(line) for line in body.splitlines() if line]

    async def rest(self) -> list[dict[str, Any]]:
        """All lines up to the end of the answer."""
        lines: list[dict[str, Any]] = []
        while chunk := await self.chunk():
            lines += chunk
        return lines

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()
