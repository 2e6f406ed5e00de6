"""Errors the service answers with, as one tree; each class has one status and one code.

    ServiceError                  500  internal_error
    ├── BadRequest                400  bad_request
    ├── InvalidRequest            422  invalid_request
    │   ├── InvalidText           422  invalid_text
    │   ├── LimitExceeded         422  limit_exceeded
    │   ├── UnknownLabel          422  unknown_label
    │   └── ModelNotLoaded        422  model_not_loaded
    ├── NotFound                  404  not_found
    ├── MethodNotAllowed          405  method_not_allowed
    ├── BodyTooLarge              413  body_too_large
    ├── Overloaded                429  overloaded
    ├── ClientGone                499  client_disconnected
    ├── InferenceFailed           500  inference_failed
    ├── NotReady                  503  not_ready
    ├── WorkerDead                503  worker_dead
    └── DeadlineExceeded          504  deadline_exceeded
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.responses import Response

SHOWN = 80
"""Most characters of a caller's own value that an error message repeats."""


class ServiceError(Exception):
    """Base of every error the service answers with."""

    status = 500
    code = "internal_error"

    def __init__(self, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.headers = dict(headers or {})


class BadRequest(ServiceError):
    """The body is missing, or not JSON in UTF-8."""

    status, code = 400, "bad_request"


class InvalidRequest(ServiceError):
    """The body is JSON, but not a valid request; the message names the field."""

    status, code = 422, "invalid_request"


class InvalidText(InvalidRequest):
    """A text has a lone surrogate or a NUL character."""

    code = "invalid_text"


class LimitExceeded(InvalidRequest):
    """Too many texts, tokens or characters; the message names the limit and the value."""

    code = "limit_exceeded"


class UnknownLabel(InvalidRequest):
    """`labels` names a type that no loaded model knows."""

    code = "unknown_label"


class ModelNotLoaded(InvalidRequest):
    """The request asks for a model that this server was started without."""

    code = "model_not_loaded"


class NotFound(ServiceError):
    """No such path."""

    status, code = 404, "not_found"


class MethodNotAllowed(ServiceError):
    """The path exists, the method does not."""

    status, code = 405, "method_not_allowed"


class BodyTooLarge(ServiceError):
    """The body is over the limit, announced or sent."""

    status, code = 413, "body_too_large"


class Overloaded(ServiceError):
    """The queue is full; `Retry-After` says when to come back."""

    status, code = 429, "overloaded"

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"retry-after": "1"})


class ClientGone(ServiceError):
    """The client closed the connection; nobody reads this answer, it only shows in the metrics."""

    status, code = 499, "client_disconnected"


class InferenceFailed(ServiceError):
    """The model raised, or gave numbers that are none."""

    status, code = 500, "inference_failed"


class NotReady(ServiceError):
    """The models are not loaded, do not answer, or the server is shutting down."""

    status, code = 503, "not_ready"

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"retry-after": "1"})


class WorkerDead(ServiceError):
    """An inference thread has died; the server must be restarted."""

    status, code = 503, "worker_dead"


class DeadlineExceeded(ServiceError):
    """The request took longer than the server allows."""

    status, code = 504, "deadline_exceeded"


def error_classes() -> list[type[ServiceError]]:
    """Every class of the tree, the base first."""
    found: list[type[ServiceError]] = [ServiceError]
    for known in found:
        found += known.__subclasses__()
    return found


def error_response(error: ServiceError, request_id: str) -> Response:
    """The one form of every error: {"error": {"code", "message", "request_id"}}."""
    body = {"error": {"code": error.code, "message": error.message, "request_id": request_id}}
    # A caller's field name may hold a lone surrogate, which has no UTF-8 form.
    content = json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace")
    return Response(content, status_code=error.status, headers=error.headers, media_type="application/json")


def shown(value: object) -> str:
    """A caller's value as an error message repeats it: one line, cut short."""
    text = repr(value[: SHOWN + 1]) if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN + 2 else text[:SHOWN] + "…"
