"""Running: what a worker does with jobs outside the queue's lock, and how answers get back to the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np

from onoma.tagger import infer_in_batches
from service.errors import ServiceError
from service.queueing import Job
from service.steps import Floats, Ints, Steps

Answered = list[Any] | list[Floats]
Outcome = tuple[Any, Any]  # what the job's future gives (answers to texts, or list[Floats]), and its Stages


class BatchObserver(Protocol):
    """Told of every batch and every dead worker; the metrics are one."""

    def batch(self, model: str, *, windows: int, tokens: int, padded: int, seconds: float) -> None:
        """A model run is over."""
        ...

    def worker_died(self, model: str) -> None:
        """A worker thread ended that should not have."""
        ...


def checked(model: Steps[Any], inputs: Sequence[Ints]) -> list[Floats]:
    """The model's outputs.

    :raises ValueError: if they do not match the inputs, or are not finite.
    """
    rows = model.infer(inputs)
    if not model.fits(inputs, rows):
        raise ValueError("the model's outputs do not match its inputs")
    if not np.isfinite(rows[0] if len(rows) == 1 else np.concatenate(rows)).all():
        raise ValueError("the model's outputs are not finite")
    return rows


def run_alone(job: Job, model: Steps[Any], batch_tokens: int) -> Answered:
    """All steps of one job, without the company of others; its stages are timed."""
    began = time.monotonic()
    encoded = model.encode(job.texts)
    inputs = [ids for one in encoded for ids in one.inputs] if job.texts else job.inputs
    after_encode = time.monotonic()
    outputs = infer_in_batches(partial(checked, model), inputs, batch_tokens)
    after_infer = time.monotonic()
    answered: Answered = model.decode_batch(encoded, outputs) if job.texts else outputs
    stages = job.stages
    stages.queue, stages.tokenize = began - job.submitted, after_encode - began
    stages.infer, stages.decode = after_infer - after_encode, time.monotonic() - after_infer
    return answered


def deliver(outcomes: Sequence[tuple[Job, Answered | ServiceError]]) -> None:
    """Answer jobs, from any thread, waking their event loop once."""
    if not outcomes:
        return
    loop = outcomes[0][0].future.get_loop()
    if asyncio._get_running_loop() is loop:
        _answer(outcomes)
        return
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(_answer, outcomes)


def _answer(outcomes: Sequence[tuple[Job, Answered | ServiceError]]) -> None:
    for job, outcome in outcomes:
        if job.future.done():
            continue
        if isinstance(outcome, ServiceError):
            job.future.set_exception(outcome)
        else:
            job.future.set_result(outcome)
