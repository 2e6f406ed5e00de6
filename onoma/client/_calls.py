"""Calls: what is asked of the service and how its answers are read, without sending anything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

import httpx

from onoma.client._batching import Batch
from onoma.client._errors import ClientError, ConnectionFailed, InvalidText, ServerError, class_of
from onoma.client._models import (
    ErrorAnswer,
    ModelInfo,
    Result,
    ResultLine,
    invalid_answer,
    lines_of,
    models_of,
    results_of,
    status_of,
)
from onoma.client._retry import is_transient
from onoma.text import OffsetUnit

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

# HTTP status of each code that a line of a stream may have; the status of the stream is 200 whatever its lines say.
STATUS_OF_CODE = {
    "bad_request": 400,
    "body_too_large": 413,
    "invalid_request": 422,
    "invalid_text": 422,
    "limit_exceeded": 422,
    "model_not_loaded": 422,
    "unknown_label": 422,
    "overloaded": 429,
    "inference_failed": 500,
    "internal_error": 500,
    "not_ready": 503,
    "worker_dead": 503,
    "deadline_exceeded": 504,
}


@dataclass(frozen=True, slots=True)
class Options:
    """How texts are to be tagged; the fields of POST /ner."""

    model: str
    offset_unit: OffsetUnit
    labels: Sequence[str] | None
    min_score: float

    def __post_init__(self) -> None:
        if self.labels is not None:
            refuse_string(self.labels, "labels")
            if not self.labels:
                raise ValueError("labels: give at least one, or None for all")
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"min_score must be in 0..1, got {self.min_score}")

    def fields(self) -> dict[str, Any]:
        """As JSON fields."""
        fields: dict[str, Any] = {"model": self.model, "offset_unit": self.offset_unit, "min_score": self.min_score}
        return fields if self.labels is None else {**fields, "labels": list(self.labels)}

    def query(self) -> dict[str, str]:
        """As query parameters."""
        return {
            name: ",".join(value) if name == "labels" else str(value) for name, value in self.fields().items()
        }


def refuse_string(value: object, field: str) -> None:
    """A string is a sequence of strings too, and never meant as one.

    :raises TypeError: if `value` is a string.
    """
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{field} must be several strings, got one: put it in a list")


def to_json(value: object) -> bytes:
    """JSON in UTF-8, as short as it goes."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request, to be sent by whoever can."""

    method: Literal["GET", "POST"]
    path: str
    query: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    content_type: str = "application/json"


class Call(Protocol[T_co]):
    """Something asked of the service. It may take several requests until it is answered."""

    def request(self) -> Request | None:
        """What to send next; None once everything is answered."""

    def accept(self, response: httpx.Response) -> ClientError | None:
        """Read an answer with status 200; returns why something must be sent again, or None.

        :raises InvalidAnswer: if it is no answer of the service.
        """

    def settle(self, error: ClientError) -> bool:
        """Told that `error` will not be tried again: whether the call can live with it, else it is raised."""

    def result(self) -> T_co:
        """What was answered, once `request` gives None."""


class OneRequest(Generic[T]):
    """Base of the calls that one request answers."""

    def __init__(self, request: Request) -> None:
        self._request: Request | None = request
        self._result: T | None = None

    def request(self) -> Request | None:
        """The request, until it is answered."""
        return self._request

    def accept(self, response: httpx.Response) -> ClientError | None:
        """Keep what was answered."""
        self._result = self._read(response)
        self._request = None
        return None

    def settle(self, error: ClientError) -> bool:
        """No error will do for an answer."""
        return False

    def result(self) -> T:
        """What was answered."""
        assert self._result is not None
        return self._result

    def _read(self, response: httpx.Response) -> T:
        raise NotImplementedError


