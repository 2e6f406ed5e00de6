"""Runtime: what one running app holds (models, queues, threads, health) and how it starts and stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from onoma.bundle import MANIFEST
from onoma.model import available_cores
from onoma.tagger import Tagger
from service.backend import Backend
from service.batching import Engine
from service.cascade import Cascade
from service.health import Health
from service.metrics import Metrics
from service.settings import Settings

LOG = logging.getLogger("onoma.service")


def load_taggers(settings: Settings) -> dict[str, Tagger]:
    """Load the student and, where there is one, the teacher.

    :raises BundleError: if the student is missing, or a bundle is damaged.
    """
    threads = settings.threads if settings.threads is not None else max(1, available_cores() // settings.workers)
    taggers = {"student": Tagger.load(settings.models / "student", threads=threads)}
    if (settings.models / "teacher" / MANIFEST).is_file():
        taggers["teacher"] = Tagger.load(settings.models / "teacher", threads=threads)
    else:
        LOG.warning("no teacher in %s: every text is answered by the student", settings.models)
    return taggers


class Runtime:
    """The parts of one app, wired together; `start` fills it with models."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.health = Health(
            seconds=settings.ready_seconds, cache_seconds=settings.ready_cache_seconds, metrics=self.metrics
        )
        self.backends: dict[str, Backend] = {}
        self.labels: tuple[str, ...] = ()
        self.in_flight = 0
        # More threads than cores: a short text must not stand in line behind whole books.
        self.pool = ThreadPoolExecutor(max_workers=max(8, 2 * available_cores()), thread_name_prefix="onoma-cpu")
        self.cascade = self._cascade(0.0)

    def _cascade(self, threshold: float) -> Cascade:
        return Cascade(
            self.backends,
            threshold=threshold,
            fallback=self.settings.fallback,
            fallback_seconds=self.settings.fallback_seconds,
            metrics=self.metrics,
        )

    async def start(self, taggers: Mapping[str, Tagger] | None) -> None:
        """Load (unless given), warm up, start the queues; ready from then on."""
        loop = asyncio.get_running_loop()
        loaded = taggers if taggers is not None else await loop.run_in_executor(self.pool, load_taggers, self.settings)
        backends = {name: self._backend(name, tagger) for name, tagger in loaded.items()}
        for backend in backends.values():
            await loop.run_in_executor(self.pool, backend.warm_up, self.settings.batch_tokens)
            backend.engine.start()
            self._describe(backend)
        self.backends.update(backends)
        self.labels = tuple(dict.fromkeys(name for tagger in loaded.values() for name in tagger.labels.types))
        self.cascade = self._cascade(self._threshold())
        self.health.loaded(self.backends)

    def _backend(self, name: str, tagger: Tagger) -> Backend:
        engine = Engine(
            name,
            tagger.infer,
            batch_tokens=self.settings.batch_tokens,
            max_queue_tokens=self.settings.max_queue_tokens,
            workers=self.settings.workers,
            observer=self.metrics,
        )
        return Backend(name, tagger, engine, self.pool, self.metrics)

    def _threshold(self) -> float:
        if self.settings.fallback_threshold is not None:
            return self.settings.fallback_threshold
        student = self.backends.get("student")
        return 0.0 if student is None else student.tagger.calibration.fallback_threshold

    def _describe(self, backend: Backend) -> None:
        self.metrics.watch_queue(backend.name, lambda: backend.engine.queued)
        self.metrics.model.labels(model=backend.name).info(self.description(backend))

    @staticmethod
    def description(backend: Backend) -> dict[str, str]:
        """A model in a few words."""
        manifest = backend.tagger.manifest
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
        loop = asyncio.get_running_loop()
        for backend in self.backends.values():
            await loop.run_in_executor(None, backend.engine.close)
        self.pool.shutdown(wait=False, cancel_futures=True)
