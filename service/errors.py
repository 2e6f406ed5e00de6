"""Errors the service answers with, as one tree; each class has one status and one code.

    ServiceError                  500  internal_error
    ├── BadRequest                400  bad_request
    ├── Unauthorized              401  unauthorized
    ├── InvalidRequest            422  invalid_request
    │   ├── InvalidText           422  invalid_text
    │   ├── LimitExceeded         422  limit_exceeded
    │   ├── UnknownLabel          422  unknown_label
    │   └── ModelNotLoaded        422  model_not_loaded
    ├── ManagementOff             403  management_off
    ├── NotFound                  404  not_found
    │   └── NoEncoder             404  no_encoder
    ├── MethodNotAllowed          405  method_not_allowed
    ├── ReloadFailed              409  reload_failed
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


class Unauthorized(ServiceError):
    """This server asks for an API key, and the request has none, or a wrong one."""

    status, code = 401, "unauthorized"

    def __init__(self) -> None:
        super().__init__(
            "this server needs an API key: send authorization: Bearer KEY or x-api-key: KEY",
            headers={"www-authenticate": "Bearer"},
        )


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
    """The request asks for a model that this server does not have; the message names those it has."""

    code = "model_not_loaded"


class ManagementOff(ServiceError):
    """The endpoint manages models, which this server's settings do not allow."""

    status, code = 403, "management_off"


class NotFound(ServiceError):
    """No such path; under /v2 also no such model or version."""

    status, code = 404, "not_found"


class NoEncoder(NotFound):
    """The request needs a sentence encoder, and this server has none."""

    code = "no_encoder"

    def __init__(self) -> None:
        super().__init__(
            "this server has no sentence encoder: whoever runs it can put the bundle of one into the folder of models, "
            "as `encoder`, and reload them"
        )


class MethodNotAllowed(ServiceError):
    """The path exists, the method does not."""

    status, code = 405, "method_not_allowed"


class ReloadFailed(ServiceError):
    """A bundle is missing, damaged or does not run; the models are the same as before."""

    status, code = 409, "reload_failed"


class BodyTooLarge(ServiceError):
    """The body is over the limit, announced or sent."""

    status, code = 413, "body_too_large"


class Overloaded(ServiceError):
    """The queue is full; `Retry-After` says when to come back."""

    status, code = 429, "overloaded"

    def __init__(self, message: str, *, seconds: int = 1) -> None:
        super().__init__(message, headers={"retry-after": str(seconds)})


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
    """The inference threads die of this request, or keep dying; see the server's log."""

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


def error_response(error: ServiceError, request_id: str, *, path: str = "") -> Response:
    """The form of every error, {"error": {"code", "message", "request_id"}}, but under /v2 that of its protocol.

    :param path: of the request.
    """
    if path == "/v2" or path.startswith("/v2/"):
        body: dict[str, object] = {"error": error.message}
        headers = {**error.headers, "x-error-code": error.code}
    else:
        body = {"error": {"code": error.code, "message": error.message, "request_id": request_id}}
        headers = error.headers
    # A caller's field name may hold a lone surrogate, which has no UTF-8 form.
    content = json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace")
    return Response(content, status_code=error.status, headers=headers, media_type="application/json")


def shown(value: object) -> str:
    """A caller's value as an error message repeats it: one line, cut short."""
    text = repr(value[: SHOWN + 1]) if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN + 2 else text[:SHOWN] + "…"
