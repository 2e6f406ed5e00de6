"""An HTTP server in a thread, whose answers a test decides: for the load generators."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class TinyServer:
    """What came, and where it listens."""

    port: int = 0
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    cut_short: int = 0


def response(status: int = 200, body: bytes = b"{}", *, head: str = "") -> bytes:
    """A response of HTTP/1.1."""
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


# Writes the answer to the request of this number (from 0).
Answer = Callable[[int, asyncio.StreamWriter], Awaitable[None]]


async def good(number: int, writer: asyncio.StreamWriter) -> None:
    """Always 200."""
    writer.write(response())


@contextmanager
def tiny_server(answer: Answer = good) -> Iterator[TinyServer]:
    """Run a server."""
    server = TinyServer()
    loop = asyncio.new_event_loop()
    started = threading.Event()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        server.connections += 1
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
                body = await reader.readexactly(length)
                server.bodies.append(body)
                await answer(len(server.bodies) - 1, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            server.cut_short += bool(getattr(error, "partial", b""))
        finally:
            tasks.discard(task)
            writer.close()

    async def main() -> asyncio.Server:
        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        server.port = listening.sockets[0].getsockname()[1]
        started.set()
        return listening

    async def end(listening: asyncio.Server) -> None:
        listening.close()
        await asyncio.sleep(0.01)  # those being accepted
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def run() -> None:
        asyncio.set_event_loop(loop)
        listening = loop.run_until_complete(main())
        loop.run_forever()
        loop.run_until_complete(end(listening))
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    started.wait(5)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
