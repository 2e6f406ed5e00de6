"""Metrics: everything /metrics shows, in a registry of its own per app."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

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
        self.fallbacks_unanswered = Counter(
            "onoma_fallbacks_unanswered",
            "Texts the teacher was asked about and did not answer",
            ["reason"],
            registry=self.registry,
        )
        for reason in ("low_confidence", "student_error"):  # so that rates exist before the first one
            self.fallbacks.labels(reason=reason)
            self.fallbacks_unanswered.labels(reason=reason)
        self.texts = Counter("onoma_texts", "Texts answered", ["model"], registry=self.registry)
        self.characters = Counter("onoma_characters", "Characters answered", ["model"], registry=self.registry)
        self.windows = Counter("onoma_windows", "Windows of texts answered", ["model"], registry=self.registry)
        self.entities = Counter("onoma_entities", "Entities answered", ["model", "label"], registry=self.registry)
        self.errors = Counter("onoma_errors", "Requests that got an error", ["code"], registry=self.registry)
        self.queue_windows = Gauge("onoma_queue_windows", "Windows that wait", ["model"], registry=self.registry)
        self.queue_tokens = Gauge("onoma_queue_tokens", "Word-pieces that wait", ["model"], registry=self.registry)
        self.in_flight = Gauge("onoma_in_flight_requests", "Requests under way", registry=self.registry)
        self.ready = Gauge("onoma_ready", "1 if the last readiness check passed", registry=self.registry)
        self.model = Info("onoma_model", "A loaded model", ["model"], registry=self.registry)

    def watch_queue(self, model: str, queued: Callable[[], tuple[int, int]]) -> None:
        """Read a queue's depth whenever the metrics are read."""
        self.queue_windows.labels(model=model).set_function(lambda: queued()[0])
        self.queue_tokens.labels(model=model).set_function(lambda: queued()[1])

    def stages(self, model: str, **seconds: float) -> None:
        """Note the time one request spent in each stage of a model."""
        for stage in STAGES:
            self.stage.labels(model=model, stage=stage).observe(seconds[stage])

    def batch(self, model: str, *, windows: int, tokens: int, padded: int, seconds: float) -> None:
        """Note one model run (a BatchObserver)."""
        self.run.labels(model=model).observe(seconds)
        self.batch_windows.labels(model=model).observe(windows)
        self.batch_tokens.labels(model=model).observe(padded)
        self.padding.labels(model=model).observe(1 - tokens / padded if padded else 0.0)

    def render(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)
