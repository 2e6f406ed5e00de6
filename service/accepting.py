"""Accepting: processes that listen on the same sockets share out the connections.

Left to the event loop, whichever process wakes first takes all that wait, and keeps them as long as clients do: of a
client that opens its connections at once, one process would have all, and the other cores nothing to do. Here a process
takes one at a time, and while it has more than another it gives way for a moment.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import socket
from collections.abc import Callable, Sequence
from multiprocessing.context import BaseContext

LOG = logging.getLogger("onoma.service")

BACKLOG = 2048
"""Connections that wait for a process at most."""
ABSENT = -1
_AHEAD = 2  # connections: with fewer more than another, a process takes the next without giving way
_GIVE_WAY_SECONDS = 0.005
_FAILED_SECONDS = 1.0  # no file descriptor is left, for example: it may be later


class Shares:
    """How many connections each process has, in memory that all of them share.

    :param context: how the processes are started.
    """

    def __init__(self, context: BaseContext, count: int) -> None:
        self._counts = context.RawArray(ctypes.c_int, [ABSENT] * count)

    def note(self, place: int, connections: int) -> None:
        """Say how many a process has; ABSENT for one that takes none."""
        self._counts[place] = connections

    def ahead(self, place: int) -> bool:
        """Whether a process has clearly more than another that takes connections."""
        others = [count for at, count in enumerate(self._counts) if at != place and count != ABSENT]
        return bool(others) and self._counts[place] - min(others) >= _AHEAD


class Acceptor:
    """Takes connections from sockets for one process.

    :param listeners: bound sockets; not closed here.
    :param protocol: makes the protocol of a connection.
    :param connections: how many this process has.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        *,
        protocol: Callable[[], asyncio.Protocol],
        connections: Callable[[], int],
        shares: Shares,
        place: int,
    ) -> None:
        self._listeners = listeners
        self._protocol = protocol
        self._connections = connections
        self._shares = shares
        self._place = place
        self._entering: set[asyncio.Task[None]] = set()
        self._waiting: dict[socket.socket, asyncio.TimerHandle] = {}
        self._loop = asyncio.get_running_loop()

    def open(self) -> None:
        """Begin to listen."""
        self.note()
        for listener in self._listeners:
            listener.setblocking(False)
            listener.listen(BACKLOG)
            self._watch(listener)

    async def close(self) -> None:
        """Take no more; those taken have protocols when this returns."""
        self._shares.note(self._place, ABSENT)
        for listener in self._listeners:
            if (timer := self._waiting.pop(listener, None)) is not None:
                timer.cancel()
            self._loop.remove_reader(listener)
        await asyncio.gather(*self._entering)

    def note(self) -> None:
        """Tell the others how many connections there are, for some have been closed."""
        self._shares.note(self._place, self._connections() + len(self._entering))

    def _watch(self, listener: socket.socket) -> None:
        self._waiting.pop(listener, None)
        self._loop.add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another process was faster, or the client has gone
        except OSError as error:
            LOG.error("cannot accept a connection: %s; trying again in %.0f s", error.strerror, _FAILED_SECONDS)
            self._give_way(listener, _FAILED_SECONDS)
            return
        task = self._loop.create_task(self._enter(connection))
        self._entering.add(task)
        task.add_done_callback(self._entering.discard)
        self.note()
        if self._shares.ahead(self._place):
            self._give_way(listener, _GIVE_WAY_SECONDS)

    async def _enter(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError:  # the client has gone
            connection.close()

    def _give_way(self, listener: socket.socket, seconds: float) -> None:
        self._loop.remove_reader(listener)
        self._waiting[listener] = self._loop.call_later(seconds, self._watch, listener)
