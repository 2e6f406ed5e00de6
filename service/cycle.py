"""A cycle: encode what is new, run one batch of windows, decode the requests that it completes.

Encoding and decoding are shared by requests as well as the model runs: with a small model they cost as much.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import chain
from typing import Any

from service.errors import DeadlineExceeded, InferenceFailed, ServiceError, WorkerDead
from service.queueing import FairQueue, Item, Job
from service.running import Answered, BatchObserver, checked, deliver, run_alone
from service.steps import Ints, Steps

LOG = logging.getLogger("onoma.service")

ENCODED_TOGETHER = 8192
"""Most characters that are encoded between two model runs."""
_LATEST = 0.1  # share of the latest model run in the rate, if it was a quarter full; less of emptier ones


class Cycle:
    """What waits for one model, and the work on it; several threads may do it at the same time.

    :param name: the model's, for messages.
    :param model: its steps are the work.
    :param batch_tokens: most word-pieces, padding included, in one run (a longer window runs alone).
    :param lone: as in FairQueue.
    :param rate: word-pieces a second that one run infers; 0 while unknown.
    """

    def __init__(
        self,
        name: str,
        model: Steps[Any],
        *,
        batch_tokens: int,
        lone: float,
        rate: float,
        observer: BatchObserver | None,
    ) -> None:
        self.name = name
        self.lock = threading.Condition()
        self.queue = FairQueue(lone=lone)
        self.suspects: deque[Job] = deque()
        self.idle = 0  # threads that wait for work
        self.rate = rate
        self._model = model
        self._batch_tokens = batch_tokens
        self._observer = observer

    @property
    def work(self) -> bool:
        """Whether anything waits."""
        return bool(self.suspects or self.queue.windows)

    def wait(self, over: Callable[[], bool]) -> bool:
        """Wait for work, in a thread; False when it is over."""
        with self.lock:
            while not (over() or self.work):
                self.idle += 1
                self.lock.wait()
                self.idle -= 1
            return not over()

    def step(self, held: list[Job]) -> None:
        """One cycle.

        :param held: filled with the jobs that are being worked on, for whoever finds the thread dead.
        """
        with self.lock:
            if self.suspects:
                held.append(self.suspects.popleft())
                fresh = []
            else:
                fresh = self.queue.take_fresh(
                    ENCODED_TOGETHER, now=time.monotonic(), expire=self._expire, share=1 + self.idle
                )
                held += fresh
        if held and not fresh:
            self._run_suspect(held[0])
            return
        if fresh and not self._encode(fresh):
            return
        with self.lock:
            for job in fresh:
                if not job.over:
                    self.queue.push(job)
            batch = self.queue.take(self._batch_tokens, now=time.monotonic(), expire=self._expire)
            if self.idle and self.queue.windows:
                self.lock.notify()
        held[:] = {id(item.job): item.job for item in batch}.values()
        if batch:
            self._run(batch, held)

    def fail(self, job: Job, error: ServiceError) -> None:
        """End a job without an answer."""
        with self.lock:
            self.queue.retire(job)
        deliver([(job, error)])

    def fail_all(self, message: str) -> None:
        """End every job that waits."""
        for job in {id(job): job for job in (*self.suspects, *self.queue.jobs())}.values():
            self.fail(job, WorkerDead(message))

    def suspect(self, job: Job) -> None:
        """Take a job out of the queue, to be run alone."""
        with self.lock:
            self.queue.retire(job)
            if not job.future.done():
                self.suspects.append(job)

    def _expire(self, job: Job) -> None:
        self.fail(job, DeadlineExceeded(f"the request's time ran out in the {self.name}'s queue"))

    def _encode(self, jobs: list[Job]) -> bool:
        """Encode the texts of jobs together; False if they have to be tried one by one."""
        began = time.monotonic()
        try:
            encoded = self._model.encode([text for job in jobs for text in job.texts])
        except Exception as error:
            self._isolate(jobs, error)
            return False
        seconds = time.monotonic() - began
        low = 0
        empty: list[Job] = []
        for job in jobs:
            own = encoded[low : low + len(job.texts)]
            low += len(job.texts)
            job.encode([ids for one in own for ids in one.inputs], own)
            job.stages.tokenize = seconds
            job.stages.queue = began - job.submitted
            if not job.inputs:
                empty.append(job)
        self._finish(empty)
        return True

    def _run(self, batch: list[Item], jobs: list[Job]) -> None:
        """Run a batch and answer the jobs it completes."""
        began = time.monotonic()
        inputs = [item.ids for item in batch]
        try:
            rows = checked(self._model, inputs)
        except Exception as error:
            self._isolate(jobs, error)
            return
        done = time.monotonic()
        self._observe(inputs, done - began)
        finished = []
        with self.lock:
            for item, output in zip(batch, rows, strict=True):
                job = item.job
                job.outputs[item.at] = output
                job.left -= 1
                if job.left == 0 and self.queue.retire(job):
                    started = began if job.started is None else job.started
                    job.stages.queue = started - job.submitted - job.stages.tokenize
                    job.stages.infer = done - started
                    finished.append(job)
        self._finish(finished)

    def _observe(self, inputs: list[Ints], seconds: float) -> None:
        lengths = [len(ids) for ids in inputs]
        tokens, padded = sum(lengths), max(lengths) * len(lengths)
        share = _LATEST * min(1.0, 4 * tokens / self._batch_tokens) if self.rate else 1.0
        self.rate += (tokens / max(seconds, 1e-6) - self.rate) * share
        if self._observer is not None:
            self._observer.batch(self.name, windows=len(inputs), tokens=tokens, padded=padded, seconds=seconds)

    def _finish(self, jobs: list[Job]) -> None:
        """Decode jobs together and answer them."""
        if not jobs:
            return
        began = time.monotonic()
        try:
            answers = self._model.decode_batch(
                [one for job in jobs for one in job.encoded],
                list(chain.from_iterable(job.outputs for job in jobs if job.texts)),
            )
        except Exception as error:
            self._isolate(jobs, error)
            return
        seconds = time.monotonic() - began
        outcomes: list[tuple[Job, Answered | ServiceError]] = []
        low = 0
        for job in jobs:
            if job.texts:
                job.stages.decode = seconds
                outcomes.append((job, answers[low : low + len(job.texts)]))
                low += len(job.texts)
            else:
                outcomes.append((job, job.outputs))
        deliver(outcomes)

    def _isolate(self, jobs: list[Job], error: Exception) -> None:
        """One request's failure is no other's: run each job of a failed batch alone."""
        if len(jobs) > 1:
            for job in jobs:
                self.suspect(job)
            return
        LOG.error("inference of the %s failed: %s", self.name, type(error).__name__)
        failure = InferenceFailed(f"the {self.name} failed")
        failure.__cause__ = error
        self.fail(jobs[0], failure)

    def _run_suspect(self, job: Job) -> None:
        if job.future.done():
            return
        try:
            outcome = run_alone(job, self._model, self._batch_tokens)
        except Exception as error:
            self._isolate([job], error)
            return
        deliver([(job, outcome)])
