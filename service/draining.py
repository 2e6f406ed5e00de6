"""Draining: uvicorn around an app, which says that it is about to stop before it stops."""

from __future__ import annotations

import socket
import time
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.accepting import Acceptor, Shares
from service.corking import CorkedProtocol
from service.health import Health
from service.runtime import Runtime


class DrainingServer(uvicorn.Server):
    """Turns /readyz to 503 at the first SIGTERM and stops `drain_seconds` later; a second signal stops at once.

    :param shares: of the connections, where several processes share the sockets; `place` is this one's.
    """

    def __init__(self, app: FastAPI, *, shares: Shares | None = None, place: int = 0) -> None:
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
        self._shares, self._place = shares, place
        self.acceptor: Acceptor | None = None
        """None until it listens."""

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

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn: load the models and begin to listen.

        :param sockets: bound ones.
        """
        await super().startup([])  # of the connections, only their acceptance is not uvicorn's
        acceptor = Acceptor(
            sockets or [],
            protocol=self._protocol,
            connections=lambda: len(self.server_state.connections),
            shares=self._shares,
            place=self._place,
        )
        acceptor.open()
        self.acceptor = acceptor

    def _protocol(self) -> CorkedProtocol:
        protocol = CorkedProtocol(self.config, self.server_state, self.lifespan.state)
        if self.acceptor is not None:
            protocol.lost = self.acceptor.note
        return protocol

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn when no more connections are to be accepted; waits for the requests under way."""
        self._health.close()
        if self.acceptor is not None:
            await self.acceptor.close()
        await super().shutdown(sockets)
