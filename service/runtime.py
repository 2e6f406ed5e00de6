"""Runtime: what one running app holds (models, queues, threads, health) and how it starts and stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from onoma.embedder import Embedder
from onoma.errors import BundleError
from onoma.model import available_cores
from service.backend import AnyBackend, AnyModel, Backend, LocalBackend, LocalEncoder
from service.batching import Engine
from service.breaker import Breaker
from service.budget import Budget
from service.cascade import Cascade
from service.generation import Generation
from service.health import Health
from service.metrics import Metrics
from service.registry import STUDENT, TEACHER, in_order, load_models
from service.reloads import Change, Reloads
from service.settings import Settings
from service.siblings import Together
from service.steps import Steps
from service.warming import INLINE_SECONDS, Speed, warm_up

LOG = logging.getLogger("onoma.service")
T = TypeVar("T")
A = TypeVar("A")


def _try_out(model: AnyModel, batch_tokens: int) -> Speed:
    (output,) = model.infer([np.zeros(1, dtype=np.int64)])
    if isinstance(model, Embedder):
        if output.shape != (model.dimensions,):
            raise ValueError(f"it gives numbers of the shape {output.shape} for a text, not {model.dimensions} of them")
    elif output.shape[1] != len(model.labels.tags):
        columns, tags = output.shape[1], len(model.labels.tags)
        raise ValueError(f"it gives {columns} numbers for a word-piece, and has {tags} labels")
    return warm_up(model, batch_tokens)


class Runtime:
    """The parts of one app, wired together; `start` fills it with models.

    :param elsewhere: models that other processes run, by name.
    """

    def __init__(self, settings: Settings, *, elsewhere: Mapping[str, AnyBackend] | None = None) -> None:
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
        self.generation = self._generation({})
        self._living = [self.generation]
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def backends(self) -> Mapping[str, AnyBackend]:
        """The loaded models of all kinds by name: the student, the teacher, then the others."""
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
        return self._threshold(self.generation.taggers)

    def _new_breaker(self) -> Breaker:
        return Breaker(failures=self.settings.breaker_failures, seconds=self.settings.breaker_seconds)

    def _generation(self, backends: Mapping[str, AnyBackend]) -> Generation:
        taggers = {name: one for name, one in backends.items() if one.kind == "token-classification"}
        encoders = {name: one for name, one in backends.items() if one.kind == "sentence-encoder"}
        return Generation(taggers, encoders, self._cascade(taggers, encoders))

    def _cascade(self, taggers: Mapping[str, Backend], encoders: Collection[str]) -> Cascade:
        return Cascade(
            taggers,
            encoders=encoders,
            threshold=self._threshold(taggers),
            fallback=self.settings.fallback,
            fallback_seconds=self.settings.fallback_seconds,
            budget=self._budget,
            breaker=self._breaker,
            metrics=self.metrics,
            wait_seconds=lambda: taggers[TEACHER].wait_seconds,
        )

    async def start(self, models: Mapping[str, AnyModel] | None) -> None:
        """Load (unless given), warm up, start the queues; ready from then on."""
        loaded = models if models is not None else await self.in_pool(lambda: load_models(self.settings))
        backends = {**await self.prepare(loaded), **self._elsewhere}
        self.swap({name: backends[name] for name in in_order(backends)})

    async def prepare(self, models: Mapping[str, AnyModel]) -> dict[str, AnyBackend]:
        """Backends of models, whose engines are still to be started; what works already is taken over."""
        backends: dict[str, AnyBackend] = {}
        for name, model in models.items():
            kept = self.backends.get(name)
            same = isinstance(kept, LocalBackend | LocalEncoder) and kept.model is model and kept.alive
            backends[name] = kept if kept is not None and same else await self._backend(name, model)
        return backends

    def swap(self, backends: Mapping[str, AnyBackend]) -> Change:
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
        self.generation = self._generation(backends)
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

    async def _backend(self, name: str, model: AnyModel) -> LocalBackend | LocalEncoder:
        try:
            speed = await self.in_pool(lambda: _try_out(model, self.settings.batch_tokens))
        except Exception as error:  # onnxruntime's errors share no base class
            raise BundleError(f"the {name} loads, but does not run: {error}") from error
        workers = self.settings.workers
        if workers is None:
            workers = 0 if speed.slowest <= INLINE_SECONDS else 1
        LOG.info("%s: a full batch takes %.1f ms, threads: %d", name, 1000 * speed.slowest, workers)
        if isinstance(model, Embedder):
            return LocalEncoder(name, model, self._engine(name, model, workers, speed), self.pool, self.metrics)
        return LocalBackend(name, model, self._engine(name, model, workers, speed), self.pool, self.metrics)

    def _engine(self, name: str, model: Steps[A], workers: int, speed: Speed) -> Engine[A]:
        return Engine(
            name,
            model,
            batch_tokens=self.settings.batch_tokens,
            max_queue_tokens=self.settings.max_queue_tokens,
            max_queue_seconds=self.settings.max_queue_seconds,
            workers=workers,
            lone=speed.lone,
            rate=speed.rate,
            observer=self.metrics,
        )

    def _threshold(self, taggers: Mapping[str, Backend]) -> float:
        if self.settings.fallback_threshold is not None:
            return self.settings.fallback_threshold
        student = taggers.get(STUDENT)
        return student.model.calibration.fallback_threshold if isinstance(student, LocalBackend) else 0.0

    async def in_pool(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, work)

    def _describe(self, backend: AnyBackend) -> None:
        self.metrics.watch_queue(backend.name, lambda: backend.queued)
        self.metrics.model.labels(model=backend.name).info(self.description(backend))

    @staticmethod
    def description(backend: AnyBackend) -> dict[str, str]:
        """A model in a few words."""
        manifest = backend.manifest
        if manifest is None:
            return {"name": backend.name, "kind": backend.kind}
        return {
            "name": manifest.name,
            "kind": backend.kind,
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
