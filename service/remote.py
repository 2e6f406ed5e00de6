"""Remote: a model that another process runs, and what the two processes say to each other.

How it gets there is somebody else's business (service/ray.py). Times go as seconds left, because clocks differ, and
errors as values: an exception that crosses would bring its traceback into logs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, TypeVar

from onoma.bundle import EncoderManifest, Manifest
from onoma.embedder import Embedded
from onoma.labels import LabelSet
from onoma.tagger import Tagged
from service.backend import Served
from service.errors import DeadlineExceeded, InferenceFailed, ServiceError, error_classes
from service.queueing import Stages
from service.records import REQUEST_ID, note_run

LOG = logging.getLogger("onoma.service")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Question:
    """What one request asks of a model.

    :param texts: none: only whether it works.
    :param seconds: time left.
    :param request_id: for the lines that the other process logs.
    """

    texts: Sequence[str]
    seconds: float
    bulk: bool
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A ServiceError on its way."""

    code: str
    message: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model says.

    :param answers: one of each text, as the kind of model gives them.
    :param wait_seconds: how long what comes next will probably wait there.
    :param failure: instead of an answer.
    """

    answers: list[Any]
    stages: Stages
    wait_seconds: float
    failure: Failure | None = None


Ask = Callable[[Question], Awaitable[Reply]]
"""Carries a question there and the reply back. It gives the question up when it is cancelled, and raises ServiceError
where there is no way or nobody answers any more."""


async def reply(backend: Served, question: Question) -> Reply:
    """Answer a question in the process that has the model."""
    REQUEST_ID.set(question.request_id)
    deadline = time.monotonic() + question.seconds
    stages = Stages()
    try:
        if question.texts:
            answers = await backend.run(question.texts, stages, deadline=deadline, bulk=question.bulk)
        else:
            answers = []
            await backend.probe(deadline=deadline)
    except ServiceError as error:
        return Reply([], stages, backend.wait_seconds, Failure(error.code, error.message, error.headers))
    return Reply(answers, stages, backend.wait_seconds)


def as_error(failure: Failure) -> ServiceError:
    """The error that the other process had."""
    kind = {one.code: one for one in error_classes()}.get(failure.code, InferenceFailed)
    error = kind.__new__(kind)
    ServiceError.__init__(error, failure.message, headers=failure.headers)
    return error


@dataclass(slots=True)
class _Remote(Generic[A]):
    """A model that another process runs. Its metrics are kept there."""

    name: str
    ask: Ask = field(repr=False)
    _wait: float = field(default=0.0, init=False)
    _told: float = field(default=0.0, init=False)  # when

    @property
    def alive(self) -> bool:
        """Always: whoever looks after the other process replaces it."""
        return True

    @property
    def queued(self) -> tuple[int, int]:
        """Nothing waits here."""
        return 0, 0

    @property
    def wait_seconds(self) -> float:
        """As was said last, less the time since; with several processes behind the name, as one of them said."""
        return max(0.0, self._wait - (time.monotonic() - self._told))

    def start(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""

    async def run(self, texts: Sequence[str], stages: Stages, *, deadline: float, bulk: bool = False) -> list[A]:
        """As Served has it. The way there and back is in no stage, only in the time of the whole request."""
        noted = note_run(self.name, len(texts), time.monotonic())
        if not texts:
            return []
        told = await self._ask(texts, deadline, bulk)
        stages.add(told.stages)
        if noted is not None:
            noted.stages = told.stages
        return told.answers

    async def probe(self, *, deadline: float) -> None:
        """As Served has it, of one of the processes behind the name."""
        await self._ask((), deadline, False)

    async def _ask(self, texts: Sequence[str], deadline: float, bulk: bool) -> Reply:
        left = deadline - time.monotonic()
        question = Question(texts, left, bulk, REQUEST_ID.get())
        try:
            async with asyncio.timeout(left):
                told = await self.ask(question)
        except TimeoutError:
            raise DeadlineExceeded(f"no answer from the {self.name} within the request's time") from None
        except ServiceError:
            raise
        except Exception as error:
            # As in LocalBackend: whatever breaks must look the same to the cascade.
            LOG.error("the %s cannot be asked: %s", self.name, type(error).__name__)
            raise InferenceFailed(f"the {self.name} failed") from error
        self._wait, self._told = told.wait_seconds, time.monotonic()
        if told.failure is not None:
            raise as_error(told.failure)
        return told


@dataclass(slots=True)
class RemoteBackend(_Remote[Tagged]):
    """A tagger that another process runs (a Backend)."""

    kind: ClassVar[Literal["token-classification"]] = "token-classification"
    labels: LabelSet = field(kw_only=True)
    manifest: Manifest | None = None


@dataclass(slots=True)
class RemoteEncoder(_Remote[Embedded]):
    """A sentence encoder that another process runs (an EncoderBackend)."""

    kind: ClassVar[Literal["sentence-encoder"]] = "sentence-encoder"
    dimensions: int = field(kw_only=True)
    manifest: EncoderManifest | None = None
