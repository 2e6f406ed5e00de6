"""Results: answers of the models to the JSON of the response."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from onoma.labels import Entity
from onoma.tagger import to_token_spans
from onoma.text import convert_offsets, join_tokens
from service.backend import Stages
from service.cascade import Answer
from service.metrics import Metrics
from service.schemas import NerRequest

Spans = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Inputs:
    """The texts to tag and, where tokens were given, the characters each token covers in its text."""

    texts: list[str]
    token_spans: list[Spans] | None = None

    @classmethod
    def of(cls, request: NerRequest) -> Inputs:
        """The texts of a request; tokens are joined."""
        if request.tokens is not None:
            joined = [join_tokens(tokens) for tokens in request.tokens]
            return cls([text for text, _ in joined], [spans for _, spans in joined])
        return cls([request.text or ""] if request.texts is None else request.texts)


def render(
    request: NerRequest, inputs: Inputs, answers: Sequence[Answer], *, request_id: str, metrics: Metrics
) -> dict[str, object]:
    """The response without its timings; counts what it answers."""
    results = []
    for number, (text, answer) in enumerate(zip(inputs.texts, answers, strict=True)):
        if inputs.token_spans is None:
            entities = _entities_of_text(request, text, answer)
        else:
            entities = _entities_of_tokens(request, text, inputs.token_spans[number], answer)
        results.append(
            {
                "entities": entities,
                "model": answer.model,
                "fallback": answer.fallback,
                "windows": answer.tagged.windows,
            }
        )
        metrics.texts.labels(model=answer.model).inc()
        metrics.characters.labels(model=answer.model).inc(len(text))
        metrics.windows.labels(model=answer.model).inc(answer.tagged.windows)
        for entity in entities:
            metrics.entities.labels(model=answer.model, label=str(entity["label"])).inc()
    return {"results": results, "request_id": request_id}


def to_json(response: dict[str, object], stages: Stages, total: float) -> bytes:
    """The response with its timings in milliseconds, as JSON."""
    seconds = {
        "queue": stages.queue,
        "tokenize": stages.tokenize,
        "infer": stages.infer,
        "decode": stages.decode,
        "total": total,
    }
    timings = {stage: round(value * 1000, 3) for stage, value in seconds.items()}
    body = json.dumps({**response, "timings_ms": timings}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return body.encode("utf-8")


def _wanted(request: NerRequest, entities: Sequence[Entity]) -> list[Entity]:
    # Rounded first, so that no entity shows a score under the one asked for.
    rounded = [replace(entity, score=round(float(entity.score), 6)) for entity in entities]
    return [
        entity
        for entity in rounded
        if entity.score >= request.min_score and (request.labels is None or entity.label in request.labels)
    ]


def _entities_of_text(request: NerRequest, text: str, answer: Answer) -> list[dict[str, object]]:
    entities = _wanted(request, answer.tagged.entities)
    ends = [at for entity in entities for at in (entity.start, entity.end)]
    offsets = convert_offsets(text, ends, request.offset_unit)
    return [
        _out(entity, text[entity.start : entity.end], start, end)
        for entity, start, end in zip(entities, offsets[::2], offsets[1::2], strict=True)
    ]


def _entities_of_tokens(request: NerRequest, text: str, spans: Spans, answer: Answer) -> list[dict[str, object]]:
    return [
        _out(entity, text[spans[entity.start][0] : spans[entity.end - 1][1]], entity.start, entity.end)
        for entity in _wanted(request, to_token_spans(answer.tagged, spans).entities)
    ]


def _out(entity: Entity, text: str, start: int, end: int) -> dict[str, object]:
    return {"start": start, "end": end, "label": entity.label, "text": text, "score": entity.score}
