"""Traces: a span of each request, one of each stage in it, and no text in any."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from fakes import Client, FakeModel, Serve, Served, make_tagger
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import service.tracing
from service.app import create_app
from service.settings import Settings

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
STAGES = ["queue", "tokenize", "infer", "decode"]


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    made = InMemorySpanExporter()
    monkeypatch.setattr(service.tracing, "OTLPSpanExporter", lambda: made)
    monkeypatch.setattr(service.tracing, "BatchSpanProcessor", SimpleSpanProcessor)
    yield made


@pytest.fixture
def traced(exporter: InMemorySpanExporter, serve: Serve) -> Served:
    return serve(otel=True)


def spans(exporter: InMemorySpanExporter) -> tuple[ReadableSpan, list[ReadableSpan]]:
    """The request's span, and those in it."""
    found = exporter.get_finished_spans()
    exporter.clear()
    [request] = [span for span in found if span.kind is SpanKind.SERVER]
    inner = [span for span in found if span is not request]
    assert all(span.parent.span_id == request.context.span_id for span in inner)
    return request, inner


def test_a_request_and_its_stages(traced: Served, exporter: InMemorySpanExporter) -> None:
    answer = traced.ner(texts=["Siemens", "maybe"])
    request, inner = spans(exporter)
    assert request.name == "POST /ner" and request.parent is None
    assert dict(request.attributes) == {
        "http.request.method": "POST",
        "http.route": "/ner",
        "http.response.status_code": 200,
        "http.response.body.size": len(answer.content),
        "onoma.request_id": answer.headers["x-request-id"],
        "onoma.texts": 2,
        "onoma.models": ("student", "teacher"),
    }
    assert request.status.status_code is StatusCode.UNSET
    named = [(span.attributes["onoma.model"], span.name, span.attributes["onoma.texts"]) for span in inner]
    assert named == [("student", stage, 2) for stage in STAGES] + [("teacher", stage, 1) for stage in STAGES]
    assert request.start_time <= inner[0].start_time and inner[-1].end_time <= request.end_time
    for before, after in zip(inner[:3], inner[1:4], strict=True):
        assert before.start_time <= before.end_time == after.start_time
    timings = answer.json()["timings_ms"]
    for stage in STAGES:
        spent = sum(span.end_time - span.start_time for span in inner if span.name == stage) / 1e6
        assert spent == pytest.approx(timings[stage], abs=0.01)


def test_a_trace_is_continued(traced: Served, exporter: InMemorySpanExporter) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
    traced.client.post("/ner", json={"text": "Siemens"}, headers=headers)
    request, inner = spans(exporter)
    assert {f"{span.context.trace_id:032x}" for span in (request, *inner)} == {TRACE}
    assert f"{request.parent.span_id:016x}" == PARENT and request.context.trace_state.get("vendor") == "1"


@pytest.mark.parametrize("header", ["", "nonsense", "00-0-0-01", "é"])
def test_a_broken_trace_is_not(traced: Served, exporter: InMemorySpanExporter, header: str) -> None:
    headers = {"traceparent": header.encode("latin-1")}
    assert traced.client.post("/ner", json={"text": "Siemens"}, headers=headers).status_code == 200
    assert spans(exporter)[0].parent is None


def test_what_the_caller_does_not_sample_is_not(traced: Served, exporter: InMemorySpanExporter) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
    traced.client.post("/ner", json={"text": "Siemens"}, headers=headers)
    assert not exporter.get_finished_spans()


@pytest.mark.parametrize(
    ("path", "body", "status", "name"),
    [
        ("/ner", {"text": "Geheimnis boom"}, 500, "POST /ner"),
        ("/ner", {"text": "Geheimnis", "Geheimnis": 1}, 422, "POST /ner"),
        ("/ner?Geheimnis", {"text": "Geheimnis Siemens"}, 200, "POST /ner"),
        ("/Geheimnis", {"text": "Geheimnis"}, 404, "POST other"),
    ],
)
def test_no_text_in_any(
    traced: Served, exporter: InMemorySpanExporter, path: str, body: dict[str, Any], status: int, name: str
) -> None:
    answer = traced.client.post(path, json=body, headers={"user-agent": "Geheimnis"})
    assert answer.status_code == status
    request, inner = spans(exporter)
    assert request.name == name and request.attributes["http.response.status_code"] == status
    assert (request.status.status_code is StatusCode.ERROR) == (status == 500)
    assert request.attributes.get("error.type") == ("500" if status == 500 else None)
    assert not any("Geheimnis" in span.to_json() for span in (request, *inner))


def test_failed_models_have_no_stages(traced: Served, exporter: InMemorySpanExporter) -> None:
    traced.student.error = RuntimeError("broken")
    assert traced.ner(text="Siemens").status_code == 200
    request, inner = spans(exporter)
    assert request.attributes["onoma.models"] == ("student", "teacher")
    assert {span.attributes["onoma.model"] for span in inner} == {"teacher"}


def test_the_service_has_its_name(
    exporter: InMemorySpanExporter, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(otel=True).ner(text="a")
    resource = spans(exporter)[0].resource.attributes
    assert resource["service.name"] == "onoma" and resource["service.version"]
    monkeypatch.setenv("OTEL_SERVICE_NAME", "tagger")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    serve(otel=True).ner(text="a")
    resource = spans(exporter)[0].resource.attributes
    assert resource["service.name"] == "tagger" and resource["deployment.environment.name"] == "test"


def test_spans_are_sent_before_the_server_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(service.tracing, "OTLPSpanExporter", lambda: exporter)
    client = Client(create_app(Settings(otel=True, workers=1), models={"student": make_tagger(FakeModel())}))
    client.start()
    client.post("/ner", json={"text": "Siemens"})
    assert not exporter.get_finished_spans()
    client.close()
    assert len(exporter.get_finished_spans()) == 5


def test_without_the_extra_it_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "service.tracing")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(ValueError, match=r"otel: opentelemetry.* is not installed: pip install 'onoma\[otel\]'"):
        create_app(Settings(otel=True), models={})


def test_without_tracing_nothing_of_it_is_loaded() -> None:
    script = "import sys, service.server; print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_fastapi_adds_nothing_of_its_own(served: Served) -> None:
    assert not served.app._native_telemetry.enabled()
