"""What Ray Serve's HTTP proxies answer themselves (nobody is there, too many wait, a replica died), in our form.

Ray loads `middlewares` in its proxies where RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=service.ray_proxy:middlewares.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import DeadlineExceeded, NotFound, NotReady, Overloaded, ServiceError, error_response
from service.limits import request_id_of
from service.security import secured

ERRORS: Mapping[int, ServiceError] = {
    404: NotFound("no such path: no application is deployed here"),
    408: DeadlineExceeded("the request took longer than Ray Serve's request_timeout_s"),
    429: Overloaded("too many requests wait for a replica; try again later"),
    503: NotReady("no replica can take the request; try again later"),
}
_DIED = NotReady("the replica that worked on this request is gone; send it again")
_OWN = "/-/"  # Ray's own endpoints: /-/healthz and /-/routes


def middlewares() -> list[Middleware]:
    """What Ray puts around its proxies."""
    return [Middleware(OurForm)]


class OurForm:
    """Gives each answer one `x-request-id`, and errors of the proxy itself the form of the service's."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"].startswith(_OWN):
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        named = [(b"x-request-id", request_id.encode("ascii"))]
        scope["headers"] = [one for one in scope["headers"] if one[0] != b"x-request-id"] + named
        error: ServiceError | None = None
        started = False

        async def send_ours(message: Message) -> None:
            nonlocal error, started
            if message["type"] == "http.response.start":
                started = True
                headers = [(name.lower(), value) for name, value in message["headers"]]
                if _is_of_the_proxy(headers):
                    error = ERRORS.get(message["status"])
                message["headers"] = [one for one in headers if one[0] != b"x-request-id"] + named
            if error is None:
                await send(message)

        await self._app(scope, receive, send_ours)
        if not started:
            error = _DIED
        if error is not None:
            answer = error_response(error, request_id, path=scope["path"])
            answer.raw_headers = secured([*answer.raw_headers, *named])
            await answer(scope, receive, send)


def _is_of_the_proxy(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether no replica answered: all answers of the service carry this header."""
    return not any(name == b"x-content-type-options" for name, _ in headers)
