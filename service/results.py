"""Results: answers of the models to the JSON of the response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from onoma.labels import Entity
from onoma.tagger import to_token_spans
from onoma.text import convert_offsets, join_tokens
from service.cascade import Answer
from service.metrics import Metrics
from service.queueing import Stages
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
    return {"results": render_each(request, inputs, answers, metrics=metrics), "request_id": request_id}


def render_each(
    request: NerRequest, inputs: Inputs, answers: Sequence[Answer], *, metrics: Metrics
) -> list[dict[str, Any]]:
    """The result of each text; counts what it answers."""
    results = []
    for number, (text, answer) in enumerate(zip(inputs.texts, answers, strict=True)):
        if inputs.token_spans is None:
            entities = _entities_of_text(request, text, answer)
        else:
            entities = _entities_of_tokens(request, text, inputs.token_spans[number], answer)
        result: dict[str, Any] = {
            "entities": entities,
            "model": answer.model,
            "fallback": answer.fallback,
            "windows": answer.tagged.windows,
        }
        if answer.declined is not None:
            result["declined"] = answer.declined
        results.append(result)
        labels = [str(entity["label"]) for entity in entities]
        metrics.answered(answer.model, characters=len(text), windows=answer.tagged.windows, labels=labels)
    return results


def to_json(response: dict[str, object], stages: Stages, total: float) -> bytes:
    """The response with its timings in milliseconds, as JSON; it may hold numpy's arrays."""
    seconds = {
        "queue": stages.queue,
        "tokenize": stages.tokenize,
        "infer": stages.infer,
        "decode": stages.decode,
        "total": total,
    }
    timings = {stage: round(value * 1000, 3) for stage, value in seconds.items()}
    return orjson.dumps({**response, "timings_ms": timings}, option=orjson.OPT_SERIALIZE_NUMPY)


def _wanted(request: NerRequest, entities: Sequence[Entity]) -> list[tuple[Entity, float]]:
    """The entities asked for, with rounded scores: none shows a score under the least one."""
    least, labels = request.min_score, request.labels
    rounded = [(entity, round(entity.score, 6)) for entity in entities]
    return [(one, score) for one, score in rounded if score >= least and (labels is None or one.label in labels)]


def _entities_of_text(request: NerRequest, text: str, answer: Answer) -> list[dict[str, object]]:
    wanted = _wanted(request, answer.tagged.entities)
    if request.offset_unit == "codepoint":
        return [_out(one, text[one.start : one.end], one.start, one.end, score) for one, score in wanted]
    ends = [at for entity, _ in wanted for at in (entity.start, entity.end)]
    offsets = convert_offsets(text, ends, request.offset_unit)
    return [
        _out(one, text[one.start : one.end], start, end, score)
        for (one, score), start, end in zip(wanted, offsets[::2], offsets[1::2], strict=True)
    ]


def _entities_of_tokens(request: NerRequest, text: str, spans: Spans, answer: Answer) -> list[dict[str, object]]:
    return [
        _out(one, text[spans[one.start][0] : spans[one.end - 1][1]], one.start, one.end, score)
        for one, score in _wanted(request, to_token_spans(answer.tagged, spans).entities)
    ]


def _out(entity: Entity, text: str, start: int, end: int, score: float) -> dict[str, object]:
    return {"start": start, "end": end, "label": entity.label, "text": text, "score": score}
