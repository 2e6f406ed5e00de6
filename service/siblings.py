"""Siblings: the processes of one server ask each other for their metrics, so that whichever is scraped speaks for all.

Each listens on a socket in Linux' abstract namespace, which needs no file system and vanishes with its process.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import socket
from typing import Protocol

from prometheus_client import Metric

from service.merging import merge, pack, render, unpack
from service.metrics import Metrics

LOG = logging.getLogger("onoma.service")

SECRET_BYTES = 32
ASK_SECONDS = 0.5
"""How long a scrape waits for a process before it goes without."""


class Together(Protocol):
    """All processes of one server."""

    async def render(self) -> bytes:
        """The metrics of all that answer, in Prometheus' text format."""
        ...


class Siblings:
    """What one process knows of the others.

    :param secret: SECRET_BYTES random bytes that only these processes know: who does not send them gets nothing.
    :param place: its number among them, from 0.
    :param count: how many there are.
    :param metrics: its own.
    """

    def __init__(self, *, secret: bytes, place: int, count: int, metrics: Metrics) -> None:
        self._secret = secret
        self._place = place
        self._count = count
        self._metrics = metrics
        self._server: asyncio.Server | None = None

    async def listen(self) -> None:
        """Answer the others from now on."""
        self._server = await asyncio.start_unix_server(self._answer, path=self._address(self._place))

    async def render(self) -> bytes:
        """The metrics of all processes that answer, in Prometheus' text format."""
        others = [place for place in range(self._count) if place != self._place]
        answers = await asyncio.gather(*map(self._ask, others))
        return render(merge([self._metrics.registry.collect(), *(one for one in answers if one is not None)]))

    def _address(self, place: int) -> str:
        # Everybody can list such names, so this one must not give the secret away.
        return f"\0onoma-{hashlib.sha256(self._secret).hexdigest()[:32]}-{place}"

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):  # a timeout is an OSError
                async with asyncio.timeout(ASK_SECONDS):
                    asked = await reader.readexactly(SECRET_BYTES)
                    if hmac.compare_digest(asked, self._secret):
                        writer.write(pack(self._metrics.registry.collect()))
                        await writer.drain()
        finally:
            writer.close()

    async def _ask(self, place: int) -> list[Metric] | None:
        loop = asyncio.get_running_loop()
        answer = bytearray()
        try:
            # Not open_unix_connection: uvloop's cannot reach abstract addresses.
            with socket.socket(socket.AF_UNIX) as connection:
                connection.setblocking(False)
                async with asyncio.timeout(ASK_SECONDS):
                    await loop.sock_connect(connection, self._address(place))
                    await loop.sock_sendall(connection, self._secret)
                    while more := await loop.sock_recv(connection, 65_536):
                        answer += more
            return unpack(bytes(answer))
        except (OSError, ValueError) as error:
            LOG.warning("process %d does not say its metrics: %s", place, type(error).__name__)
            return None
