"""A line of progress, for a person at a terminal."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TextIO


class Progress:
    """Rewrites one line on a terminal, a few times a second; silent where the stream is none.

    :param total: how much there is to read; None if that is not known.
    :param begun: how much of it an earlier run has done.
    :param unit: "bytes" or "rows", of what is read.
    """

    def __init__(self, stream: TextIO, *, total: int | None, unit: str, begun: int = 0) -> None:
        self._stream = stream if stream.isatty() else None
        self._total = total
        self._unit = unit
        self._begun: int | None = begun or None
        self._start = self._shown = time.monotonic()

    def show(self, read: int, rows: int, *, bad: int = 0) -> None:
        """Say how far it is.

        :param read: how much is read, with what an earlier run did.
        :param rows: rows written, the earlier run's too.
        """
        if self._begun is None:
            self._begun = read  # of a resumed run: what stood in the journal is not of this run's speed
        now = time.monotonic()
        if self._stream is None or now - self._shown < 0.2:
            return
        self._shown = now
        line = line_of(read, self._total, self._unit, rows, bad, seconds=now - self._start, begun=self._begun)
        self._stream.write(f"\r\x1b[K{line}")
        self._stream.flush()

    def end(self) -> None:
        """Clear the line."""
        if self._stream is not None:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def line_of(read: int, total: int | None, unit: str, rows: int, bad: int, *, seconds: float, begun: int = 0) -> str:
    """The line: share, amount, rows, time passed, time left by the speed so far."""
    parts = [f"{rows} rows", *([f"{bad} bad"] if bad else []), str(timedelta(seconds=int(seconds)))]
    if total:
        share = min(read / total, 1.0)
        parts.insert(0, f"{share:4.0%} {amount(read, unit)} of {amount(total, unit)}")
        if read > begun:
            left = seconds * max(0, total - read) / (read - begun)
            parts.append(f"{timedelta(seconds=int(left))} left")
    return ", ".join(parts)


def amount(size: int, unit: str) -> str:
    """A number of bytes in the largest fitting unit, or of rows."""
    if unit != "bytes":
        return f"{size} {unit}"
    for name, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {name}"
    return f"{size} B"
