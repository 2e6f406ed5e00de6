"""What the servers compared with onoma take and answer: the request and the JSON that onoma's have."""

from __future__ import annotations

from pydantic import BaseModel


class NerRequest(BaseModel):
    """One text, or several."""

    text: str | None = None
    texts: list[str] | None = None
    model: str = "student"


class Entity(BaseModel):
    """One entity, its offsets in code points."""

    start: int
    end: int
    label: str
    text: str
    score: float


class Result(BaseModel):
    """The answer to one text."""

    entities: list[Entity]
    model: str
    fallback: str | None
    windows: int


class Timings(BaseModel):
    """Milliseconds."""

    queue: float
    tokenize: float
    infer: float
    decode: float
    total: float


class NerResponse(BaseModel):
    """One result for each text, in order."""

    results: list[Result]
    request_id: str
    timings_ms: Timings
