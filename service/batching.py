"""Batching: the windows of all clients share model runs.

A worker thread that is idle takes a batch at once and never waits for more: under light load a window runs alone,
under heavy load batches fill while the workers are busy. onnxruntime releases the GIL while it runs.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from service.errors import DeadlineExceeded, InferenceFailed, Overloaded, ServiceError, WorkerDead
from service.queueing import FairQueue, Floats, Inferred, Ints, Item, Job

Infer = Callable[[Sequence[Ints]], list[Floats]]

LOG = logging.getLogger("onoma.service")


class BatchObserver(Protocol):
    """Told of every batch; the metrics are one."""

    def batch(self, model: str, *, windows: int, tokens: int, padded: int, seconds: float) -> None:
        """A model run is over."""
        ...


class Engine:
    """One model's queue and worker threads.

    :param infer: emissions of each window; called from the worker threads.
    :param batch_tokens: most word-pieces, padding included, in one run (a longer window runs alone).
    :param max_queue_tokens: word-pieces that may wait; a request that finds the queue empty is always admitted.
    """

    def __init__(
        self,
        name: str,
        infer: Infer,
        *,
        batch_tokens: int,
        max_queue_tokens: int,
        workers: int = 1,
        observer: BatchObserver | None = None,
    ) -> None:
        self.name = name
        self._infer = infer
        self._batch_tokens = batch_tokens
        self._max_queue_tokens = max_queue_tokens
        self._observer = observer
        self._wake = threading.Condition()
        self._queue = FairQueue()
        self._closed = False
        self._dead = False
        self._threads = [
            threading.Thread(target=self._work, name=f"onoma-{name}-{number}", daemon=True) for number in range(workers)
        ]

    def start(self) -> None:
        """Start the worker threads."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop the workers after their present batch; whoever still waits gets WorkerDead."""
        with self._wake:
            self._closed = True
            self._fail_all(WorkerDead, f"the {self.name} is shutting down")
            self._wake.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=10)

    @property
    def alive(self) -> bool:
        """Whether every worker runs."""
        return not self._dead and not self._closed and all(thread.is_alive() for thread in self._threads)

    @property
    def queued(self) -> tuple[int, int]:
        """Windows and word-pieces that wait."""
        with self._wake:
            return self._queue.windows, self._queue.tokens

    async def infer(self, inputs: Sequence[Ints], *, deadline: float, bounded: bool = True) -> Inferred:
        """Emissions of each window (T,).

        :param deadline: time.monotonic() after which nobody wants the answer; what then still waits never runs.
        :param bounded: False admits the request to a full queue, for health checks.
        :raises ServiceError: Overloaded, DeadlineExceeded, InferenceFailed or WorkerDead.
        """
        if not inputs:
            return Inferred([], 0.0, 0.0)
        job = self._submit(inputs, deadline, bounded)
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                return await asyncio.wrap_future(job.future)
        except TimeoutError:
            raise DeadlineExceeded(f"no answer from the {self.name} within the request's time") from None
        finally:
            with self._wake:
                self._queue.retire(job)

    def _submit(self, inputs: Sequence[Ints], deadline: float, bounded: bool) -> Job:
        job = Job.of(inputs, deadline=deadline, now=time.monotonic())
        # A running future cannot be cancelled from outside: only the engine ends it, under its lock.
        job.future.set_running_or_notify_cancel()
        with self._wake:
            if self._dead or self._closed:
                raise WorkerDead(f"the {self.name} does not run any more")
            waiting, more = self._queue.tokens, job.waiting_tokens
            if bounded and waiting and waiting + more > self._max_queue_tokens:
                raise Overloaded(
                    f"the {self.name}'s queue is full: {waiting} word-pieces wait, {more} more would pass the limit of "
                    f"{self._max_queue_tokens}; try again later"
                )
            self._queue.push(job)
            self._wake.notify(len(inputs))
        return job

    def _fail(self, job: Job, error: ServiceError) -> None:
        with self._wake:
            if self._queue.retire(job):
                job.future.set_exception(error)

    def _fail_all(self, kind: type[ServiceError], message: str) -> None:
        for job in self._queue.jobs():
            self._fail(job, kind(message))

    def _work(self) -> None:
        batch: list[Item] = []
        try:
            while batch := self._take():
                self._run(batch)
        except BaseException as error:
            # Nothing may leave a client waiting for a thread that is gone; the probes see `alive` turn False.
            LOG.critical("worker of the %s died: %s", self.name, type(error).__name__)
            with self._wake:
                self._dead = True
                for item in batch:
                    self._fail(item.job, WorkerDead(f"the {self.name}'s worker died"))
                self._fail_all(WorkerDead, f"the {self.name}'s worker died")
                self._wake.notify_all()

    def _take(self) -> list[Item]:
        """The next batch, waiting until there is one; empty when the engine is over."""
        with self._wake:
            while not (self._closed or self._dead):
                if batch := self._queue.take(self._batch_tokens, now=time.monotonic(), expire=self._expire):
                    return batch
                self._wake.wait()
        return []

    def _expire(self, job: Job) -> None:
        self._fail(job, DeadlineExceeded(f"the request's time ran out in the {self.name}'s queue"))

    def _run(self, batch: list[Item]) -> None:
        began = time.monotonic()
        inputs = [item.ids for item in batch]
        try:
            rows = self._checked(inputs)
        except Exception as error:
            self._isolate(batch, error)
            return
        done = time.monotonic()
        if self._observer is not None:
            lengths = [len(ids) for ids in inputs]
            padded = max(lengths) * len(lengths)
            self._observer.batch(
                self.name, windows=len(batch), tokens=sum(lengths), padded=padded, seconds=done - began
            )
        with self._wake:
            for item, emissions in zip(batch, rows, strict=True):
                job = item.job
                job.emissions[item.at] = emissions
                job.left -= 1
                if job.left == 0 and self._queue.retire(job):
                    started = job.started or began
                    job.future.set_result(Inferred(job.emissions, started - job.submitted, done - started))

    def _checked(self, inputs: list[Ints]) -> list[Floats]:
        rows = self._infer(inputs)
        if [len(one) for one in rows] != [len(ids) for ids in inputs]:
            raise ValueError("the model's emissions do not match its inputs")
        if not all(np.isfinite(one).all() for one in rows):
            raise ValueError("the model's emissions are not finite")
        return rows

    def _isolate(self, batch: list[Item], error: Exception) -> None:
        """One request's failure is no other's: run each request of a failed batch alone."""
        groups: dict[int, list[Item]] = {}
        for item in batch:
            groups.setdefault(id(item.job), []).append(item)
        if len(groups) > 1:
            for group in groups.values():
                self._run(group)
            return
        LOG.error("inference of the %s failed: %s", self.name, type(error).__name__)
        failure = InferenceFailed(f"the {self.name} failed")
        failure.__cause__ = error
        self._fail(batch[0].job, failure)
