"""Backend: a tagger with its queue; tags the texts of one request."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TypeVar

from onoma.tagger import Tagged, Tagger
from service.batching import Engine
from service.errors import InferenceFailed, ServiceError
from service.metrics import Metrics
from service.queueing import Stages
from service.records import note_run

LOG = logging.getLogger("onoma.service")
T = TypeVar("T")

LONG = 16_384
"""Characters of a request from which on it is encoded and decoded in a thread of its own: others shall not wait."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One loaded model.

    :param pool: threads for encoding and decoding long requests, shared by all backends.
    """

    name: str
    tagger: Tagger
    engine: Engine
    pool: Executor
    metrics: Metrics = field(repr=False)

    async def run(
        self, texts: Sequence[str], stages: Stages, *, deadline: float, bulk: bool = False
    ) -> list[Tagged]:
        """Tag texts; adds the time of each stage to `stages`.

        :param bulk: lets others overtake.
        :raises ServiceError: whatever goes wrong; an error nobody foresaw becomes InferenceFailed.
        """
        began = time.monotonic()
        noted = note_run(self.name, len(texts), began)
        try:
            run = self._long if sum(map(len, texts)) >= LONG else self.engine.tag
            tagged, spent = await run(texts, deadline=deadline, bulk=bulk)
        except ServiceError:
            raise
        except Exception as error:
            # A model that breaks in any way must look the same to the cascade, which then asks the other one.
            LOG.error("the %s failed: %s", self.name, type(error).__name__)
            raise InferenceFailed(f"the {self.name} failed") from error
        stages.add(spent)
        if noted is not None:
            noted.stages = spent
        self.metrics.stages(self.name, spent, time.monotonic() - began)
        return tagged

    async def _long(self, texts: Sequence[str], *, deadline: float, bulk: bool) -> tuple[list[Tagged], Stages]:
        began = time.monotonic()
        with self.engine.reserved(sum(map(len, texts))):
            encoded = await self._in_pool(lambda: self.tagger.encode(texts))
        after_encode = time.monotonic()
        inputs = [ids for one in encoded for ids in one.inputs]
        emissions, spent = await self.engine.infer(inputs, deadline=deadline, bulk=bulk)
        before_decode = time.monotonic()
        tagged = await self._in_pool(lambda: self.tagger.decode_batch(encoded, emissions))
        spent.tokenize, spent.decode = after_encode - began, time.monotonic() - before_decode
        return tagged, spent

    async def _in_pool(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.pool, work)

    async def probe(self, *, deadline: float) -> None:
        """A real inference through the queue, admitted even when it is full.

        :raises ServiceError: if it fails.
        """
        await self.engine.tag(["Angela Merkel"], deadline=deadline, bounded=False)
