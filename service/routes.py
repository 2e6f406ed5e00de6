"""Routes: the endpoints."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response

from onoma import __version__
from service.backend import Stages
from service.errors import BadRequest, ClientGone, DeadlineExceeded, Overloaded
from service.parsing import parse_request
from service.results import Inputs, render, to_json
from service.runtime import Runtime
from service.schemas import ErrorResponse, NerRequest, NerResponse

# From this many bytes on, parsing and rendering would keep the event loop from other clients.
_OFF_LOOP_BYTES = 32_768

_ERRORS: dict[int | str, dict[str, Any]] = {
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


def _runtime(request: Request) -> Runtime:
    runtime: Runtime = request.app.state.runtime
    return runtime


@router.post(
    "/ner",
    response_model=NerResponse,
    responses=_ERRORS,
    openapi_extra=_BODY,
    summary="Find the named entities of texts",
)
async def ner(request: Request) -> Response:
    """Tag one text (`text`), several (`texts`), or given tokens (`tokens`). Long texts are windowed, never cut off."""
    runtime = _runtime(request)
    limit = runtime.settings.max_in_flight
    if runtime.in_flight >= limit:
        raise Overloaded(f"{limit} requests are under way, the limit; try again later")
    runtime.in_flight += 1
    runtime.metrics.in_flight.set(runtime.in_flight)
    seconds = runtime.settings.deadline_seconds
    began = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            body = await _read(request)
            return await _unless_gone(request, _answer(runtime, request, body, began))
    except TimeoutError:
        raise DeadlineExceeded(f"the request took longer than the {seconds:g} seconds allowed") from None
    finally:
        runtime.in_flight -= 1
        runtime.metrics.in_flight.set(runtime.in_flight)


async def _read(request: Request) -> bytes:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise BadRequest("content-encoding: bodies must come uncompressed")
    chunks = []
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("the client closed the connection")
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(chunks)


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """The outcome of `work`, which is dropped as soon as the client closes the connection."""
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone("the client closed the connection")
        return working.result()
    finally:
        for task in (working, gone):
            task.cancel()
        # A cancelled request has left the queue before its handler ends.
        await asyncio.gather(working, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _answer(runtime: Runtime, request: Request, body: bytes, began: float) -> Response:
    loop = asyncio.get_running_loop()
    large = len(body) > _OFF_LOOP_BYTES
    stages = Stages()

    def prepare() -> tuple[NerRequest, Inputs]:
        parsed = parse_request(body, settings=runtime.settings, known_labels=runtime.labels)
        return parsed, Inputs.of(parsed)

    asked, inputs = await loop.run_in_executor(runtime.pool, prepare) if large else prepare()
    answers = await runtime.cascade.tag(
        inputs.texts, stages, model=asked.model, deadline=began + runtime.settings.deadline_seconds
    )

    def finish() -> bytes:
        response = render(asked, inputs, answers, request_id=request.state.request_id, metrics=runtime.metrics)
        return to_json(response, stages, time.monotonic() - began)

    content = await loop.run_in_executor(runtime.pool, finish) if large else finish()
    return Response(content, media_type="application/json")


@router.get("/healthz", summary="Whether the process lives")
async def healthz() -> JSONResponse:
    """Always 200 while the process answers; for liveness probes."""
    return JSONResponse({"status": "alive"})


@router.get("/readyz", responses={503: _ERRORS[503]}, summary="Whether to send requests here")
async def readyz(request: Request) -> JSONResponse:
    """200 when an inference of every model has just worked, else 503; for readiness probes."""
    runtime = _runtime(request)
    await runtime.health.check()
    return JSONResponse({"status": "ready", "models": list(runtime.backends)})


@router.get("/metrics", summary="Metrics for Prometheus")
async def metrics(request: Request) -> Response:
    """Latencies by model and stage, batch sizes, fallbacks, queue depths, errors."""
    return Response(_runtime(request).metrics.render(), media_type=CONTENT_TYPE_LATEST)


@router.get("/", summary="What runs here")
async def index(request: Request) -> JSONResponse:
    """Name, version, models, labels, and where the documentation is."""
    runtime = _runtime(request)
    return JSONResponse(
        {
            "name": "onoma",
            "version": __version__,
            "models": {name: runtime.description(backend) for name, backend in runtime.backends.items()},
            "labels": list(runtime.labels),
            "docs": "/docs",
        }
    )
