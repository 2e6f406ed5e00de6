"""Corking: the head and the body of an answer leave in one packet.

uvicorn writes them one after the other, each with a system call and a wake-up of the client, which together take about
as long as everything else that HTTP costs a short request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_LARGE = 65_536  # bytes
FIRST_SECONDS = 1.0
"""How long a connection without a request may stay when the server stops."""


class CorkedTransport:
    """A transport that joins what is written between two turns of the event loop."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Write, with whatever else is written before the loop turns."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)
        self._size += len(data)
        if self._size >= _LARGE:  # so that a long answer is held up by a client that does not read it
            self.flush()

    def flush(self) -> None:
        """Write what has gathered."""
        if self._parts:
            parts, self._parts, self._size = self._parts, [], 0
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def close(self) -> None:
        """Close once everything is written."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class CorkedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP on such a transport; told to stop, it answers a request that is on its way on a new connection."""

    lost: Callable[[], None] | None = None
    """Called when the connection is over."""
    _last = False  # whether the next request is the last of this connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the event loop for a new connection."""
        super().connection_made(CorkedTransport(transport, self.loop))  # type: ignore[arg-type]

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop when the connection is over."""
        super().connection_lost(exc)
        if self.lost is not None:
            self.lost()

    def shutdown(self) -> None:
        """Called by uvicorn when the server stops: close, as soon as nothing is under way."""
        if self.cycle is not None:
            super().shutdown()
            return
        # uvicorn would close it at once, and what the client has sent would be lost.
        self._last = True
        self.loop.call_later(FIRST_SECONDS, self._close_unused)

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        super().on_headers_complete()
        if self._last and self.cycle is not None:
            self.cycle.keep_alive = False

    def _close_unused(self) -> None:
        if self.cycle is None:
            self.transport.close()
