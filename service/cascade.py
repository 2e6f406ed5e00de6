"""Cascade: the student answers; the teacher where the student is unsure or fails, and where it pays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from onoma.tagger import Tagged
from service.backend import Backend
from service.breaker import Breaker
from service.budget import Budget
from service.errors import (
    ClientGone,
    DeadlineExceeded,
    InferenceFailed,
    ModelNotLoaded,
    NotReady,
    Overloaded,
    ServiceError,
    WorkerDead,
    shown,
)
from service.metrics import Metrics
from service.pace import Pace
from service.queueing import Stages
from service.schemas import Declined, Fallback, ModelChoice

RESERVE_SECONDS = 0.1
"""Of a request's time, what the teacher may not use: the student's answer must still be sent."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One text's entities and the model that found them.

    :param fallback: why the teacher answered in the student's place.
    :param declined: why it did not, though it was wanted.
    """

    tagged: Tagged
    model: str
    fallback: Fallback | None = None
    declined: Declined | None = None


class Cascade:
    """Chooses the model of each text.

    :param encoders: names of the models that find no entities, for messages.
    :param threshold: confidence under which `auto` asks the teacher.
    :param fallback: False: `auto` never asks the teacher.
    :param fallback_seconds: how long `auto` waits for the teacher.
    :param budget: how much of the traffic it may ask about because the student is unsure.
    :param breaker: leaves a broken teacher alone.
    :param wait_seconds: how long a text would wait in the teacher's queue now.
    """

    def __init__(
        self,
        backends: Mapping[str, Backend],
        *,
        threshold: float,
        fallback: bool,
        fallback_seconds: float,
        budget: Budget,
        breaker: Breaker,
        metrics: Metrics,
        encoders: Collection[str] = (),
        wait_seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._backends = backends
        self._encoders = encoders
        self._threshold = threshold
        self._fallback = fallback
        self._fallback_seconds = fallback_seconds
        self._budget = budget
        self._breaker = breaker
        self._metrics = metrics
        self._wait_seconds = wait_seconds
        self._pace = Pace()
        metrics.breaker_open.set_function(lambda: float(breaker.open))

    async def tag(
        self, texts: Sequence[str], stages: Stages, *, model: ModelChoice, deadline: float, bulk: bool = False
    ) -> list[Answer]:
        """One answer per text, in order; adds the time spent to `stages`.

        :param bulk: lets others overtake.
        :raises ServiceError: if no model could answer.
        """
        if model == "auto":
            return await self._auto(texts, stages, deadline, bulk)
        tagged = await self._backend(model).run(texts, stages, deadline=deadline, bulk=bulk)
        return [Answer(one, model) for one in tagged]

    def check(self, model: ModelChoice) -> None:
        """Do nothing if that model can be asked.

        :raises ServiceError: NotReady or ModelNotLoaded.
        """
        self._backend("student" if model == "auto" else model)

    def _backend(self, name: str) -> Backend:
        if not self._backends:
            raise NotReady("the models are not loaded yet")
        if (backend := self._backends.get(name)) is None:
            there = ", ".join(self._backends)
            if name in self._encoders:
                where = "POST /embed and POST /similarity"
                raise ModelNotLoaded(f"model: {name} gives vectors ({where}) and finds no entities; these do: {there}")
            raise ModelNotLoaded(f"model: this server runs without {shown(name)}; it has {there}")
        return backend

    async def _auto(self, texts: Sequence[str], stages: Stages, deadline: float, bulk: bool) -> list[Answer]:
        try:
            tagged = await self._backend("student").run(texts, stages, deadline=deadline, bulk=bulk)
        except (InferenceFailed, WorkerDead):
            # Only a broken student: when it is overloaded, sending its load to the slower teacher would be worse.
            if not self._fallback:
                raise
            helped = await self._ask(texts, stages, deadline, bulk)
            if isinstance(helped, str):
                self._metrics.fallbacks_declined.labels(reason="student_error", declined=helped).inc(len(texts))
                raise
            self._metrics.fallbacks.labels(reason="student_error").inc(len(texts))
            return [Answer(one, "teacher", "student_error") for one in helped]
        answers = [Answer(one, "student") for one in tagged]
        if not self._fallback:
            return answers
        self._budget.see(sum(map(len, texts)))
        unsure = [at for at, one in enumerate(tagged) if one.confidence < self._threshold]
        unsure.sort(key=lambda at: tagged[at].confidence)
        opinions = await self._second_opinions([texts[at] for at in unsure], stages, deadline, bulk)
        for at, opinion in zip(unsure, opinions, strict=True):
            if isinstance(opinion, str):
                self._metrics.fallbacks_declined.labels(reason="low_confidence", declined=opinion).inc()
                answers[at] = Answer(tagged[at], "student", declined=opinion)
            else:
                self._metrics.fallbacks.labels(reason="low_confidence").inc()
                answers[at] = Answer(opinion, "teacher", "low_confidence")
        return answers

    async def _second_opinions(
        self, texts: Sequence[str], stages: Stages, deadline: float, bulk: bool
    ) -> Sequence[Tagged | Declined]:
        """What the teacher says of each text, or why it says nothing; the first texts need it most."""
        if (closed := self._closed()) is not None:
            return [closed] * len(texts)
        opinions: list[Tagged | Declined] = ["budget"] * len(texts)
        if granted := self._budget.take([len(text) for text in texts]):
            helped = await self._ask(texts[:granted], stages, deadline, bulk)
            if isinstance(helped, str):
                self._budget.give_back(sum(map(len, texts[:granted])))
            opinions[:granted] = [helped] * granted if isinstance(helped, str) else helped
        return opinions

    def _closed(self) -> Declined | None:
        """Why no text at all would be taken to the teacher now."""
        if "teacher" not in self._backends:
            return "no_teacher"
        return None if self._breaker.ready else "circuit_open"

    async def _ask(
        self, texts: Sequence[str], stages: Stages, deadline: float, bulk: bool
    ) -> list[Tagged] | Declined:
        """The teacher's answers, or why it has none in time."""
        if (closed := self._closed()) is not None:
            return closed
        characters = sum(map(len, texts))
        began = time.monotonic()
        left = min(self._fallback_seconds, deadline - RESERVE_SECONDS - began)
        wait = self._wait_seconds()
        if wait + self._pace.expect(characters) >= left:
            return "queue" if wait >= left > 0 else "deadline"
        permit = self._breaker.admit()
        outcome: list[Tagged] | Declined
        ok: bool | None = None
        try:
            async with asyncio.timeout(left):
                outcome = await self._backends["teacher"].run(texts, stages, deadline=began + left, bulk=bulk)
            ok = True
        except ClientGone:
            raise  # it says nothing about the teacher
        except Overloaded:
            outcome = "queue"
        except (TimeoutError, DeadlineExceeded):
            outcome, ok = "deadline", False
        except ServiceError:
            outcome, ok = "teacher_error", False
        finally:
            # Also when the client has gone, or a probe would never end.
            self._breaker.report(permit, ok=ok)
        if ok or outcome == "deadline":
            self._pace.note(characters, max(0.0, time.monotonic() - began - wait))
        return outcome
