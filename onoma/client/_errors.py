"""Errors of the client, as one tree.

    ClientError
    ├── InvalidText               a text that cannot be tagged (lone surrogate, NUL); it was not sent. Also a TextError
    ├── ConnectionFailed          no answer: refused, reset, timed out, cut short
    └── ServerError               an answer that says no; has status, code, message, request_id
        ├── BadRequest            400, 404, 405, 413, 422 and other 4xx: the request is wrong, so it is not sent again
        ├── Unauthorized          401, 403: the API key is missing or not accepted
        ├── Overloaded            429
        ├── Unavailable           503
        ├── DeadlineExceeded      504
        ├── ServerFailed          500, 502 and other 5xx
        └── InvalidAnswer         2xx or 3xx, but not an answer of the service: a proxy's page, a redirect

A proxy's answer, which is not the service's JSON, becomes the class of its status too.
"""

from __future__ import annotations

from onoma.errors import OnomaError, TextError


class ClientError(OnomaError):
    """Base of every error the client raises on purpose."""


class InvalidText(ClientError, TextError):
    """A text has a lone surrogate or a NUL character; the message names the field and the position."""


class ConnectionFailed(ClientError):
    """No answer came.

    :param timed_out: the server took the request, and then too long.
    :param transient: whether trying again can help; false for a URL that cannot be asked.
    """

    def __init__(self, message: str, timed_out: bool = False, transient: bool = True) -> None:
        super().__init__(message, timed_out, transient)
        self.message = message
        self.timed_out = timed_out
        self.transient = transient

    def __str__(self) -> str:
        return self.message


class ServerError(ClientError):
    """The server, or a proxy before it, answered with an error.

    :param status: HTTP status. Of a line of a stream: the status that its code stands for.
    :param code: the service's name of the error (docs/service.md); `http_STATUS` if a proxy answered.
    :param request_id: under which the server's log has it.
    :param retry_after: seconds that the server asks to wait, if it does.
    """

    def __init__(
        self, status: int, code: str, message: str, request_id: str, retry_after: float | None = None
    ) -> None:
        super().__init__(status, code, message, request_id, retry_after)
        self.status = status
        self.code = code
        self.message = message
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.message} (request {self.request_id})"


class BadRequest(ServerError):
    """The server refuses the request as it is."""


class Unauthorized(ServerError):
    """The API key is missing or not accepted."""


class Overloaded(ServerError):
    """The server has too much to do, or allows this client no more."""


class Unavailable(ServerError):
    """The server is starting, stopping or broken."""


class DeadlineExceeded(ServerError):
    """The request took longer than the server allows; smaller requests may pass."""


class ServerFailed(ServerError):
    """The server failed over the request."""


class InvalidAnswer(ServerError):
    """The answer is not the service's: another program or a redirect is behind the URL."""


_CLASSES: dict[int, type[ServerError]] = {
    401: Unauthorized,
    403: Unauthorized,
    429: Overloaded,
    503: Unavailable,
    504: DeadlineExceeded,
}


def class_of(status: int) -> type[ServerError]:
    """The class of errors with an HTTP status."""
    if status in _CLASSES:
        return _CLASSES[status]
    if 400 <= status < 500:
        return BadRequest
    return ServerFailed if status >= 500 else InvalidAnswer
