"""The app: settings and models in, an ASGI application out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp

from onoma import __version__
from service.backend import AnyBackend, AnyModel
from service.docs_page import router as docs_router
from service.embedding_routes import router as embedding_router
from service.errors import BadRequest, MethodNotAllowed, NotFound, ServiceError, error_response
from service.hugging_face import router as hugging_face_router
from service.keys import OPEN_PATHS, KeyFile, KeyGuard, with_keys
from service.kserve import router as kserve_router
from service.limits import BodyLimit, RequestContext
from service.logs import AccessLog, loop_failed
from service.models import router as models_router
from service.records import METHODS, Watcher
from service.reloads import reloaded_at_sighup
from service.routes import router
from service.runtime import Runtime
from service.settings import Settings
from service.shortcut import App
from service.streaming_routes import router as stream_router

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig

    from service.tracing import Tracing

_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""FastAPI's own: it costs time in every request, its logs have what exceptions say, its spans the query string."""


def create_app(
    settings: Settings | None = None,
    *,
    models: Mapping[str, AnyModel] | None = None,
    elsewhere: Mapping[str, AnyBackend] | None = None,
) -> FastAPI:
    """Build the app.

    :param settings: None reads them from the environment.
    :param models: "student" and maybe others, by name; None loads the bundles of `settings.models` when the app starts.
    :param elsewhere: models that other processes run, by name; they join the models.
    """
    runtime = Runtime(settings if settings is not None else Settings(), elsewhere=elsewhere)
    settings = runtime.settings
    keys = KeyFile(settings.api_keys_file) if settings.api_keys_file is not None else None
    open_paths = OPEN_PATHS if settings.metrics_need_key else OPEN_PATHS | {"/metrics"}
    tracing = _tracing() if settings.otel else None
    watchers: list[Watcher] = [AccessLog()] if settings.access_log else []
    if tracing is not None:
        watchers.append(tracing)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_exception_handler(loop_failed)
        try:
            await runtime.start(models)
            with reloaded_at_sighup(runtime.reloads):
                yield
        finally:
            await runtime.stop()
            if tracing is not None:
                await asyncio.to_thread(tracing.close)

    app = App(
        title="onoma",
        version=__version__,
        summary="Multilingual named entity recognition, and the similarity of texts.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        telemetry=_NO_TELEMETRY,
    )
    app.state.runtime = runtime
    app.include_router(router)
    app.include_router(models_router)  # before those under /models/{name}
    app.include_router(kserve_router)
    app.include_router(stream_router)
    app.include_router(embedding_router)
    app.include_router(hugging_face_router)
    app.include_router(docs_router)
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(HTTPException, _http_error)

    def around(endpoint: ASGIApp) -> ASGIApp:
        """What every request passes; from the inside, so that even a refused body has a request id and is measured."""
        inner: ASGIApp = BodyLimit(endpoint, max_bytes=settings.max_body_bytes)
        if keys is not None:
            inner = KeyGuard(inner, keys=keys, open_paths=open_paths)
        return RequestContext(inner, metrics=runtime.metrics, watchers=watchers)

    app.add_middleware(around)
    app.shorten(runtime, around)
    if keys is not None:
        describe = app.openapi
        app.openapi = lambda: with_keys(describe(), open_paths=open_paths)  # type: ignore[method-assign]
    return app


def _tracing() -> Tracing:
    try:
        from service.tracing import Tracing
    except ModuleNotFoundError as error:
        raise ValueError(f"otel: {error.name} is not installed: pip install 'onoma[otel]'") from None
    return Tracing()


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    runtime: Runtime = request.app.state.runtime
    runtime.metrics.errors.labels(code=error.code).inc()
    return error_response(error, request.state.request_id, path=request.scope["path"])


def _methods(request: Request) -> list[str]:
    """The methods of a path, of all its routes; the router names those of the first."""
    scopes = {method: {**request.scope, "method": method} for method in sorted(METHODS)}
    return [
        method
        for method, scope in scopes.items()
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
    ]


async def _http_error(request: Request, error: Exception) -> Response:
    """What the router itself refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 404:
        known: ServiceError = NotFound("no such path; see /docs", headers=headers)
    elif error.status_code == 405:
        allowed = ", ".join(_methods(request))
        known = MethodNotAllowed(f"this path takes {allowed}", headers=headers | {"Allow": allowed})
    elif error.status_code < 500:
        known = BadRequest(str(error.detail), headers=headers)
    else:
        known = ServiceError("internal error", headers=headers)
    return await _service_error(request, known)
