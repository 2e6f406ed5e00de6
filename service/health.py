"""Health: ready means that a real inference of every model has just worked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

from service.backend import AnyBackend
from service.errors import NotReady, ServiceError
from service.generation import Generation
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
        self._generation: Generation | None = None
        self._draining = False
        self._closing = False
        # By model: when it was probed, and what was wrong then.
        self._outcomes: dict[str, tuple[float, str | None]] = {}
        self._one_probe = asyncio.Lock()

    def loaded(self, generation: Generation) -> None:
        """These models are loaded and warm; they answer from now on."""
        self._generation = generation
        self._outcomes = {}

    def drain(self) -> None:
        """The server is about to stop: be unready from now on. Safe in a signal handler."""
        self._draining = True

    @property
    def draining(self) -> bool:
        """Whether the server is about to stop."""
        return self._draining

    def close(self) -> None:
        """The port is closed: requests under way should come to their end."""
        self._draining = self._closing = True

    @property
    def closing(self) -> bool:
        """Whether the port is closed."""
        return self._closing

    async def check(self) -> None:
        """Return when all models are ready.

        :raises NotReady: when one is not; the message says why.
        """
        problem = await self._find_problem(None)
        self._metrics.ready.set(problem is None)
        if problem is not None:
            raise NotReady(problem)

    async def check_models(self, names: Collection[str]) -> None:
        """Return when these models are ready, which must be loaded.

        :raises NotReady: as `check`.
        """
        if (problem := await self._find_problem(names)) is not None:
            raise NotReady(problem)

    async def _find_problem(self, names: Collection[str] | None) -> str | None:
        if self._draining:
            return "the server is shutting down"
        generation = self._generation
        if generation is None:
            return "the models are not loaded yet"
        backends = [one for name, one in generation.backends.items() if names is None or name in names]
        # Not from the cache: a dead worker stays dead.
        for backend in backends:
            if not backend.alive:
                return f"a worker of the {backend.name} is dead"
        outcomes = self._outcomes
        with generation:
            async with self._one_probe:
                due = time.monotonic() - self._cache_seconds
                old = [one for one in backends if outcomes.get(one.name, (float("-inf"), None))[0] <= due]
                problems = await asyncio.gather(*map(self._probe, old))
                now = time.monotonic()
                outcomes |= {one.name: (now, problem) for one, problem in zip(old, problems, strict=True)}
        return next((problem for one in backends if (problem := outcomes[one.name][1]) is not None), None)

    async def _probe(self, backend: AnyBackend) -> str | None:
        try:
            await backend.probe(deadline=time.monotonic() + self._seconds)
        except ServiceError as error:
            return f"an inference of the {backend.name} failed: {error.message}"
        return None
