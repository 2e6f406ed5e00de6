"""Runtime: what one running app holds (models, queues, threads, health) and how it starts and stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from onoma.errors import BundleError
from onoma.model import available_cores
from onoma.tagger import Tagger
from service.backend import Backend, LocalBackend
from service.batching import Engine
from service.breaker import Breaker
from service.budget import Budget
from service.cascade import Cascade
from service.generation import Generation
from service.health import Health
from service.metrics import Metrics
from service.registry import STUDENT, TEACHER, in_order, load_taggers
from service.reloads import Change, Reloads
from service.settings import Settings
from service.siblings import Together
from service.warming import INLINE_SECONDS, Speed, warm_up

LOG = logging.getLogger("onoma.service")
T = TypeVar("T")


def _try_out(tagger: Tagger, batch_tokens: int) -> Speed:
    (rows,) = tagger.infer([np.zeros(1, dtype=np.int64)])
    if rows.shape[1] != len(tagger.labels.tags):
        raise ValueError(f"it gives {rows.shape[1]} numbers for a word-piece, and has {len(tagger.labels.tags)} labels")
    return warm_up(tagger, batch_tokens)


class Runtime:
    """The parts of one app, wired together; `start` fills it with models.

    :param elsewhere: models that other processes run, by name.
    """

    def __init__(self, settings: Settings, *, elsewhere: Mapping[str, Backend] | None = None) -> None:
        self.settings = settings
        self._elsewhere = elsewhere or {}
        self.metrics = Metrics()
        self.health = Health(
            seconds=settings.ready_seconds, cache_seconds=settings.ready_cache_seconds, metrics=self.metrics
        )
        self.in_flight = 0
        self.metrics.watch_requests(lambda: self.in_flight)
        # More threads than cores: a short text must not stand in line behind whole books.
        self.pool = ThreadPoolExecutor(max_workers=max(8, 2 * available_cores()), thread_name_prefix="onoma-cpu")
        self.siblings: Together | None = None
        self.supervised = False
        """Whether this is one of several processes, whose parent passes SIGHUP on to all of them."""
        self.reloads = Reloads(self)
        self._budget = Budget(settings.fallback_share)
        self._breaker = self._new_breaker()
        self.generation = Generation({}, self._cascade({}))
        self._living = [self.generation]
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def backends(self) -> Mapping[str, Backend]:
        """The loaded models by name: the student, the teacher, then the others."""
        return self.generation.backends

    @property
    def labels(self) -> tuple[str, ...]:
        """The types that a loaded model knows."""
        return self.generation.labels

    @property
    def cascade(self) -> Generation:
        """What answers the requests that come now."""
        return self.generation

    @property
    def threshold(self) -> float:
        """The confidence under which `auto` asks the teacher."""
        return self._threshold(self.backends)

    def _new_breaker(self) -> Breaker:
        return Breaker(failures=self.settings.breaker_failures, seconds=self.settings.breaker_seconds)

    def _cascade(self, backends: Mapping[str, Backend]) -> Cascade:
        return Cascade(
            backends,
            threshold=self._threshold(backends),
            fallback=self.settings.fallback,
            fallback_seconds=self.settings.fallback_seconds,
            budget=self._budget,
            breaker=self._breaker,
            metrics=self.metrics,
            wait_seconds=lambda: backends[TEACHER].wait_seconds,
        )

    async def start(self, taggers: Mapping[str, Tagger] | None) -> None:
        """Load (unless given), warm up, start the queues; ready from then on."""
        loaded = taggers if taggers is not None else await self.in_pool(lambda: load_taggers(self.settings))
        backends = {**await self.prepare(loaded), **self._elsewhere}
        self.swap({name: backends[name] for name in in_order(backends)})

    async def prepare(self, taggers: Mapping[str, Tagger]) -> dict[str, Backend]:
        """Backends of taggers, whose engines are still to be started; what works already is taken over."""
        backends: dict[str, Backend] = {}
        for name, tagger in taggers.items():
            kept = self.backends.get(name)
            same = isinstance(kept, LocalBackend) and kept.tagger is tagger and kept.alive
            backends[name] = kept if kept is not None and same else await self._backend(name, tagger)
        return backends

    def swap(self, backends: Mapping[str, Backend]) -> Change:
        """Answer with these models from now on, all at once."""
        old = self.generation
        fresh = [backend for name, backend in backends.items() if old.backends.get(name) is not backend]
        gone = tuple(name for name in old.backends if name not in backends)
        if not (fresh or gone):
            return Change((), ())
        for backend in fresh:
            backend.start()
            self._describe(backend)
        for name in gone:
            self.metrics.forget(name)
        if backends.get(TEACHER) is not old.backends.get(TEACHER):
            self._breaker = self._new_breaker()
        self.generation = Generation(backends, self._cascade(backends))
        self._living.append(self.generation)
        self.health.loaded(self.generation)
        self.in_background(self._retire(old))
        change = Change(tuple(backend.name for backend in fresh), gone)
        LOG.info("models: %s; loaded: %s, unloaded: %s", *(", ".join(one) or "none" for one in (backends, *change)))
        return change

    async def _retire(self, old: Generation) -> None:
        """Close what no generation needs any more, when nobody works with it."""
        await old.unused()
        others = [one for one in self._living if one is not old]
        needed = {id(backend) for one in others for backend in one.backends.values()}
        for backend in old.backends.values():
            if id(backend) not in needed:
                await self.in_pool(backend.close)
        self._living.remove(old)

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that ends with the app at the latest."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _backend(self, name: str, tagger: Tagger) -> LocalBackend:
        try:
            speed = await self.in_pool(lambda: _try_out(tagger, self.settings.batch_tokens))
        except Exception as error:  # onnxruntime's errors share no base class
            raise BundleError(f"the {name} loads, but does not run: {error}") from error
        workers = self.settings.workers
        if workers is None:
            workers = 0 if speed.slowest <= INLINE_SECONDS else 1
        LOG.info("%s: a full batch takes %.1f ms, threads: %d", name, 1000 * speed.slowest, workers)
        engine = Engine(
            name,
            tagger,
            batch_tokens=self.settings.batch_tokens,
            max_queue_tokens=self.settings.max_queue_tokens,
            max_queue_seconds=self.settings.max_queue_seconds,
            workers=workers,
            lone=speed.lone,
            rate=speed.rate,
            observer=self.metrics,
        )
        return LocalBackend(name, tagger, engine, self.pool, self.metrics)

    def _threshold(self, backends: Mapping[str, Backend]) -> float:
        if self.settings.fallback_threshold is not None:
            return self.settings.fallback_threshold
        student = backends.get(STUDENT)
        return student.tagger.calibration.fallback_threshold if isinstance(student, LocalBackend) else 0.0

    async def in_pool(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, work)

    def _describe(self, backend: Backend) -> None:
        self.metrics.watch_queue(backend.name, lambda: backend.queued)
        self.metrics.model.labels(model=backend.name).info(self.description(backend))

    @staticmethod
    def description(backend: Backend) -> dict[str, str]:
        """A model in a few words."""
        manifest = backend.manifest
        if manifest is None:
            return {"name": backend.name}
        return {
            "name": manifest.name,
            "architecture": manifest.architecture,
            "quantization": manifest.quantization.method,
            "created": manifest.created,
        }

    async def stop(self) -> None:
        """Stop the queues and threads; the app has no requests by now."""
        self.health.drain()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        loop = asyncio.get_running_loop()
        for backend in {id(one): one for living in self._living for one in living.backends.values()}.values():
            await loop.run_in_executor(None, backend.close)
        self.pool.shutdown(wait=False, cancel_futures=True)
