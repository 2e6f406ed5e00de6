"""Queueing: windows that wait, by length and in fair order.

Windows of like length share a batch, so little is padding. Clients get equal shares: a window waits behind as many
word-pieces of its own request as of any other's (start-time fair queueing), so a short request overtakes the rest of a
long one. Not thread-safe: the engine's lock guards it.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

# Longest window of each bucket; each step adds at most half, so a batch is at most a third padding.
_BUCKETS = [8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]


@dataclass(frozen=True, slots=True)
class Inferred:
    """Emissions of each window, in order.

    :param queue: seconds until the first window began to run.
    :param infer: seconds from then until the last window was done.
    """

    emissions: list[Floats]
    queue: float
    infer: float


@dataclass(slots=True, eq=False)
class Job:
    """The windows of one request.

    :param deadline: time.monotonic() after which nobody wants the answer.
    :param waiting: windows not yet taken; `left` counts those not yet done.
    :param over: nobody waits for it any more; what is left of it must not run.
    """

    inputs: Sequence[Ints]
    deadline: float
    submitted: float
    waiting: int
    waiting_tokens: int
    left: int
    emissions: list[Floats]
    started: float | None = None
    over: bool = False
    future: Future[Inferred] = field(default_factory=Future)

    @classmethod
    def of(cls, inputs: Sequence[Ints], *, deadline: float, now: float) -> Job:
        """A job of which nothing has run."""
        return cls(
            inputs=inputs,
            deadline=deadline,
            submitted=now,
            waiting=len(inputs),
            waiting_tokens=sum(len(ids) for ids in inputs),
            left=len(inputs),
            emissions=[np.empty((0, 0), dtype=np.float32)] * len(inputs),
        )


class Item(NamedTuple):
    """One window of a job. Heaps order by `virtual`, the word-pieces it waits behind; `order` is unique."""

    virtual: int
    order: int
    job: Job
    at: int

    @property
    def ids(self) -> Ints:
        """The window's word-pieces."""
        return self.job.inputs[self.at]


class FairQueue:
    """The windows that wait, a heap per length bucket.

    :param windows: how many windows wait; `tokens` counts their word-pieces.
    """

    def __init__(self) -> None:
        self.windows = 0
        self.tokens = 0
        self._heaps: list[list[Item]] = [[] for _ in range(len(_BUCKETS) + 1)]
        self._order = itertools.count()
        self._virtual = 0

    def push(self, job: Job) -> None:
        """Add all windows of a job."""
        virtual = self._virtual
        for at, ids in enumerate(job.inputs):
            item = Item(virtual, next(self._order), job, at)
            heapq.heappush(self._heaps[bisect_left(_BUCKETS, len(ids))], item)
            virtual += len(ids)
        self.windows += job.waiting
        self.tokens += job.waiting_tokens

    def retire(self, job: Job) -> bool:
        """End a job: what of it still waits will not run. False if it was over already."""
        if job.over:
            return False
        job.over = True
        self.windows -= job.waiting
        self.tokens -= job.waiting_tokens
        return True

    def jobs(self) -> Iterator[Job]:
        """The jobs with waiting windows; one with several windows comes several times."""
        return (item.job for heap in self._heaps for item in heap)

    def take(self, batch_tokens: int, *, now: float, expire: Callable[[Job], None]) -> list[Item]:
        """The window whose turn it is and others of like length, within `batch_tokens` padded word-pieces.

        :param expire: called for a job past its deadline; must retire it.
        :return: empty when nothing waits.
        """
        heads = [heap for heap in self._heaps if self._clean(heap, now, expire)]
        batch: list[Item] = []
        if not heads:
            return batch
        heap = min(heads, key=lambda one: one[0])
        width = 1
        while self._clean(heap, now, expire):
            wider = max(width, len(heap[0].ids))
            if batch and (len(batch) + 1) * wider > batch_tokens:
                break
            width = wider
            batch.append(self._pop(heap, now))
        return batch

    def _pop(self, heap: list[Item], now: float) -> Item:
        item = heapq.heappop(heap)
        job, tokens = item.job, len(item.ids)
        self._virtual = max(self._virtual, item.virtual)
        job.waiting -= 1
        job.waiting_tokens -= tokens
        self.windows -= 1
        self.tokens -= tokens
        if job.started is None:
            job.started = now
        return item

    @staticmethod
    def _clean(heap: list[Item], now: float, expire: Callable[[Job], None]) -> bool:
        """Drop windows nobody waits for from the top of a heap; whether one is left."""
        while heap:
            job = heap[0].job
            if not job.over and job.deadline <= now:
                expire(job)
            if not job.over:
                return True
            heapq.heappop(heap)
        return False
