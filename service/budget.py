"""Budget: the largest share of the traffic that may go to the teacher."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

BURST = 8192
"""Characters allowed beyond the share: some 32 texts of 256."""
WINDOW_SECONDS = 10.0
"""How fast the counts fade: to 37 % in this time."""


class Budget:
    """Shares out the teacher's time, counted in characters, over about the last WINDOW_SECONDS.

    What was taken may be `burst` beyond `share` of what was seen. Both counts fade, so a quiet service never feels the
    budget: it refuses nothing to traffic of which less than `burst` characters in WINDOW_SECONDS are asked for. A text
    passes whole as long as anything is left; what it takes too much keeps later ones waiting. Not thread-safe: it
    belongs to one event loop.

    :param share: 0..1; 0 refuses everything, also the burst.
    :param clock: seconds that only ever grow.
    """

    def __init__(self, share: float, *, burst: float = BURST, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._burst = burst if share > 0 else 0.0
        self._clock = clock
        self._seen = 0.0
        self._taken = 0.0
        self._faded_at = clock()

    def see(self, characters: int) -> None:
        """Count traffic, whoever answers it."""
        self._fade()
        self._seen += characters

    def take(self, sizes: Sequence[int]) -> int:
        """How many of the texts, given their characters, may go to the teacher: as many of the first as there are left.

        They count as taken.
        """
        self._fade()
        for granted, characters in enumerate(sizes):
            if self._taken >= self._burst + self._share * self._seen:
                return granted
            self._taken += characters
        return len(sizes)

    def give_back(self, characters: int) -> None:
        """Take back what the teacher did not answer after all."""
        self._fade()
        self._taken = max(0.0, self._taken - characters)

    def _fade(self) -> None:
        now = self._clock()
        factor = math.exp((self._faded_at - now) / WINDOW_SECONDS)
        self._seen *= factor
        self._taken *= factor
        self._faded_at = now
