"""Backend: what answers by a model's name; here, a model with its queue."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from onoma.bundle import EncoderManifest, Manifest
from onoma.embedder import Embedded, Embedder
from onoma.labels import LabelSet
from onoma.tagger import Tagged, Tagger
from service.batching import Engine
from service.errors import InferenceFailed, ServiceError
from service.metrics import Metrics
from service.queueing import Stages
from service.records import note_run
from service.steps import Steps

LOG = logging.getLogger("onoma.service")
A = TypeVar("A")

LONG = 16_384
"""Characters of a request from which on it is encoded and decoded in a thread of its own: others shall not wait."""

AnyModel = Tagger | Embedder
"""What a bundle is loaded as."""


class Served(Protocol):
    """What answers by the name of one model of any kind: in this process, or elsewhere."""

    @property
    def name(self) -> str:
        """What requests call it."""
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

    async def run(self, texts: Sequence[str], stages: Stages, *, deadline: float, bulk: bool = False) -> list[Any]:
        """The answer to each text; adds the time of each stage to `stages`.

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


class Backend(Served, Protocol):
    """A tagger."""

    kind: ClassVar[Literal["token-classification"]]

    @property
    def labels(self) -> LabelSet:
        """The types that it knows."""
        ...

    @property
    def manifest(self) -> Manifest | None:
        """Its bundle, if it has one."""
        ...

    async def run(self, texts: Sequence[str], stages: Stages, *, deadline: float, bulk: bool = False) -> list[Tagged]:
        """As Served has it."""
        ...


class EncoderBackend(Served, Protocol):
    """A sentence encoder."""

    kind: ClassVar[Literal["sentence-encoder"]]

    @property
    def dimensions(self) -> int:
        """Numbers in the vector of a text."""
        ...

    @property
    def manifest(self) -> EncoderManifest | None:
        """Its bundle, if it has one."""
        ...

    async def run(self, texts: Sequence[str], stages: Stages, *, deadline: float, bulk: bool = False) -> list[Embedded]:
        """As Served has it."""
        ...


AnyBackend = Backend | EncoderBackend


@dataclass(frozen=True, slots=True)
class _Local(Generic[A]):
    """A model loaded in this process.

    :param pool: threads for encoding and decoding long requests, shared by all backends.
    """

    name: str
    model: Steps[A]
    engine: Engine[A]
    pool: Executor
    metrics: Metrics = field(repr=False)

    @property
    def alive(self) -> bool:
        """As Served has it."""
        return self.engine.alive

    @property
    def queued(self) -> tuple[int, int]:
        """As Served has it."""
        return self.engine.queued

    @property
    def wait_seconds(self) -> float:
        """As Served has it."""
        return self.engine.wait_seconds

    def start(self) -> None:
        """As Served has it."""
        self.engine.start()

    def close(self) -> None:
        """As Served has it."""
        self.engine.close()

    async def run(self, texts: Sequence[str], stages: Stages, *, deadline: float, bulk: bool = False) -> list[A]:
        """As Served has it."""
        began = time.monotonic()
        noted = note_run(self.name, len(texts), began)
        try:
            run = self._long if sum(map(len, texts)) >= LONG else self.engine.run
            answers, spent = await run(texts, deadline=deadline, bulk=bulk)
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
        return answers

    async def _long(self, texts: Sequence[str], *, deadline: float, bulk: bool) -> tuple[list[A], Stages]:
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        with self.engine.reserved(sum(map(len, texts))):
            encoded = await loop.run_in_executor(self.pool, self.model.encode, texts)
        after_encode = time.monotonic()
        inputs = [ids for one in encoded for ids in one.inputs]
        outputs, spent = await self.engine.infer(inputs, deadline=deadline, bulk=bulk)
        before_decode = time.monotonic()
        answers = await loop.run_in_executor(self.pool, self.model.decode_batch, encoded, outputs)
        spent.tokenize, spent.decode = after_encode - began, time.monotonic() - before_decode
        return answers, spent

    async def probe(self, *, deadline: float) -> None:
        """As Served has it."""
        await self.engine.run(["Angela Merkel"], deadline=deadline, bounded=False)


@dataclass(frozen=True, slots=True)
class LocalBackend(_Local[Tagged]):
    """A tagger loaded in this process (a Backend)."""

    kind: ClassVar[Literal["token-classification"]] = "token-classification"
    model: Tagger

    @property
    def labels(self) -> LabelSet:
        """As Backend has it."""
        return self.model.labels

    @property
    def manifest(self) -> Manifest | None:
        """As Backend has it."""
        return self.model.manifest


@dataclass(frozen=True, slots=True)
class LocalEncoder(_Local[Embedded]):
    """A sentence encoder loaded in this process (an EncoderBackend)."""

    kind: ClassVar[Literal["sentence-encoder"]] = "sentence-encoder"
    model: Embedder

    @property
    def dimensions(self) -> int:
        """As EncoderBackend has it."""
        return self.model.dimensions

    @property
    def manifest(self) -> EncoderManifest | None:
        """As EncoderBackend has it."""
        return self.model.manifest
