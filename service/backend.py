"""Backend: what answers by a model's name; here, a tagger with its queue."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Protocol

from onoma.bundle import Manifest
from onoma.labels import LabelSet
from onoma.tagger import Tagged, Tagger
from service.batching import Engine
from service.errors import InferenceFailed, ServiceError
from service.metrics import Metrics
from service.queueing import Stages
from service.records import note_run

LOG = logging.getLogger("onoma.service")

LONG = 16_384
"""Characters of a request from which on it is encoded and decoded in a thread of its own: others shall not wait."""


class Backend(Protocol):
    """What answers by the name of one model: in this process, or elsewhere."""

    @property
    def name(self) -> str:
        """What requests call it."""
        ...

    @property
    def labels(self) -> LabelSet:
        """The types that it knows."""
        ...

    @property
    def manifest(self) -> Manifest | None:
        """Its bundle, if it has one."""
        ...

    @property
    def alive(self) -> bool:
        """Whether it may work: False when it certainly never will again."""
        ...

    @property
    def queued(self) -> tuple[int, int]:
        """Windows and word-pieces that wait in this process."""
        ...

    @property
    def wait_seconds(self) -> float:
        """How long what comes now will probably wait."""
        ...

    def start(self) -> None:
        """Begin to work."""
        ...

    def close(self) -> None:
        """Stop after what runs now."""
        ...

    async def run(self, texts: Sequence[str], stages: Stages, *, deadline: float, bulk: bool = False) -> list[Tagged]:
        """Tag texts; adds the time of each stage to `stages`.

        :param deadline: time.monotonic() after which nobody wants the answer.
        :param bulk: lets others overtake.
        :raises ServiceError: whatever goes wrong; an error nobody foresaw becomes InferenceFailed.
        """
        ...

    async def probe(self, *, deadline: float) -> None:
        """A real inference, admitted even when the queue is full.

        :raises ServiceError: if it fails.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalBackend:
    """A model loaded in this process.

    :param pool: threads for encoding and decoding long requests, shared by all backends.
    """

    name: str
    tagger: Tagger
    engine: Engine
    pool: Executor
    metrics: Metrics = field(repr=False)

    @property
    def labels(self) -> LabelSet:
        """As Backend has it."""
        return self.tagger.labels

    @property
    def manifest(self) -> Manifest | None:
        """As Backend has it."""
        return self.tagger.manifest

    @property
    def alive(self) -> bool:
        """As Backend has it."""
        return self.engine.alive

    @property
    def queued(self) -> tuple[int, int]:
        """As Backend has it."""
        return self.engine.queued

    @property
    def wait_seconds(self) -> float:
        """As Backend has it."""
        return self.engine.wait_seconds

    def start(self) -> None:
        """As Backend has it."""
        self.engine.start()

    def close(self) -> None:
        """As Backend has it."""
        self.engine.close()

    async def run(self, texts: Sequence[str], stages: Stages, *, deadline: float, bulk: bool = False) -> list[Tagged]:
        """As Backend has it."""
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
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        with self.engine.reserved(sum(map(len, texts))):
            encoded = await loop.run_in_executor(self.pool, self.tagger.encode, texts)
        after_encode = time.monotonic()
        inputs = [ids for one in encoded for ids in one.inputs]
        emissions, spent = await self.engine.infer(inputs, deadline=deadline, bulk=bulk)
        before_decode = time.monotonic()
        tagged = await loop.run_in_executor(self.pool, self.tagger.decode_batch, encoded, emissions)
        spent.tokenize, spent.decode = after_encode - began, time.monotonic() - before_decode
        return tagged, spent

    async def probe(self, *, deadline: float) -> None:
        """As Backend has it."""
        await self.engine.tag(["Angela Merkel"], deadline=deadline, bounded=False)
