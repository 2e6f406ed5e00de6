"""Warming up: claims a model's memory before the first request, and finds out how fast it is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import numpy as np

from service.backend import AnyModel

INLINE_SECONDS = 0.1
"""How long the largest batch of a model may take that runs on the event loop: nothing else happens there meanwhile."""
_LENGTH, _ROWS, _TRIALS = 24, 4, 5  # of a short sentence, of a small batch, of each


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a model is here and now.

    :param slowest: seconds of the largest batch; `rate` its word-pieces a second.
    :param lone: how long a short window alone takes, in the time that each takes of several together.
    """

    slowest: float
    rate: float
    lone: float


def warm_up(model: AnyModel, batch_tokens: int) -> Speed:
    """Run the largest shape and small ones."""
    limit = model.encoder.limit
    largest = max(1, batch_tokens // limit)
    _timed(model, limit, largest)
    slowest = _timed(model, limit, largest)
    if INLINE_SECONDS < slowest < 3 * INLINE_SECONDS:  # requests may have had the cores meanwhile, if there are any
        slowest = min(slowest, _timed(model, limit, largest), _timed(model, limit, largest))
    encoded = model.encode(["Angela Merkel"])
    model.infer([ids for one in encoded for ids in one.inputs])
    length = min(_LENGTH, limit)
    pairs = [(_timed(model, length, 1), _timed(model, length, _ROWS)) for _ in range(_TRIALS)]
    alone, together = (median(times) for times in zip(*pairs, strict=True))
    return Speed(slowest, rate=limit * largest / slowest, lone=min(max(1.0, alone / (together / _ROWS)), float(_ROWS)))


def _timed(model: AnyModel, length: int, rows: int) -> float:
    inputs = [np.zeros(length, dtype=np.int64)] * rows
    began = time.monotonic()
    model.infer(inputs)
    return time.monotonic() - began
