"""Processes: a parent starts several, replaces those that die or hang, passes signals on and waits for them at the end.

It serves nothing itself and holds no model. A child says over a pipe that it serves, and then that it still does.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from onoma.errors import OnomaError
from service.logs import fields

LOG = logging.getLogger("onoma.service")

BEAT, BEAT_SECONDS = b".", 1.0
"""What a child writes as soon as it serves, and then this often."""
FAILED = b"!"
"""What a child writes, and then why, in UTF-8, when it cannot serve."""
PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
"""Signals that children get from their parent, who starts them with all of these blocked."""

HANG_SECONDS = 30.0
"""How long a child that serves may be silent."""
START_SECONDS = 900.0
"""How long a child may take until it serves."""
_LOOK_SECONDS = 1.0
_LIVED_SECONDS = 60.0  # a child that ends sooner has failed; the next one waits, longer each time
_LONGEST_PAUSE = 30.0

Start = Callable[[int, Connection], BaseProcess]
"""Makes the process of a place, not yet started, that writes to a pipe."""


class StartFailed(OnomaError):
    """No process came to serve."""


@dataclass(slots=True)
class Child:
    """A running process.

    :param pipe: what it says.
    :param heard: time.monotonic() of its last word, at first of its start.
    :param said: all of its words before it served.
    """

    place: int
    process: BaseProcess
    pipe: Connection
    began: float
    heard: float
    said: bytes = b""
    serving: bool = False
    killed: bool = False

    def send(self, number: int) -> None:
        """Send it a signal."""
        if self.process.is_alive():
            assert self.process.pid is not None
            os.kill(self.process.pid, number)

    @property
    def title(self) -> str:
        """Which it is, for the log."""
        return f"process {self.place} (pid {self.process.pid})"


@dataclass(slots=True)
class Place:
    """Where one process runs, and then its successor.

    :param due: time.monotonic() at which to start the next, while none runs.
    :param failures: processes in a row that did not live long.
    """

    number: int
    child: Child | None = None
    due: float = 0.0
    failures: int = 0

    def ended(self, began: float) -> None:
        """Its process is gone: the next may come at once, unless this goes on and on.

        :param began: time.monotonic() of its start.
        """
        now = time.monotonic()
        self.child = None
        self.failures = 1 if now - began >= _LIVED_SECONDS else self.failures + 1
        self.due = now + (min(_LONGEST_PAUSE, 2.0 ** (self.failures - 2)) if self.failures > 1 else 0.0)


class Supervisor:
    """Keeps several processes running.

    :param start: see Start.
    :param count: how many.
    :param listeners: sockets that the processes serve; closed here when they are told to stop, so that nobody's
        connection waits for an answer that will not come.
    :param stop_seconds: how long they may take to stop; whoever takes longer is killed.
    :param ended: called with the place of each process that has ended.
    """

    def __init__(
        self,
        start: Start,
        *,
        count: int,
        listeners: Sequence[socket.socket],
        stop_seconds: float,
        hang_seconds: float = HANG_SECONDS,
        ended: Callable[[int], None] = lambda place: None,
    ) -> None:
        self._start = start
        self._listeners = listeners
        self._stop_seconds = stop_seconds
        self._hang_seconds = hang_seconds
        self._ended = ended
        self._places = [Place(number) for number in range(count)]
        self._served = self._stopping = False
        self._stop_by = float("inf")
        self._problem = ""

    def run(self) -> None:
        """Return when all processes have ended, because a signal told them to.

        :raises StartFailed: if the first of them do not come to serve.
        """
        try:
            with _signals() as signals:
                looked = time.monotonic()
                while self._children() or not self._stopping:
                    self._start_due()
                    connection.wait([signals, *self._handles()], timeout=self._pause())
                    received = _received(signals)
                    self._hear()  # after the signals: who served before one of them is stopped, not killed
                    for number in received:
                        self._signalled(number)
                    self._bury()
                    now = time.monotonic()
                    self._kill_hung(now, held_up=now - looked > 5 * _LOOK_SECONDS)
                    looked = now
        finally:
            for child in self._children():
                child.process.kill()
        if self._problem:
            raise StartFailed(self._problem)

    def _children(self) -> list[Child]:
        return [place.child for place in self._places if place.child is not None]

    def _handles(self) -> list[Connection | int]:
        return [handle for child in self._children() for handle in (child.pipe, child.process.sentinel)]

    def _pause(self) -> float:
        """Seconds after which to look again, if nothing happens."""
        now = time.monotonic()
        due = (place.due - now for place in self._places if place.child is None and not self._stopping)
        return max(0.0, min((_LOOK_SECONDS, *due)))

    def _start_due(self) -> None:
        for place in self._places:
            now = time.monotonic()
            if place.child is not None or self._stopping or now < place.due:
                continue
            ours, theirs = connection.Pipe(duplex=False)
            process = self._start(place.number, theirs)
            with theirs, _held_back():
                try:
                    process.start()
                except OSError as error:  # no memory, or too many processes
                    ours.close()
                    self._lost(place, f"process {place.number}", now, f"it cannot be started: {error.strerror}")
                else:
                    place.child = Child(place.number, process, ours, began=now, heard=now)

    def _hear(self) -> None:
        for child in self._children():
            while child.pipe.poll() and (words := os.read(child.pipe.fileno(), 4096)):
                child.heard = time.monotonic()
                if child.serving:
                    continue
                child.said += words
                if words.startswith(BEAT):
                    child.serving = self._served = True
                    LOG.info("%s serves", child.title)

    def _signalled(self, number: int) -> None:
        if number == signal.SIGHUP:
            for child in self._children():
                child.send(number)
        else:
            LOG.info("stopping: got %s", signal.Signals(number).name)
            self._stop(number)

    def _stop(self, number: int) -> None:
        self._stopping = True
        self._stop_by = time.monotonic() + self._stop_seconds
        for listener in self._listeners:
            listener.close()
        for child in self._children():
            child.send(number if child.serving else signal.SIGKILL)

    def _bury(self) -> None:
        for place in self._places:
            child = place.child
            if child is None or child.process.is_alive():
                continue
            child.process.join()
            child.pipe.close()
            self._ended(place.number)
            self._lost(place, child.title, child.began, _how(child))

    def _lost(self, place: Place, title: str, began: float, how: str) -> None:
        """Note that there is no process in a place any more."""
        place.ended(began)
        if self._stopping:
            return
        if self._served:
            LOG.error("%s ended: %s; another takes its place", title, how, extra=fields(failures=place.failures))
        else:
            self._problem = how
            self._stop(signal.SIGTERM)

    def _kill_hung(self, now: float, *, held_up: bool) -> None:
        """Kill those that are silent; unless this process itself could not listen."""
        for child in self._children():
            if held_up:
                child.heard = now
            if child.killed:
                continue
            if now >= self._stop_by:
                LOG.error("%s has not stopped in %.0f seconds: killed", child.title, self._stop_seconds)
            elif now - child.heard > (self._hang_seconds if child.serving else START_SECONDS):
                LOG.error("%s has not been heard of for %.0f seconds: killed", child.title, now - child.heard)
            else:
                continue
            child.killed = True
            child.process.kill()


def _how(child: Child) -> str:
    """How a process ended."""
    if child.said.startswith(FAILED):
        return child.said.removeprefix(FAILED).decode("utf-8", "replace")
    status = child.process.exitcode
    assert status is not None
    ended = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    return ended if child.serving else f"a process did not start, see its log: {ended}"


@contextmanager
def _held_back() -> Iterator[None]:
    """A process started within it gets signals only when it can handle them: they would end it before."""
    resource_tracker.ensure_running()  # multiprocessing's own process, whose start would undo the blocking
    before = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket that gets the number of each signal of PASSED_ON, as a byte, instead of what the signal does."""
    inner, outer = socket.socketpair()
    with inner, outer:
        inner.setblocking(False)
        outer.setblocking(False)
        before = {number: signal.signal(number, lambda *_: None) for number in PASSED_ON}
        wakeup = signal.set_wakeup_fd(outer.fileno(), warn_on_full_buffer=False)
        try:
            yield inner
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)


def _received(signals: socket.socket) -> bytes:
    try:
        return signals.recv(4096)
    except BlockingIOError:
        return b""
