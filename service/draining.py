"""Draining: uvicorn around an app, which says that it is about to stop before it stops."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.corking import CorkedProtocol
from service.health import Health
from service.runtime import Runtime


class DrainingServer(uvicorn.Server):
    """Turns /readyz to 503 at the first SIGTERM and stops `drain_seconds` later; a second signal stops at once."""

    def __init__(self, app: FastAPI) -> None:
        runtime: Runtime = app.state.runtime
        settings = runtime.settings
        super().__init__(
            uvicorn.Config(
                app,
                http=CorkedProtocol,
                log_config=None,
                access_log=False,  # the metrics count requests; a line per request costs more than a small answer
                server_header=False,
                proxy_headers=False,  # nothing here depends on the client's address
                timeout_graceful_shutdown=settings.shutdown_seconds,
            )
        )
        self._health: Health = runtime.health
        self._drain_seconds = settings.drain_seconds
        self._signal: tuple[int, FrameType | None] | None = None
        self._stop_at = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by uvicorn for SIGTERM and SIGINT."""
        self._health.drain()
        if self._signal is not None or not self._drain_seconds:
            super().handle_exit(sig, frame)
            return
        self._signal = (sig, frame)
        self._stop_at = time.monotonic() + self._drain_seconds

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second; True ends the server."""
        if self._signal is not None and time.monotonic() >= self._stop_at:
            self._stop_at = float("inf")
            super().handle_exit(*self._signal)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn when no more connections are to be accepted; waits for the requests under way."""
        self._health.close()
        await self._accept_last(sockets or [])
        await super().shutdown(sockets)

    async def _accept_last(self, sockets: list[socket.socket]) -> None:
        """Accept the connections that wait, and no others.

        The kernel resets those that wait when the socket is closed, although their clients have been told that they are
        open and have sent their requests.
        """
        waiting = [connection for one in sockets for connection in _accepted(one)]
        for server in self.servers:
            server.close()
        for one in sockets:
            one.close()
        loop = asyncio.get_running_loop()
        for connection in waiting:
            await loop.connect_accepted_socket(self._protocol, connection)
        # What the loop itself has accepted uvicorn knows only a turn later; it does not close what it does not know.
        await asyncio.sleep(0)

    def _protocol(self) -> CorkedProtocol:
        return CorkedProtocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)


def _accepted(listener: socket.socket) -> Iterator[socket.socket]:
    """The connections that wait at a socket that does not block."""
    with contextlib.suppress(BlockingIOError):  # there are none, or another process was faster
        while True:
            yield listener.accept()[0]
