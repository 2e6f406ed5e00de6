"""Backend: a tagger with its queue; runs the three steps for the texts of one request."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from onoma.tagger import Tagged, Tagger
from service.batching import Engine
from service.errors import InferenceFailed, ServiceError
from service.metrics import Metrics

LOG = logging.getLogger("onoma.service")
T = TypeVar("T")


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


@dataclass(frozen=True, slots=True)
class Backend:
    """One loaded model.

    :param pool: threads for tokenizing and decoding, shared by all backends.
    """

    name: str
    tagger: Tagger
    engine: Engine
    pool: Executor
    metrics: Metrics = field(repr=False)

    async def run(self, texts: Sequence[str], stages: Stages, *, deadline: float) -> list[Tagged]:
        """Tag texts; adds the time of each stage to `stages`.

        :raises ServiceError: whatever goes wrong; an error nobody foresaw becomes InferenceFailed.
        """
        try:
            return await self._run(texts, stages, deadline)
        except ServiceError:
            raise
        except Exception as error:
            # A model that breaks in any way must look the same to the cascade, which then asks the other one.
            LOG.error("the %s failed: %s", self.name, type(error).__name__)
            raise InferenceFailed(f"the {self.name} failed") from error

    async def _run(self, texts: Sequence[str], stages: Stages, deadline: float) -> list[Tagged]:
        began = time.monotonic()
        encoded = await self._in_pool(lambda: self.tagger.encode(texts))
        after_encode = time.monotonic()
        inferred = await self.engine.infer([ids for one in encoded for ids in one.inputs], deadline=deadline)
        before_decode = time.monotonic()
        tagged = await self._in_pool(lambda: self.tagger.decode_batch(encoded, inferred.emissions))
        done = time.monotonic()
        spent = Stages(inferred.queue, after_encode - began, inferred.infer, done - before_decode)
        stages.add(spent)
        self.metrics.stages(
            self.name,
            queue=spent.queue,
            tokenize=spent.tokenize,
            infer=spent.infer,
            decode=spent.decode,
            total=done - began,
        )
        return tagged

    async def _in_pool(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.pool, work)

    def warm_up(self, batch_tokens: int) -> None:
        """Run the largest shape and a small one, so that memory is claimed before the first request."""
        limit = self.tagger.encoder.limit
        for length, rows in ((limit, max(1, batch_tokens // limit)), (8, 1)):
            self.tagger.infer([np.zeros(length, dtype=np.int64)] * rows)
        self.tagger.tag("Angela Merkel")

    async def probe(self, *, deadline: float) -> None:
        """A real inference through the queue, admitted even when it is full.

        :raises ServiceError: if it fails.
        """
        encoded = await self._in_pool(lambda: self.tagger.encode(["Angela Merkel"]))
        await self.engine.infer(encoded[0].inputs, deadline=deadline, bounded=False)
