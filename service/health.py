"""Health: ready means that a real inference of every model has just worked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from service.backend import Backend
from service.errors import NotReady, ServiceError
from service.metrics import Metrics


class Health:
    """Whether the server should get requests.

    :param seconds: time a probe may take.
    :param cache_seconds: how long a probe's outcome answers for.
    """

    def __init__(self, *, seconds: float, cache_seconds: float, metrics: Metrics) -> None:
        self._seconds = seconds
        self._cache_seconds = cache_seconds
        self._metrics = metrics
        self._backends: Mapping[str, Backend] = {}
        self._draining = False
        self._checked_at = float("-inf")
        self._problem: str | None = None
        self._one_probe = asyncio.Lock()

    def loaded(self, backends: Mapping[str, Backend]) -> None:
        """The models are loaded and warm."""
        self._backends = backends

    def drain(self) -> None:
        """The server is about to stop: be unready from now on. Safe in a signal handler."""
        self._draining = True

    @property
    def draining(self) -> bool:
        """Whether the server is about to stop."""
        return self._draining

    async def check(self) -> None:
        """Return when ready.

        :raises NotReady: when not; the message says why.
        """
        problem = await self._find_problem()
        self._metrics.ready.set(problem is None)
        if problem is not None:
            raise NotReady(problem)

    async def _find_problem(self) -> str | None:
        if self._draining:
            return "the server is shutting down"
        if not self._backends:
            return "the models are not loaded yet"
        # Not from the cache: a dead worker stays dead.
        for name, backend in self._backends.items():
            if not backend.engine.alive:
                return f"a worker of the {name} is dead"
        async with self._one_probe:
            if time.monotonic() - self._checked_at >= self._cache_seconds:
                self._problem = await self._probe()
                self._checked_at = time.monotonic()
        return self._problem

    async def _probe(self) -> str | None:
        for name, backend in self._backends.items():
            try:
                await backend.probe(deadline=time.monotonic() + self._seconds)
            except ServiceError as error:
                return f"an inference of the {name} failed: {error.message}"
        return None
