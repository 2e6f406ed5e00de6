"""Records: what is noted of a request while it is under way, for the log and for traces; never its texts."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from starlette.types import Scope

from service.queueing import Stages

REQUEST_ID: ContextVar[str | None] = ContextVar("onoma_request_id", default=None)
"""The id of the request that the running code works for."""

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
MOST_RUNS = 64
"""Runs of one request that are kept one by one; a stream may have any number."""


@dataclass(slots=True)
class Run:
    """Texts that one model was asked about.

    :param began: time.monotonic().
    :param stages: None while it runs, and for ever if it failed.
    """

    model: str
    texts: int
    began: float
    stages: Stages | None = None


@dataclass(slots=True)
class Record:
    """One request; what is known only at its end is filled in then.

    :param endpoint: the path as a template, never as it was sent.
    :param began: time.monotonic().
    :param size: bytes of the answer's body.
    :param asked: models asked and their number of texts, in order.
    """

    request_id: str
    scope: Scope
    began: float
    method: str = ""
    endpoint: str = ""
    status: int = 0
    seconds: float = 0.0
    size: int = 0
    asked: dict[str, int] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)

    @property
    def texts(self) -> int:
        """Texts of the request: the model asked first got all of them."""
        return next(iter(self.asked.values()), 0)


class Watcher(Protocol):
    """Told of every request when it has been answered."""

    def answered(self, record: Record) -> None:
        """A request is over."""
        ...


_RECORD: ContextVar[Record | None] = ContextVar("onoma_record", default=None)


def open_record(request_id: str, scope: Scope, began: float) -> Record:
    """A record that the code which works for this request finds."""
    record = Record(request_id, scope, began)
    _RECORD.set(record)
    return record


def close_record() -> None:
    """From now on nothing is noted."""
    _RECORD.set(None)


def note_run(model: str, texts: int, began: float) -> Run | None:
    """Note that a model is asked; None if nobody watches, else its stages are wanted when they are known."""
    record = _RECORD.get()
    if record is None:
        return None
    record.asked[model] = record.asked.get(model, 0) + texts
    run = Run(model, texts, began)
    if len(record.runs) < MOST_RUNS:
        record.runs.append(run)
    return run
