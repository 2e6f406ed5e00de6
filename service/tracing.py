"""Tracing: each request as an OpenTelemetry trace, put together when it is over, so that it costs nothing before.

The extra `otel` brings what this needs. Where spans go is said by the standard variables, OTEL_EXPORTER_OTLP_ENDPOINT
first of all; docs/security.md says what is in them.
"""

from __future__ import annotations

import time

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from onoma import __version__
from service.records import Record, Run

STAGES = ("queue", "tokenize", "infer", "decode")
_CONTINUED = (b"traceparent", b"tracestate")


class Tracing:
    """Makes a span of every request, and one of each stage of each model in it (a Watcher).

    :param processor: gets the spans; None sends them in batches, from a thread, to where OTEL_EXPORTER_OTLP_* says.
    """

    def __init__(self, processor: SpanProcessor | None = None) -> None:
        own = Resource.create({SERVICE_NAME: "onoma", SERVICE_VERSION: __version__})
        # A provider of its own: the global one might be somebody else's.
        self._provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        self._provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("onoma", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def answered(self, record: Record) -> None:
        """Note a request."""
        ended = time.time_ns()
        began = ended - _ns(record.seconds)
        carrier = {
            name.decode("ascii"): value.decode("latin-1")
            for name, value in record.scope["headers"]
            if name in _CONTINUED
        }
        span = self._tracer.start_span(
            f"{record.method} {record.endpoint}",
            context=self._propagator.extract(carrier),
            kind=SpanKind.SERVER,
            start_time=began,
            attributes={
                "http.request.method": record.method,
                "http.route": record.endpoint,
                "http.response.status_code": record.status,
                "http.response.body.size": record.size,
                "onoma.request_id": record.request_id,
                "onoma.texts": record.texts,
                "onoma.models": list(record.asked),
            },
        )
        if span.is_recording():
            for run in record.runs:
                self._stages(span, run, began + _ns(run.began - record.began))
            if record.status >= 500 or not record.status:
                span.set_attribute("error.type", str(record.status or "no_answer"))
                span.set_status(StatusCode.ERROR)
        span.end(ended)

    def _stages(self, parent: Span, run: Run, began: int) -> None:
        """The stages of one model, end to end: the engine knows how long each took."""
        if run.stages is None:
            return
        context = set_span_in_context(parent)
        for stage in STAGES:
            ended = began + _ns(getattr(run.stages, stage))
            span = self._tracer.start_span(
                stage,
                context=context,
                start_time=began,
                attributes={"onoma.model": run.model, "onoma.texts": run.texts},
            )
            span.end(ended)
            began = ended

    def close(self) -> None:
        """Send what has not been sent, and stop."""
        self._provider.shutdown()


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
