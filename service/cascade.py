"""Cascade: the student answers; the teacher where the student is unsure or fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from onoma.tagger import Tagged
from service.backend import Backend, Stages
from service.errors import InferenceFailed, ModelNotLoaded, NotReady, ServiceError, WorkerDead
from service.metrics import Metrics
from service.schemas import ModelChoice

Fallback = Literal["low_confidence", "student_error"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One text's entities, the model that found them, and why it was not the student where one was expected."""

    tagged: Tagged
    model: str
    fallback: Fallback | None = None


class Cascade:
    """Chooses the model of each text.

    :param threshold: confidence under which `auto` asks the teacher.
    :param fallback: False: `auto` never asks the teacher.
    :param fallback_seconds: how long `auto` waits for the teacher.
    """

    def __init__(
        self,
        backends: Mapping[str, Backend],
        *,
        threshold: float,
        fallback: bool,
        fallback_seconds: float,
        metrics: Metrics,
    ) -> None:
        self._backends = backends
        self._threshold = threshold
        self._helper = backends.get("teacher") if fallback else None
        self._fallback_seconds = fallback_seconds
        self._metrics = metrics

    async def tag(
        self, texts: Sequence[str], stages: Stages, *, model: ModelChoice, deadline: float
    ) -> list[Answer]:
        """One answer per text, in order; adds the time spent to `stages`.

        :raises ServiceError: if no model could answer.
        """
        if model == "auto":
            return await self._auto(texts, stages, deadline)
        tagged = await self._backend(model).run(texts, stages, deadline=deadline)
        return [Answer(one, model) for one in tagged]

    def _backend(self, name: str) -> Backend:
        if not self._backends:
            raise NotReady("the models are not loaded yet")
        if (backend := self._backends.get(name)) is None:
            raise ModelNotLoaded(f"model: this server runs without a {name}; it has {', '.join(self._backends)}")
        return backend

    async def _auto(self, texts: Sequence[str], stages: Stages, deadline: float) -> list[Answer]:
        try:
            tagged = await self._backend("student").run(texts, stages, deadline=deadline)
        except (InferenceFailed, WorkerDead):
            # Only a broken student: when it is overloaded, sending its load to the slower teacher would be worse.
            helped = await self._ask_teacher(texts, stages, deadline, "student_error")
            if helped is None:
                raise
            return [Answer(one, "teacher", "student_error") for one in helped]
        answers = [Answer(one, "student") for one in tagged]
        unsure = [at for at, one in enumerate(tagged) if one.confidence < self._threshold]
        if unsure:
            helped = await self._ask_teacher([texts[at] for at in unsure], stages, deadline, "low_confidence")
            for at, one in zip(unsure, helped or (), strict=helped is not None):
                answers[at] = Answer(one, "teacher", "low_confidence")
        return answers

    async def _ask_teacher(
        self, texts: Sequence[str], stages: Stages, deadline: float, reason: Fallback
    ) -> list[Tagged] | None:
        """The teacher's answers, or None where it has none in time: then the student's stand."""
        if self._helper is None:
            return None
        limit = min(deadline, time.monotonic() + self._fallback_seconds)
        try:
            async with asyncio.timeout(max(0.0, limit - time.monotonic())):
                tagged = await self._helper.run(texts, stages, deadline=limit)
        except (ServiceError, TimeoutError):
            self._metrics.fallbacks_unanswered.labels(reason=reason).inc(len(texts))
            return None
        self._metrics.fallbacks.labels(reason=reason).inc(len(texts))
        return tagged
