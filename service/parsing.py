"""Parsing: the bytes of a request to a checked NerRequest, every complaint naming field, limit and value."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from onoma.errors import TextError
from onoma.tagger import check_text
from service.errors import BadRequest, InvalidRequest, InvalidText, LimitExceeded, UnknownLabel, shown
from service.schemas import NerRequest
from service.settings import Settings

M = TypeVar("M", bound=BaseModel)


def parse_request(body: bytes, *, settings: Settings, known_labels: Sequence[str]) -> NerRequest:
    """The request in `body`.

    :raises ServiceError: BadRequest if it is no JSON, InvalidRequest or one of its kind if it is no valid request.
    """
    content = load_object(body)
    for field in ("texts", "tokens"):
        check_count(content.get(field), field, settings)
    for field in ("text", "texts", "tokens"):
        check_unicode(content.get(field), field, depth=2 if field == "tokens" else 1)
    request = validated(NerRequest, content)
    _check_sizes(request, settings)
    check_labels(request.labels, known_labels)
    return request


def validated(model: type[M], content: object) -> M:
    """The content as a model.

    :raises InvalidRequest: names the field.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InvalidRequest(_first_complaint(error)) from None


def whole(number: object) -> object:
    """8.0 is an integer in JSON; for a BeforeValidator."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def check_labels(labels: Sequence[str] | None, known_labels: Sequence[str]) -> None:
    """Refuse a type that no model knows.

    :raises UnknownLabel: names it.
    """
    unknown = [label for label in labels or () if label not in known_labels]
    if unknown:
        raise UnknownLabel(f"labels: {shown(unknown[0])} is not one of {', '.join(known_labels)}")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def load_object(body: bytes) -> dict[str, object]:
    """The JSON object in a body.

    :raises ServiceError: BadRequest if it is no JSON, InvalidRequest if it is another kind of it.
    """
    content = load_json(body)
    if not isinstance(content, dict):
        raise InvalidRequest(f"the body must be a JSON object, got {type(content).__name__}")
    return content


def load_json(body: bytes, *, what: str = "the body") -> object:
    """What JSON in UTF-8 says; lone surrogates are left to `check_unicode`.

    :param what: the name of these bytes, for messages.
    :raises BadRequest: if it is none.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _explained(body, what)


def _explained(body: bytes, what: str) -> object:
    """What orjson refused: why, or what is JSON all the same, such as a lone surrogate that is complained of later.

    :raises BadRequest: says what is wrong with the body.
    """
    if not body.strip():
        raise BadRequest(f'{what} is empty: send JSON such as {{"text": "..."}}')
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise BadRequest(f"{what} is not UTF-8: byte {error.start} is wrong") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"{what} is not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise BadRequest(f"{what} is nested too deep") from None
    except ValueError:  # NaN and Infinity, and integers of thousands of digits
        raise BadRequest(f"{what} is not JSON: a number is NaN, infinite or too long") from None


def check_count(value: object, field: str, settings: Settings) -> None:
    """Refuse too many texts, before anything that costs time per text.

    :raises LimitExceeded: names the field.
    """
    if isinstance(value, list) and len(value) > settings.max_texts:
        raise LimitExceeded(f"{field}: at most {settings.max_texts} in a request, got {len(value)}")


def check_unicode(value: object, field: str, *, depth: int) -> None:
    """Refuse lone surrogates and NUL, before pydantic, whose complaint names neither them nor their place.

    :param depth: how deep lists may be nested.
    :raises InvalidText: names the field and the place.
    """
    try:
        _check_text(value, field, depth)
    except TextError as error:
        raise InvalidText(str(error)) from None


def _check_text(value: object, field: str, depth: int) -> None:
    if isinstance(value, str):
        check_text(value, field=field)
    elif isinstance(value, list) and depth:
        for number, item in enumerate(value):
            _check_text(item, f"{field}[{number}]", depth - 1)


def check_text_or_texts(value: object, field: str) -> None:
    """Refuse what is neither a text nor a list of texts, before pydantic, which would complain once for each.

    :raises InvalidRequest: names the field.
    """
    if isinstance(value, list):
        for number, text in enumerate(value):
            if not isinstance(text, str):
                raise InvalidRequest(f"{field}[{number}]: must be a string, got {type(text).__name__}")
    elif value is not None and not isinstance(value, str):
        raise InvalidRequest(f"{field}: must be a string or a list of strings, got {type(value).__name__}")


def _check_sizes(request: NerRequest, settings: Settings) -> None:
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
    check_lengths(named, settings)


def check_lengths(named: Sequence[tuple[str, int]], settings: Settings) -> None:
    """Refuse texts that are too long.

    :param named: name and number of characters of each.
    :raises LimitExceeded: names the text, or their sum.
    """
    total = 0
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
