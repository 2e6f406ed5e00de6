"""Circuit breaker: a model that keeps failing is left alone for a while, then tried with a single call."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

MAX_BACK_OFF = 60.0
"""Longest time in seconds between two probes."""


class Breaker:
    """Lets calls pass until too many of them fail.

    Closed, it opens when `failures` of the last 2 * `failures` calls failed. Open, it lets nothing pass for a back-off:
    `seconds` at first, twice as long after each failed probe, MAX_BACK_OFF at most. Then one call passes, the probe:
    its success closes the breaker. Not thread-safe: it belongs to one event loop.

    :param clock: seconds that only ever grow.
    """

    def __init__(self, *, failures: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._failures = failures
        self._seconds = seconds
        self._clock = clock
        self._recent: deque[bool] = deque(maxlen=2 * failures)
        self._back_off = seconds
        self._retry_at: float | None = None
        self._probing = False
        # Counts openings and closings: what was admitted before the last one says nothing about the time since.
        self._era = 0

    @property
    def open(self) -> bool:
        """Whether the model counts as broken; also while a probe is under way."""
        return self._retry_at is not None

    @property
    def ready(self) -> bool:
        """Whether a call would be admitted."""
        return self._retry_at is None or (not self._probing and self._clock() >= self._retry_at)

    def admit(self) -> int:
        """Let one call pass, which must only be asked while `ready`; the permit goes to `report` when it is over."""
        self._probing = self.open
        return self._era

    def report(self, permit: int, *, ok: bool | None) -> None:
        """Note how a call went.

        :param ok: None if it says nothing about the model: the client has gone, the queue was full.
        """
        if permit != self._era:
            return
        if self.open:
            self._probing = False
            if ok is True:
                self._close()
            elif ok is False:
                self._back_off = min(2 * self._back_off, MAX_BACK_OFF)
                self._open()
        elif ok is not None:
            self._recent.append(ok)
            if self._recent.count(False) >= self._failures:
                self._open()

    def _open(self) -> None:
        self._retry_at = self._clock() + self._back_off
        self._recent.clear()
        self._era += 1

    def _close(self) -> None:
        self._retry_at = None
        self._back_off = self._seconds
        self._era += 1
