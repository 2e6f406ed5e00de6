"""Pace: how long the teacher takes for so much text, as far as it is known."""

from __future__ import annotations

import time
from collections.abc import Callable

HALF_LIFE_SECONDS = 10.0
"""Half of an expectation is forgotten in this time."""
_NEWEST = 0.2  # weight of the newest call in the mean


class Pace:
    """Typical seconds of a call by its number of characters, in steps of a factor of four.

    An expectation that no call renews fades, so that a model which was slow once is asked again.

    :param clock: seconds that only ever grow.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._means: dict[int, tuple[float, float]] = {}  # by size: mean seconds, when the last call was noted

    def expect(self, characters: int) -> float:
        """Seconds that a call probably takes; 0.0 while nothing is known."""
        if (known := self._means.get(_size(characters))) is None:
            return 0.0
        mean, noted_at = known
        return float(mean * 0.5 ** ((self._clock() - noted_at) / HALF_LIFE_SECONDS))

    def note(self, characters: int, seconds: float) -> None:
        """Note a call."""
        size = _size(characters)
        mean, _ = self._means.get(size, (seconds, 0.0))
        self._means[size] = (mean + _NEWEST * (seconds - mean), self._clock())


def _size(characters: int) -> int:
    return characters.bit_length() // 2