class NerCall(OneRequest[list[Result]]):
    """POST /ner.

    :param inputs: each as JSON, of which its size was counted; exactly one for the field "text".
    """

    def __init__(self, field: Literal["text", "texts", "tokens"], inputs: Batch[bytes], options: Options) -> None:
        value = inputs.items[0] if field == "text" else b"[" + b",".join(inputs.items) + b"]"
        content = b'{"%s":%s,%s' % (field.encode(), value, to_json(options.fields())[1:])
        super().__init__(Request("POST", "/ner", content=content))
        self._field = field
        self._first = inputs.first
        self._count = len(inputs.items)

    def settle(self, error: ClientError) -> bool:
        """The server numbers the texts of a request; this says which those are."""
        if self._field != "text":
            error.add_note(f"the request held {self._field} {self._first} to {self._first + self._count - 1}")
        return False

    def _read(self, response: httpx.Response) -> list[Result]:
        results = results_of(response)
        if len(results) != self._count:
            raise invalid_answer(response, f"{self._count} texts were sent, {len(results)} results came back")
        return results


class ModelsCall(OneRequest[list[ModelInfo]]):
    """GET /models."""

    def __init__(self) -> None:
        super().__init__(Request("GET", "/models"))

    def _read(self, response: httpx.Response) -> list[ModelInfo]:
        return models_of(response)


class ProbeCall(OneRequest[bool]):
    """GET of a health endpoint: False when the server is down, starting or stopping; other errors are raised."""

    def __init__(self, path: str) -> None:
        super().__init__(Request("GET", path))

    def settle(self, error: ClientError) -> bool:
        """Down is an answer too; a wrong URL or a missing key is not."""
        if not is_transient(error):
            return False
        self._result, self._request = False, None
        return True

    def _read(self, response: httpx.Response) -> bool:
        return bool(status_of(response))


class StreamCall:
    """POST /ner/stream with a bounded number of lines; only the lines not answered yet are sent again.

    :param lines: each text as JSON, or why it cannot be sent.
    """

    def __init__(self, lines: Sequence[bytes | InvalidText], options: Options) -> None:
        self._lines = lines
        self._query = options.query()
        self._answers: dict[int, Result | ClientError] = {
            at: line for at, line in enumerate(lines) if isinstance(line, InvalidText)
        }
        self._open = [at for at in range(len(lines)) if at not in self._answers]

    def request(self) -> Request | None:
        """The lines without an answer."""
        if not self._open:
            return None
        content = b"".join(b'{"id":%d,"text":%s}\n' % (at, self._lines[at]) for at in self._open)
        return Request("POST", "/ner/stream", self._query, content, "application/x-ndjson")

    def accept(self, response: httpx.Response) -> ClientError | None:
        """Keep the lines that are answered; an error that may pass leaves its line open."""
        lines = lines_of(response)
        if len(lines) > len(self._open):
            raise invalid_answer(response, f"{len(self._open)} lines were sent, {len(lines)} came back")
        again: ClientError | None = None
        left = self._open[len(lines) :]
        if left:
            again = ConnectionFailed(f"the answer ended after {len(lines)} of {len(self._open)} lines")
        for at, line in zip(self._open, lines, strict=False):
            # A line that the server could not read has no id.
            if line.id is not None and line.id != at:
                raise invalid_answer(response, f"the line with id {at} was answered with id {line.id!r}")
            answer = line.result() if isinstance(line, ResultLine) else _error_of_line(line, response)
            self._answers[at] = answer
            if isinstance(answer, ClientError) and is_transient(answer):
                left.append(at)
                again = again or answer
        self._open = sorted(left)
        return again

    def settle(self, error: ClientError) -> bool:
        """A line's own error is its answer in the end."""
        if error not in self._answers.values():
            return False
        self._open = []
        return True

    def result(self) -> list[Result | ClientError]:
        """The answer of each line, in order."""
        return [self._answers[at] for at in range(len(self._lines))]


def _error_of_line(line: ErrorAnswer, response: httpx.Response) -> ServerError:
    error = line.error
    # A code of a newer service: what is known is that the answer had status 200.
    status = STATUS_OF_CODE.get(error.code)
    kind = ServerError if status is None else class_of(status)
    return kind(status or response.status_code, error.code, error.message, error.request_id)
