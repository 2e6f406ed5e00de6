"""Queueing: work that waits, by length and in fair order.

Windows of like length share a batch, so little is padding. Clients get equal shares: a window waits behind as many
word-pieces of its own request as of any other's (start-time fair queueing), so a short request overtakes the rest of a
long one, and interactive requests overtake bulk ones. Not thread-safe: the engine's lock guards it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from service.steps import Floats, Ints

# Longest window of each bucket; each step adds at most half, so a batch is at most a third padding.
_BUCKETS = [8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]
_FEW = 16  # windows of other lengths that may join a batch
BULK_WEIGHT = 4
"""How many times as long as another a bulk request seems, so it gets that much less of a busy model."""
_CHARACTERS_PER_PIECE = 4  # about what texts have, before they are encoded
_SECONDS_PER_CHARACTER = 20e-6  # a text of 5,000 characters may be overtaken for a tenth of a second, not for ever


def estimated_tokens(characters: int) -> int:
    """About how many word-pieces so many characters have."""
    return characters // _CHARACTERS_PER_PIECE


@dataclass(slots=True)
class Stages:
    """Seconds spent in each stage, summed over the models asked."""

    queue: float = 0.0
    tokenize: float = 0.0
    infer: float = 0.0
    decode: float = 0.0

    def add(self, other: Stages) -> None:
        """Add another model's seconds."""
        self.queue += other.queue
        self.tokenize += other.tokenize
        self.infer += other.infer
        self.decode += other.decode


