"""Routes: the endpoints."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, PlainTextResponse, Response

from onoma import __version__
from service.ner import ner as answer_ner
from service.page import VARY, page_answer, page_wanted
from service.runtime import Runtime
from service.schemas import AliveOut, ErrorResponse, IndexOut, NerRequest, NerResponse, ReadyOut

ERRORS: dict[int | str, dict[str, Any]] = {  # of every endpoint that tags, for the OpenAPI document
    status: {"model": ErrorResponse, "description": meaning}
    for status, meaning in {
        400: "no JSON in UTF-8",
        413: "body too large",
        422: "JSON, but no valid request",
        429: "overloaded; see Retry-After",
        500: "the model failed",
        503: "not ready",
        504: "took too long",
    }.items()
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": NerRequest.model_json_schema()}},
    }
}

router = APIRouter()


def runtime_of(request: Request) -> Runtime:
    """What the app of a request holds."""
    runtime: Runtime = request.app.state.runtime
    return runtime


@router.post(
    "/ner",
    response_model=NerResponse,
    responses=ERRORS,
    openapi_extra=_BODY,
    summary="Find the named entities of texts",
)
async def ner(request: Request) -> Response:
    """Tag one text (`text`), several (`texts`), or given tokens (`tokens`). Long texts are windowed, never cut off."""
    content = await answer_ner(runtime_of(request), request.scope, request.receive)
    return Response(content, media_type="application/json")


@router.get("/healthz", response_model=AliveOut, summary="Whether the process lives")
async def healthz() -> JSONResponse:
    """Always 200 while the process answers; for liveness probes."""
    return JSONResponse({"status": "alive"})


@router.get("/readyz", response_model=ReadyOut, responses={503: ERRORS[503]}, summary="Whether to send requests here")
async def readyz(request: Request) -> JSONResponse:
    """200 when an inference of every model has just worked, else 503; for readiness probes."""
    runtime = runtime_of(request)
    await runtime.health.check()
    return JSONResponse({"status": "ready", "models": list(runtime.backends)})


@router.get("/metrics", response_class=PlainTextResponse, summary="Metrics for Prometheus")
async def metrics(request: Request) -> Response:
    """Latencies by model and stage, batch sizes, fallbacks, queue depths, errors."""
    runtime = runtime_of(request)
    content = runtime.metrics.render() if runtime.siblings is None else await runtime.siblings.render()
    return Response(content, media_type=CONTENT_TYPE_LATEST)


@router.head("/", include_in_schema=False)
@router.get("/", response_model=IndexOut, summary="What runs here")
async def index(request: Request) -> Response:
    """Name, version, models, labels, and where the documentation is. A browser gets a page for people."""
    if page_wanted(request.scope):
        return page_answer()
    runtime = runtime_of(request)
    return JSONResponse(
        {
            "name": "onoma",
            "version": __version__,
            "models": {name: runtime.description(backend) for name, backend in runtime.backends.items()},
            "labels": list(runtime.labels),
            "docs": "/docs",
        },
        headers=VARY,
    )
