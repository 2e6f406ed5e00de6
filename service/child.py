"""Child: one of several processes that serve the same port. It tells its parent that it lives, and stops without it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import FrameType

from fastapi import FastAPI

from onoma.errors import OnomaError
from service.accepting import Shares
from service.app import create_app
from service.draining import DrainingServer
from service.errors import NotReady
from service.logs import configure
from service.memory import share_one_heap
from service.processes import BEAT, BEAT_SECONDS, FAILED, PASSED_ON
from service.registry import load_models
from service.runtime import Runtime
from service.settings import Settings
from service.siblings import Siblings

LOG = logging.getLogger("onoma.service")

CHECK_SECONDS = 5.0
"""How often a process checks its readiness itself: /readyz asks one process, onoma_ready speaks for all."""
_SAME_SECONDS = 0.5  # a terminal or systemd signals parent and children, and the parent passes its signal on


@dataclass(frozen=True, slots=True)
class Seat:
    """What a child has to know.

    :param place: its number, from 0.
    :param settings: with the number of processes and the threads of each.
    :param secret: see Siblings.
    :param shares: of the connections.
    """

    place: int
    settings: Settings
    secret: bytes
    shares: Shares


class ChildServer(DrainingServer):
    """A server that tells its parent every second that its event loop turns, and stops when there is no parent."""

    def __init__(self, app: FastAPI, *, shares: Shares, place: int, siblings: Siblings, report: Connection) -> None:
        super().__init__(app, shares=shares, place=place)
        self._siblings = siblings
        self._report = report
        self._signalled = float("-inf")
        self._tasks: list[asyncio.Task[None]] = []

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by uvicorn for SIGTERM and SIGINT; what comes twice at once is one signal."""
        now = time.monotonic()
        if now - self._signalled >= _SAME_SECONDS:
            super().handle_exit(sig, frame)
        self._signalled = now

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn: load the models and begin to listen."""
        await super().startup(sockets)
        await self._siblings.listen()
        self._tasks = [asyncio.create_task(work) for work in (self._beat(), self._stay_checked())]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)

    async def _beat(self) -> None:
        os.set_blocking(self._report.fileno(), False)
        with contextlib.suppress(BrokenPipeError):
            while True:
                with contextlib.suppress(BlockingIOError):  # the parent does not run at present
                    os.write(self._report.fileno(), BEAT)
                await asyncio.sleep(BEAT_SECONDS)
        LOG.error("the parent process is gone: stopping")
        self.handle_exit(signal.SIGTERM, None)

    async def _stay_checked(self) -> None:
        while True:
            with contextlib.suppress(NotReady):
                await self._health.check()
            await asyncio.sleep(CHECK_SECONDS)


def run_child(seat: Seat, listeners: list[socket.socket], report: Connection) -> None:
    """Serve until told to stop.

    :param listeners: bound sockets, the same for all children.
    :param report: where to tell the parent how it goes.
    """
    # PASSED_ON is blocked until it serves; SIGHUP may come before the models that it reloads are there.
    signal.signal(signal.SIGHUP, lambda *_: None)
    configure(seat.settings)
    share_one_heap()
    for handler in logging.getLogger().handlers:
        handler.addFilter(_numbered(seat.place))
    try:
        server = build(seat, report)
    except (OnomaError, OSError, ValueError) as error:
        os.write(report.fileno(), FAILED + str(error).encode("utf-8", "replace"))
        raise SystemExit(1) from None
    server.run(listeners)


def build(seat: Seat, report: Connection) -> ChildServer:
    """A child's server, its models loaded.

    :raises BundleError: if a bundle is missing or damaged.
    """
    app = create_app(seat.settings, models=load_models(seat.settings))
    runtime: Runtime = app.state.runtime
    count = seat.settings.processes
    assert count is not None
    runtime.supervised = True
    runtime.metrics.processes_configured.set(count)
    runtime.siblings = siblings = Siblings(secret=seat.secret, place=seat.place, count=count, metrics=runtime.metrics)
    return ChildServer(app, shares=seat.shares, place=seat.place, siblings=siblings, report=report)


def _numbered(place: int) -> Callable[[logging.LogRecord], bool]:
    """A filter that says in each line which process it is from."""

    def number(record: logging.LogRecord) -> bool:
        record.fields = {**getattr(record, "fields", {}), "process": place}
        return True

    return number
