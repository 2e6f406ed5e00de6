"""An HTTP client that costs next to nothing: raw sockets and epoll, requests as ready bytes, answers hardly read.

A load generator in Python must not be what is measured, so this one has no event loop and needs no library. What it
takes of its core stands in the report.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

LOST = 0  # the status of an answer that never came: the server closed the connection
_CHUNK = 262_144


class Answer(NamedTuple):
    """The status of a request, when it was due, when its answer was there (perf_counter_ns), and its sender's mark."""

    status: int
    due: int
    done: int
    mark: str


class BadAnswerError(Exception):
    """The server sent something that is no HTTP response with a length."""


class Connection:
    """One connection, with at most one request under way."""

    __slots__ = ("closing", "due", "mark", "received", "socket", "unsent", "wanted")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.unsent = memoryview(b"")
        self.received = b""
        self.wanted = 0
        self.closing = False
        self.due = 0
        self.mark = ""

    def send(self) -> None:
        """Hand the kernel what it takes of the request."""
        self.unsent = self.unsent[self.socket.send(self.unsent) :]

    def receive(self) -> int | None:
        """Read what is there: the status once the answer is complete, LOST if the server has closed, else None.

        :raises BadAnswerError: if it is no HTTP response with a content-length.
        """
        chunk = self.socket.recv(_CHUNK)
        if not chunk:
            return LOST
        self.received = received = self.received + chunk if self.received else chunk
        if not self.wanted:
            end = received.find(b"\r\n\r\n")
            if end < 0:
                return None
            head = received[:end].lower()
            at = head.find(b"\r\ncontent-length:")
            if at < 0 or not head.startswith(b"http/1.1 "):
                raise BadAnswerError(f"not a response of HTTP/1.1 with a content-length: {received[:80]!r}")
            self.wanted = end + 4 + int(head[at + 17 :].partition(b"\r\n")[0])
            self.closing = b"\r\nconnection: close" in head
        if len(received) < self.wanted:
            return None
        status = int(received[9:12])
        self.received = b""
        self.wanted = 0
        return status


class Client:
    """A number of connections to one server, and the epoll that watches them.

    :param port: on 127.0.0.1.
    """

    def __init__(self, port: int, connections: int) -> None:
        self._port = port
        self._epoll = select.epoll()
        self._watched: dict[int, Connection] = {}
        self.idle: deque[Connection] = deque()
        self.busy = 0
        for _ in range(connections):
            self._open()

    def _open(self) -> None:
        connection = Connection(self._port)
        self._watched[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket.fileno(), select.EPOLLIN)
        self.idle.append(connection)

    def send(self, request: bytes, due: int, mark: str = "") -> None:
        """Send a request on a connection that is idle.

        :param due: when it should have been sent.
        :param mark: comes back with the answer.
        """
        connection = self.idle.popleft()
        connection.due = due
        connection.mark = mark
        connection.unsent = memoryview(request)
        self.busy += 1
        try:
            connection.send()
        except (ConnectionResetError, BrokenPipeError):
            return  # epoll tells of it too, and the answer is LOST
        if connection.unsent:
            self._epoll.modify(connection.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def wait(self, seconds: float) -> Iterator[Answer]:
        """The answers that are there, or come within this time; lost connections are opened anew.

        :raises BadAnswerError: if an answer is no HTTP response with a content-length.
        """
        # epoll counts in milliseconds and rounds up, select in microseconds: requests are due in between.
        if seconds > 0:
            select.select([self._epoll.fileno()], [], [], seconds)
        for descriptor, event in self._epoll.poll(0):
            connection = self._watched[descriptor]
            status = self._advance(connection, event)
            if status is None:
                continue
            done = time.perf_counter_ns()
            answered = connection not in self.idle if status == LOST else True
            if status == LOST or connection.closing:
                self._replace(connection)
            else:
                self.idle.append(connection)
            if answered:
                self.busy -= 1
                yield Answer(status, connection.due, done, connection.mark)

    def _advance(self, connection: Connection, event: int) -> int | None:
        try:
            if event & select.EPOLLOUT and connection.unsent:
                connection.send()
                if not connection.unsent:
                    self._epoll.modify(connection.socket.fileno(), select.EPOLLIN)
            return connection.receive() if event & ~select.EPOLLOUT else None
        except (ConnectionResetError, BrokenPipeError):
            return LOST

    def _replace(self, connection: Connection) -> None:
        """A new connection in the place of one that the server has closed."""
        if connection in self.idle:
            self.idle.remove(connection)
        self._epoll.unregister(connection.socket.fileno())
        del self._watched[connection.socket.fileno()]
        connection.socket.close()
        self._open()

    def close(self) -> None:
        """Close every connection."""
        for connection in self._watched.values():
            connection.socket.close()
        self._epoll.close()