@dataclass(slots=True, eq=False)
class Job:
    """What one request asks of one model.

    :param texts: to be encoded and decoded by the engine; empty if `inputs` came encoded.
    :param future: gets the answers, or `outputs` if the inputs came encoded; lives on the event loop.
    :param deadline: time.monotonic() after which nobody wants the answer.
    :param weight: how many times as long as it is the job seems to the queue.
    :param waiting: windows not yet taken, `left` those not yet done.
    :param waiting_tokens: word-pieces not yet taken; estimated from the characters until the texts are encoded.
    :param over: nobody waits for it any more; what is left of it must not run.
    :param lives: how often a worker may still die of it.
    """

    texts: Sequence[str]
    future: asyncio.Future[list[Any]]
    deadline: float
    submitted: float
    weight: int = 1
    characters: int = 0
    encoded: list[Any] = field(default_factory=list)
    inputs: list[Ints] = field(default_factory=list)
    outputs: list[Floats] = field(default_factory=list)
    waiting: int = 0
    waiting_tokens: int = 0
    left: int = 0
    started: float | None = None
    over: bool = False
    lives: int = 1
    stages: Stages = field(default_factory=Stages)

    def encode(self, inputs: list[Ints], encoded: Sequence[Any] = ()) -> None:
        """Its windows are known: nothing of them has run, and they are not in the queue yet."""
        self.encoded = list(encoded)
        self.inputs = inputs
        self.outputs = [np.empty((0, 0), dtype=np.float32)] * len(inputs)
        self.left = len(inputs)

    def estimate(self) -> None:
        """Its windows are not known yet: guess them from its characters."""
        self.characters = sum(map(len, self.texts))
        self.waiting = len(self.texts)
        self.waiting_tokens = estimated_tokens(self.characters) + len(self.texts)


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
    """The texts that wait to be encoded, and the windows that wait to run: a heap per length bucket.

    :param windows: how many windows wait (a text counts as one); `tokens` counts their word-pieces.
    :param lone: how long one window alone takes, in the time that each takes of several together.
    """

    def __init__(self, *, lone: float = 1.0) -> None:
        self.lone = lone
        self.windows = 0
        self.tokens = 0
        self._fresh: list[tuple[float, int, Job]] = []
        self._heaps: list[list[Item]] = [[] for _ in range(len(_BUCKETS) + 1)]
        self._order = itertools.count()
        self._virtual = 0

    def add(self, job: Job) -> None:
        """Add a job whose texts are to be encoded: the shorter it is, the more it may overtake."""
        due = job.submitted + job.characters * job.weight * _SECONDS_PER_CHARACTER
        heapq.heappush(self._fresh, (due, next(self._order), job))
        self._count(job, 1)

    def push(self, job: Job) -> None:
        """Add all windows of a job."""
        # Counted here, under the lock: a job that is encoded meanwhile may be retired before it comes.
        job.waiting = len(job.inputs)
        job.waiting_tokens = sum(map(len, job.inputs))
        virtual = self._virtual
        for at, ids in enumerate(job.inputs):
            item = Item(virtual, next(self._order), job, at)
            heapq.heappush(self._heaps[bisect_left(_BUCKETS, len(ids))], item)
            virtual += len(ids) * job.weight
        self._count(job, 1)

    def take_fresh(self, characters: int, *, now: float, expire: Callable[[Job], None], share: int = 1) -> list[Job]:
        """The next jobs to be encoded together, at least one and else within `characters`.

        :param share: how many workers want some: the jobs are divided among them.
        """
        taken: list[Job] = []
        most = -(-len(self._fresh) // share)
        while self._fresh and len(taken) < most:
            job = self._fresh[0][2]
            if not job.over and job.deadline <= now:
                expire(job)
            if not job.over:
                characters -= job.characters
                if taken and characters < 0:
                    break
                self._count(job, -1)
                taken.append(job)
            heapq.heappop(self._fresh)
        return taken

    def retire(self, job: Job) -> bool:
        """End a job: what of it still waits will not run. False if it was over already."""
        if job.over:
            return False
        job.over = True
        self._count(job, -1)
        return True

    def _count(self, job: Job, sign: int) -> None:
        self.windows += sign * job.waiting
        self.tokens += sign * job.waiting_tokens
        if sign < 0:
            job.waiting = job.waiting_tokens = 0

    def jobs(self) -> Iterator[Job]:
        """The jobs that wait; one with several windows comes several times."""
        yield from (job for _, _, job in self._fresh)
        yield from (item.job for heap in self._heaps for item in heap)

    def take(self, batch_tokens: int, *, now: float, expire: Callable[[Job], None]) -> list[Item]:
        """The window whose turn it is and others of like length, within `batch_tokens` padded word-pieces.

        :param expire: called for a job past its deadline; must retire it.
        :return: empty when nothing waits.
        """
        heads = [heap for heap in self._heaps if heap and self._clean(heap, now, expire)]
        batch: list[Item] = []
        if not heads:
            return batch
        heap = min(heads, key=_head)
        width = self._fill(batch, heap, 1, batch_tokens, now, expire)
        if len(heads) > 1 and not heap:
            heads.sort(key=lambda other: abs(len(other[0].ids) - width) if other else 0)
            for other in heads:
                if other and self._worth_joining(other, len(batch), width, batch_tokens):
                    width = self._fill(batch, other, width, batch_tokens, now, expire)
        return batch

    def _fill(
        self,
        batch: list[Item],
        heap: list[Item],
        width: int,
        batch_tokens: int,
        now: float,
        expire: Callable[[Job], None],
    ) -> int:
        """Move windows of a heap into a batch while they fit; the width of the batch."""
        while heap and self._clean(heap, now, expire):
            wider = max(width, len(heap[0].ids))
            if batch and (len(batch) + 1) * wider > batch_tokens:
                break
            width = wider
            batch.append(self._pop(heap, now))
        return width

    def _worth_joining(self, heap: list[Item], rows: int, width: int, batch_tokens: int) -> bool:
        """Whether a heap's few windows had better be padded and join a batch than run by themselves."""
        more = len(heap)
        if more > _FEW:
            return False
        own = max(len(item.ids) for item in heap)
        joint = max(own, width) * (rows + more)
        return joint <= batch_tokens and joint < width * max(rows, self.lone) + own * max(more, self.lone)

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


def _head(heap: list[Item]) -> tuple[int, int]:
    return heap[0][:2]
