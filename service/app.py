"""The app: settings and models in, an ASGI application out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from onoma import __version__
from onoma.tagger import Tagger
from service.errors import BadRequest, MethodNotAllowed, NotFound, ServiceError, error_response
from service.limits import BodyLimit, RequestContext
from service.routes import router
from service.runtime import Runtime
from service.settings import Settings


def create_app(settings: Settings | None = None, *, taggers: Mapping[str, Tagger] | None = None) -> FastAPI:
    """Build the app.

    :param settings: None reads them from the environment.
    :param taggers: "student" and maybe "teacher"; None loads the bundles of `settings.models` when the app starts.
    """
    runtime = Runtime(settings if settings is not None else Settings())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            await runtime.start(taggers)
            yield
        finally:
            await runtime.stop()

    app = FastAPI(
        title="onoma",
        version=__version__,
        summary="Multilingual named entity recognition.",
        lifespan=lifespan,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.runtime = runtime
    app.include_router(router)
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(HTTPException, _http_error)
    # The last added is the outermost: even a refused body has a request id and is measured.
    app.add_middleware(BodyLimit, metrics=runtime.metrics, max_bytes=runtime.settings.max_body_bytes)
    app.add_middleware(RequestContext, metrics=runtime.metrics)
    return app


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    runtime: Runtime = request.app.state.runtime
    runtime.metrics.errors.labels(code=error.code).inc()
    return error_response(error, request.state.request_id)


async def _http_error(request: Request, error: Exception) -> Response:
    """What the router itself refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 404:
        known: ServiceError = NotFound("no such path; see /docs", headers=headers)
    elif error.status_code == 405:
        allowed = headers.get("Allow") or headers.get("allow", "")
        known = MethodNotAllowed(f"this path takes {allowed or 'another method'}", headers=headers)
    elif error.status_code < 500:
        known = BadRequest(str(error.detail), headers=headers)
    else:
        known = ServiceError("internal error", headers=headers)
    return await _service_error(request, known)
