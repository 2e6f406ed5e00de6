"""Metrics: everything /metrics shows, in a registry of its own per app."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from service.histograms import Histogram
from service.queueing import Stages
from service.schemas import Declined, Fallback

# A creation time beside every counter and histogram doubles what Prometheus has to keep.
disable_created_metrics()  # type: ignore[no-untyped-call]

SECONDS = (
    *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05),
    *(0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0),
)
STAGES = ("queue", "tokenize", "infer", "decode", "total")


class Metrics:
    """The service's metrics; each app has its own, so apps in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._answered: dict[str, tuple[Counter, ...]] = {}
        self._found: dict[tuple[str, str], Counter] = {}
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.requests = Histogram(
            "onoma_request_seconds", "Time to answer", ["endpoint", "status"], buckets=SECONDS, registry=self.registry
        )
        self.stage = Histogram(
            "onoma_stage_seconds", "Time in a stage", ["model", "stage"], buckets=SECONDS, registry=self.registry
        )
        self.run = Histogram(
            "onoma_batch_seconds", "Time of a model run", ["model"], buckets=SECONDS, registry=self.registry
        )
        self.batch_windows = Histogram(
            "onoma_batch_windows",
            "Windows in a model run",
            ["model"],
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
            registry=self.registry,
        )
        self.batch_tokens = Histogram(
            "onoma_batch_tokens",
            "Word-pieces in a model run, padding included",
            ["model"],
            buckets=(16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384),
            registry=self.registry,
        )
        self.padding = Histogram(
            "onoma_batch_padding_ratio",
            "Share of padding in a model run",
            ["model"],
            buckets=(0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
            registry=self.registry,
        )
        self.fallbacks = Counter(
            "onoma_fallbacks", "Texts the teacher answered for the student", ["reason"], registry=self.registry
        )
        self.fallbacks_declined = Counter(
            "onoma_fallbacks_declined",
            "Texts the teacher was wanted for and did not answer",
            ["reason", "declined"],
            registry=self.registry,
        )
        for reason in get_args(Fallback):  # so that rates exist before the first one
            self.fallbacks.labels(reason=reason)
            for declined in get_args(Declined):
                self.fallbacks_declined.labels(reason=reason, declined=declined)
        self.breaker_open = Gauge(
            "onoma_breaker_open", "1 while auto leaves the teacher alone because it fails", registry=self.registry
        )
        self.texts = Counter("onoma_texts", "Texts answered", ["model"], registry=self.registry)
        self.characters = Counter("onoma_characters", "Characters answered", ["model"], registry=self.registry)
        self.windows = Counter("onoma_windows", "Windows of texts answered", ["model"], registry=self.registry)
        self.entities = Counter("onoma_entities", "Entities answered", ["model", "label"], registry=self.registry)
        self.worker_deaths = Counter(
            "onoma_worker_deaths", "Inference threads that died and were replaced", ["model"], registry=self.registry
        )
        self.reload_failures = Counter(
            "onoma_reload_failures", "Reloads that changed nothing because a bundle is bad", registry=self.registry
        )
        self.stream_lines = Counter(
            "onoma_stream_lines", "Lines of streams answered", ["outcome"], registry=self.registry
        )
        self.errors = Counter("onoma_errors", "Requests that got an error", ["code"], registry=self.registry)
        self.queue_windows = Gauge("onoma_queue_windows", "Windows that wait", ["model"], registry=self.registry)
        self.queue_tokens = Gauge("onoma_queue_tokens", "Word-pieces that wait", ["model"], registry=self.registry)
        self.in_flight = Gauge("onoma_in_flight_requests", "Requests under way", registry=self.registry)
        self.ready = Gauge("onoma_ready", "1 if the last readiness check passed", registry=self.registry)
        self.processes = Gauge("onoma_processes", "Processes whose metrics these are", registry=self.registry)
        self.processes_configured = Gauge(
            "onoma_processes_configured", "Processes that there should be", registry=self.registry
        )
        for gauge in (self.processes, self.processes_configured):
            gauge.set(1)
        self.model = Info("onoma_model", "A loaded model", ["model"], registry=self.registry)

    def watch_requests(self, under_way: Callable[[], int]) -> None:
        """Read how many requests are under way whenever the metrics are read."""
        self.in_flight.set_function(under_way)

    def answered(self, model: str, *, characters: int, windows: int, labels: Sequence[str]) -> None:
        """Note a text that a model answered, and the types of its entities."""
        counted = self._answered.get(model)
        if counted is None:
            every = (self.texts, self.characters, self.windows)
            counted = self._answered[model] = tuple(counter.labels(model=model) for counter in every)
        for counter, more in zip(counted, (1, characters, windows), strict=True):
            counter.inc(more)
        for label in labels:
            if (found := self._found.get((model, label))) is None:
                found = self._found[model, label] = self.entities.labels(model=model, label=label)
            found.inc()

    def watch_queue(self, model: str, queued: Callable[[], tuple[int, int]]) -> None:
        """Read a queue's depth whenever the metrics are read."""
        self.queue_windows.labels(model=model).set_function(lambda: queued()[0])
        self.queue_tokens.labels(model=model).set_function(lambda: queued()[1])

    def forget(self, model: str) -> None:
        """Stop showing what there is of a model that was unloaded; what it has done stays."""
        for gauge in (self.queue_windows, self.queue_tokens, self.model):
            gauge.remove(model)

    def stages(self, model: str, spent: Stages, total: float) -> None:
        """Note the seconds one request spent in each stage of a model, and in all."""
        for stage, seconds in zip(
            STAGES, (spent.queue, spent.tokenize, spent.infer, spent.decode, total), strict=True
        ):
            self.stage.labels(model, stage).observe(seconds)

    def batch(self, model: str, *, windows: int, tokens: int, padded: int, seconds: float) -> None:
        """Note one model run (a BatchObserver)."""
        self.run.labels(model).observe(seconds)
        self.batch_windows.labels(model).observe(windows)
        self.batch_tokens.labels(model).observe(padded)
        self.padding.labels(model).observe(1 - tokens / padded if padded else 0.0)

    def worker_died(self, model: str) -> None:
        """Note a worker that ended and was replaced (a BatchObserver)."""
        self.worker_deaths.labels(model=model).inc()

    def render(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)
