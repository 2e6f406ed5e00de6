"""Batching: the texts of all clients share model runs, and nothing waits while the model is idle.

A fast model runs on the event loop itself, after everything that was ready has been read: under light load a text runs
alone, under heavy load requests gather while the batch before theirs runs. A process has one core, where a thread would
only pass the GIL back and forth. A slow model would keep the loop from its other work, so it has threads. The figures
are in docs/engine.md.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

from service.cycle import Cycle
from service.errors import DeadlineExceeded, Overloaded, WorkerDead
from service.queueing import BULK_WEIGHT, Job, Stages, estimated_tokens
from service.running import BatchObserver, Outcome
from service.steps import Floats, Ints, Steps

LOG = logging.getLogger("onoma.service")
A = TypeVar("A")

_SMALL, _KEPT_FOR_SMALL = 0.01, 0.2  # shares of the queue
_DEATHS, _DEATH_SECONDS = 10, 60.0  # more deaths than these in so many seconds: it will not get better by itself


class Engine(Generic[A]):
    """One model's queue and who works on it.

    :param max_queue_tokens: word-pieces that may wait; a request that finds the queue empty is always admitted.
    :param max_queue_seconds: fewer may wait if the model would take longer for them than this.
    :param workers: threads; 0 runs the model on the event loop.
    :param lone: how long one window alone takes, in the time that each takes of several together.
    :param rate: word-pieces a second that one run infers, until there are runs to measure; 0: unknown.
    """

    def __init__(
        self,
        name: str,
        model: Steps[A],
        *,
        batch_tokens: int,
        max_queue_tokens: int,
        max_queue_seconds: float = math.inf,
        workers: int = 1,
        lone: float = 1.0,
        rate: float = 0.0,
        observer: BatchObserver | None = None,
    ) -> None:
        self.name = name
        self._cycle = Cycle(name, model, batch_tokens=batch_tokens, lone=lone, rate=rate, observer=observer)
        self._max_queue_tokens = max_queue_tokens
        self._max_queue_seconds = max_queue_seconds
        self._reserved = 0  # word-pieces of requests that are admitted and not yet in the queue
        self._observer = observer
        self._closed = self._dead = self._turning = False
        # Not that of the request that comes first: a turn works for all of them.
        self._context = contextvars.Context()
        self._deaths: deque[float] = deque(maxlen=_DEATHS)
        self._threads = [self._thread(number) for number in range(workers)]

    def _thread(self, number: int) -> threading.Thread:
        return threading.Thread(target=self._work, args=(number,), name=f"onoma-{self.name}-{number}", daemon=True)

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop after the present batch; whoever still waits gets WorkerDead."""
        with self._cycle.lock:
            self._closed = True
            self._cycle.fail_all(f"the {self.name} is shutting down")
            self._cycle.lock.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=10)

    @property
    def alive(self) -> bool:
        """Whether it works; a thread that died is replaced."""
        return not (self._dead or self._closed)

    @property
    def workers(self) -> int:
        """Its threads; 0 if the model runs on the event loop."""
        return len(self._threads)

    @property
    def queued(self) -> tuple[int, int]:
        """Windows and word-pieces that wait."""
        with self._cycle.lock:
            return self._cycle.queue.windows, self._cycle.queue.tokens

    @property
    def wait_seconds(self) -> float:
        """How long what comes now will probably wait; 0 while the model's speed is unknown."""
        return self._waiting / self._rate if self._rate else 0.0

    @property
    def _rate(self) -> float:
        return self._cycle.rate * max(1, len(self._threads))

    @property
    def _waiting(self) -> int:
        return self._cycle.queue.tokens + self._reserved

    async def run(
        self, texts: Sequence[str], *, deadline: float, bulk: bool = False, bounded: bool = True
    ) -> tuple[list[A], Stages]:
        """The answers to texts of a few pages at most; longer ones are encoded elsewhere and come to `infer`.

        :param deadline: time.monotonic() after which nobody wants the answer; what then still waits never runs.
        :param bulk: lets others overtake.
        :param bounded: False admits the request to a full queue, for health checks.
        :raises ServiceError: Overloaded, DeadlineExceeded, InferenceFailed or WorkerDead.
        """
        job = self._job(texts, deadline, bulk)
        if not texts:
            return [], job.stages
        job.estimate()
        self._submit(job, bounded)
        return await self._outcome(job)

    async def infer(
        self, inputs: Sequence[Ints], *, deadline: float, bulk: bool = False
    ) -> tuple[list[Floats], Stages]:
        """The output of each window (T,), of a request that had a place reserved; parameters and errors as `run`."""
        job = self._job((), deadline, bulk)
        if not inputs:
            return [], job.stages
        job.encode(list(inputs))
        self._submit(job, False)
        return await self._outcome(job)

    @contextmanager
    def reserved(self, characters: int) -> Iterator[None]:
        """A place in the queue for a request of so many characters while it is encoded.

        :raises Overloaded: if there is none.
        """
        tokens = estimated_tokens(characters)
        self._admit(tokens)
        self._reserved += tokens
        try:
            yield
        finally:
            self._reserved -= tokens

    def _admit(self, tokens: int, *, bulk: bool = False) -> None:
        waiting, limit = self._waiting, float(self._max_queue_tokens)
        if self._rate:
            limit = min(limit, self._max_queue_seconds * self._rate)
        # The last fifth is for small requests, which fair queueing lets overtake: large ones shall not shut them out.
        if bulk or tokens > _SMALL * limit:
            limit *= 1 - _KEPT_FOR_SMALL
        if waiting and waiting + tokens > limit:
            raise Overloaded(
                f"the {self.name}'s queue is full: {waiting} word-pieces wait, {tokens} more would pass the limit of "
                f"{int(limit)}; try again later",
                seconds=max(1, math.ceil(self.wait_seconds)),
            )

    def _job(self, texts: Sequence[str], deadline: float, bulk: bool) -> Job:
        future = asyncio.get_running_loop().create_future()
        return Job(texts, future, deadline, time.monotonic(), weight=BULK_WEIGHT if bulk else 1)

    def _submit(self, job: Job, bounded: bool) -> None:
        cycle = self._cycle
        with cycle.lock:
            if self._dead or self._closed:
                raise WorkerDead(f"the {self.name} does not run any more")
            if bounded:
                self._admit(job.waiting_tokens, bulk=job.weight > 1)
            cycle.queue.push(job) if job.inputs else cycle.queue.add(job)
            if cycle.idle:
                cycle.lock.notify(len(job.inputs) or 1)
        if not (self._threads or self._turning):
            self._turning = True
            job.future.get_loop().call_soon(self._turn, context=self._context)

    async def _outcome(self, job: Job) -> Outcome:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(max(0.0, job.deadline - time.monotonic()), self._late, job)
        try:
            return await job.future, job.stages
        finally:
            timer.cancel()
            if not job.over:
                with self._cycle.lock:
                    self._cycle.queue.retire(job)

    def _late(self, job: Job) -> None:
        if not job.future.done():
            error = DeadlineExceeded(f"no answer from the {self.name} within the request's time")
            job.future.set_exception(error)

    def _turn(self) -> None:
        """One cycle on the event loop, which then reads what has come meanwhile, before the next."""
        held: list[Job] = []
        try:
            self._cycle.step(held)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._bury(held, error)
        self._turning = self._cycle.work and self.alive
        if self._turning:
            asyncio.get_running_loop().call_soon(self._turn)

    def _work(self, number: int) -> None:
        """A thread: cycles until the engine is over."""
        held: list[Job] = []
        try:
            while self._cycle.wait(lambda: not self.alive):
                self._cycle.step(held)
                held.clear()
        except BaseException as error:
            # Nothing may leave a client waiting for a thread that is gone.
            self._bury(held, error)
            with self._cycle.lock:
                if self.alive:
                    self._threads[number] = self._thread(number)
                    self._threads[number].start()

    def _bury(self, held: list[Job], error: BaseException) -> None:
        """After a death: what was worked on is tried again alone, once; after too many, nothing is."""
        LOG.critical("a worker of the %s died: %s", self.name, type(error).__name__)
        if self._observer is not None:
            self._observer.worker_died(self.name)
        now = time.monotonic()
        with self._cycle.lock:
            self._dead = len(self._deaths) == _DEATHS and now - self._deaths[0] < _DEATH_SECONDS
            self._deaths.append(now)
            for job in held:
                if job.lives and not self._dead:
                    job.lives -= 1
                    self._cycle.suspect(job)
                else:
                    self._cycle.fail(job, WorkerDead(f"a worker of the {self.name} died of this request"))
            if self._dead:
                self._cycle.fail_all(f"the workers of the {self.name} keep dying")
            self._cycle.lock.notify_all()
