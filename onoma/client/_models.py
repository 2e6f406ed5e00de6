"""What the service answers, as dataclasses, and reading them from JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from onoma.client._errors import InvalidAnswer, ServerError, class_of
from onoma.client._retry import retry_after_seconds

T = TypeVar("T")
SHOWN = 200
"""Most characters of a proxy's page that an error message repeats."""


@dataclass(frozen=True, slots=True)
class Entity:
    """A named entity.

    :param start: half-open offsets into the text exactly as sent, in the unit asked for; for tokens: token indices.
    :param text: the slice itself.
    :param score: calibrated probability, 0..1.
    """

    start: int
    end: int
    label: str
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to one text.

    :param model: which model answered.
    :param fallback: why the teacher answered in the student's place, or None.
    :param windows: model inputs the text took.
    :param declined: why the teacher, though wanted, did not answer, or None.
    """

    entities: tuple[Entity, ...]
    model: str
    fallback: str | None
    windows: int
    declined: str | None = None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that the server has loaded.

    :param facts: everything the server says about it, as sent.
    """

    name: str
    role: str | None
    facts: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True)
class _Results:
    results: list[Result]


@dataclass(frozen=True, slots=True)
class _Failure:
    code: str
    message: str
    request_id: str


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """The service's form of every error; `id` in a stream only."""

    error: _Failure
    id: Any = None


@dataclass(frozen=True, slots=True)
class ResultLine:
    """A line of a stream that is a result."""

    entities: tuple[Entity, ...]
    model: str
    fallback: str | None
    windows: int
    declined: str | None = None
    id: Any = None

    def result(self) -> Result:
        """Without the id."""
        return Result(self.entities, self.model, self.fallback, self.windows, self.declined)


class _ModelEntry(BaseModel, extra="allow"):
    name: str
    role: str | None


@dataclass(frozen=True, slots=True)
class _Models:
    models: list[_ModelEntry]


@dataclass(frozen=True, slots=True)
class _Embeddings:
    embeddings: list[list[float]]
    dimensions: int


@dataclass(frozen=True, slots=True)
class _Scores:
    scores: list[float]


@dataclass(frozen=True, slots=True)
class _Status:
    status: str


_RESULTS = TypeAdapter(_Results)
_LINE: TypeAdapter[ErrorAnswer | ResultLine] = TypeAdapter(ErrorAnswer | ResultLine)
_MODELS = TypeAdapter(_Models)
_EMBEDDINGS = TypeAdapter(_Embeddings)
_SCORES = TypeAdapter(_Scores)
_STATUS = TypeAdapter(_Status)
_ERROR = TypeAdapter(ErrorAnswer)


def results_of(response: httpx.Response) -> list[Result]:
    """The results of POST /ner."""
    return _read(_RESULTS, response.content, response).results


def lines_of(response: httpx.Response) -> list[ErrorAnswer | ResultLine]:
    """The lines of POST /ner/stream."""
    return [_read(_LINE, line, response) for line in response.content.split(b"\n") if line.strip()]


def models_of(response: httpx.Response) -> list[ModelInfo]:
    """The models of GET /models."""
    entries = _read(_MODELS, response.content, response).models
    return [ModelInfo(entry.name, entry.role, entry.model_dump()) for entry in entries]


def embeddings_of(response: httpx.Response) -> tuple[list[list[float]], int]:
    """The vectors of POST /embed, and how many numbers each should have."""
    answer = _read(_EMBEDDINGS, response.content, response)
    return answer.embeddings, answer.dimensions


def scores_of(response: httpx.Response) -> list[float]:
    """The scores of POST /similarity."""
    return _read(_SCORES, response.content, response).scores


def status_of(response: httpx.Response) -> str:
    """What a health endpoint says."""
    return _read(_STATUS, response.content, response).status


def _read(adapter: TypeAdapter[T], content: bytes, response: httpx.Response) -> T:
    try:
        return adapter.validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise invalid_answer(response, f"{where}: {first['msg']}" if where else first["msg"]) from None


def invalid_answer(response: httpx.Response, why: str) -> InvalidAnswer:
    """The error of an answer with status 2xx that is not the service's."""
    kind = response.headers.get("content-type", "no content type")
    message = f"{response.request.url.path} answered what the service does not ({kind}): {why}"
    return InvalidAnswer(response.status_code, "invalid_answer", message, request_id_of(response))


def request_id_of(response: httpx.Response) -> str:
    """The server's id of the request; where a proxy answered, the one that was sent."""
    sent = response.request.headers.get("x-request-id", "")
    return str(response.headers.get("x-request-id", sent))


def error_of(response: httpx.Response, *, now: float) -> ServerError:
    """The error of an answer whose status is not 2xx, from the service or from a proxy.

    :param now: seconds since 1970.
    """
    status = response.status_code
    retry_after = retry_after_seconds(response.headers.get("retry-after"), now)
    try:
        found = _ERROR.validate_json(response.content).error
    except ValidationError:  # no service of ours: a proxy
        found = _Failure(f"http_{status}", _page(response), request_id_of(response))
    return class_of(status)(status, found.code, found.message, found.request_id, retry_after)


def _page(response: httpx.Response) -> str:
    """What a proxy says, on one line, cut short."""
    if "location" in response.headers:
        return f"redirected to {response.headers['location'][:SHOWN]}: give the client that URL"
    words = " ".join(response.text.split())
    shown = words[:SHOWN] + ("…" if len(words) > SHOWN else "")
    return f"{response.reason_phrase}: {shown}" if shown else response.reason_phrase or "no message"
