"""Parsing: the bytes of a request to a checked NerRequest, every complaint naming field, limit and value."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pydantic import ValidationError

from onoma.errors import TextError
from onoma.tagger import check_text
from service.errors import BadRequest, InvalidRequest, InvalidText, LimitExceeded, UnknownLabel, shown
from service.schemas import NerRequest
from service.settings import Settings


def parse_request(body: bytes, *, settings: Settings, known_labels: Sequence[str]) -> NerRequest:
    """The request in `body`.

    :raises ServiceError: BadRequest if it is no JSON, InvalidRequest or one of its kind if it is no valid request.
    """
    content = _load(body)
    _check_counts(content, settings)
    _check_texts(content)
    try:
        request = NerRequest.model_validate(content)
    except ValidationError as error:
        raise InvalidRequest(_first_complaint(error)) from None
    _check_sizes(request, settings)
    unknown = [label for label in request.labels or () if label not in known_labels]
    if unknown:
        raise UnknownLabel(f"labels: {shown(unknown[0])} is not one of {', '.join(known_labels)}")
    return request


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _load(body: bytes) -> dict[str, object]:
    if not body.strip():
        raise BadRequest('the body is empty: send JSON such as {"text": "..."}')
    try:
        content = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: byte {error.start} is wrong") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deep") from None
    except ValueError:  # NaN and Infinity, and integers of thousands of digits
        raise BadRequest("the body is not JSON: a number is NaN, infinite or too long") from None
    if not isinstance(content, dict):
        raise InvalidRequest(f"the body must be a JSON object, got {type(content).__name__}")
    return content


def _check_counts(content: dict[str, object], settings: Settings) -> None:
    """Before anything that costs time per text."""
    for field in ("texts", "tokens"):
        value = content.get(field)
        if isinstance(value, list) and len(value) > settings.max_texts:
            raise LimitExceeded(f"{field}: at most {settings.max_texts} in a request, got {len(value)}")


def _check_texts(content: dict[str, object]) -> None:
    """Before pydantic, whose complaint about a lone surrogate names neither it nor its place."""
    try:
        for field in ("text", "texts", "tokens"):
            _check_text(content.get(field), field, depth=2 if field == "tokens" else 1)
    except TextError as error:
        raise InvalidText(str(error)) from None


def _check_text(value: object, field: str, depth: int) -> None:
    if isinstance(value, str):
        check_text(value, field=field)
    elif isinstance(value, list) and depth:
        for number, item in enumerate(value):
            _check_text(item, f"{field}[{number}]", depth - 1)


def _check_sizes(request: NerRequest, settings: Settings) -> None:
    total = 0
    if request.tokens is not None:
        count = sum(len(sentence) for sentence in request.tokens)
        if count > settings.max_tokens:
            raise LimitExceeded(f"tokens: at most {settings.max_tokens} tokens in a request, got {count}")
        # One more per token: they are joined by spaces.
        named = [(f"tokens[{i}]", sum(map(len, one)) + len(one)) for i, one in enumerate(request.tokens)]
    elif request.texts is not None:
        named = [(f"texts[{i}]", len(one)) for i, one in enumerate(request.texts)]
    else:
        named = [("text", len(request.text or ""))]
    for field, length in named:
        total += length
        if length > settings.max_text_chars:
            raise LimitExceeded(f"{field}: at most {settings.max_text_chars} characters in a text, got {length}")
    if total > settings.max_total_chars:
        raise LimitExceeded(f"at most {settings.max_total_chars} characters in a request, got {total}")


def _first_complaint(error: ValidationError) -> str:
    """The first complaint; its place comes from the caller and is cut short, its input is never repeated."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ""
    for part in first["loc"]:
        where += f"[{part}]" if isinstance(part, int) else ("." if where else "") + part[:60]
    message = first["msg"].removeprefix("Value error, ")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {message}{more}" if where else message + more
