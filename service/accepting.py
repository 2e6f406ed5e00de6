"""Accepting: connections are taken quickly, and processes that listen on the same sockets share them out.

libuv takes one connection for each turn of its loop. Here a turn may run the model, and clients that open a connection
for each request would wait for as many turns as there are others before them. So a turn takes many.

Left to themselves, whichever process wakes first would take all that wait, and keep them as long as clients do: of a
client that opens its connections at once, one process would have all, and the other cores nothing to do. So a process
that has more than another gives way for a moment before it takes the next few.
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
_AT_ONCE = 64  # connections that one turn takes
_AHEAD = 2  # connections: with fewer more than another, a process takes the next without giving way
_GIVE_WAY_SECONDS = 0.005
_AFTER_GIVING_WAY = 16  # connections that it takes then, for the others may be busy
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

    :param listeners: bound sockets, closed when no more are taken.
    :param protocol: makes the protocol of a connection.
    :param connections: how many this process has.
    :param shares: None for a process that is alone.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        *,
        protocol: Callable[[], asyncio.Protocol],
        connections: Callable[[], int],
        shares: Shares | None = None,
        place: int = 0,
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
        """Take those that wait, and no more; all that were taken have protocols when this returns.

        The kernel resets those that wait when the socket is closed, although their clients have been told that they are
        open and have sent their requests.
        """
        for listener in self._listeners:
            self._loop.remove_reader(listener)
            while self._take(listener):
                pass
            if (timer := self._waiting.pop(listener, None)) is not None:
                timer.cancel()
            listener.close()
        if self._shares is not None:
            self._shares.note(self._place, ABSENT)
            self._shares = None
        await asyncio.gather(*self._entering)

    def note(self) -> None:
        """Tell the others how many connections there are, for some have been closed."""
        if self._shares is not None:
            self._shares.note(self._place, self._connections() + len(self._entering))

    def _watch(self, listener: socket.socket) -> None:
        self._loop.add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            if self._shares is not None and self._shares.ahead(self._place):
                self._pause(listener, _GIVE_WAY_SECONDS)
                return
            if not self._take(listener):
                return

    def _take(self, listener: socket.socket) -> bool:
        """Take a connection; False if there is none, or none can be taken."""
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionAbortedError:  # the client has gone
            return True
        except OSError as error:
            LOG.error("cannot accept a connection: %s; trying again in %.0f s", error.strerror, _FAILED_SECONDS)
            self._pause(listener, _FAILED_SECONDS)
            return False
        task = self._loop.create_task(self._enter(connection))
        self._entering.add(task)
        task.add_done_callback(self._entering.discard)
        self.note()
        return True

    async def _enter(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError:  # the client has gone
            connection.close()

    def _pause(self, listener: socket.socket, seconds: float) -> None:
        self._loop.remove_reader(listener)
        self._waiting[listener] = self._loop.call_later(seconds, self._resume, listener)

    def _resume(self, listener: socket.socket) -> None:
        del self._waiting[listener]
        self._watch(listener)
        for _ in range(_AFTER_GIVING_WAY):
            if listener in self._waiting or not self._take(listener):
                return
