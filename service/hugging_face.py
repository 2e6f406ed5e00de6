"""Hugging Face: the token classification of the Inference API, so that its clients work unchanged.

POST / and POST /models/{name} are where huggingface_hub sends `token_classification` when it is given the address of
this server or of one of its models.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.responses import Response

from service.cascade import Answer
from service.ner import respond, tagged
from service.parsing import (
    check_count,
    check_lengths,
    check_text_or_texts,
    check_unicode,
    load_object,
    validated,
    whole,
)
from service.queueing import Stages
from service.registry import AUTO, check_there
from service.results import Inputs, render_each
from service.routes import ERRORS, runtime_of
from service.runtime import Runtime
from service.schemas import ErrorResponse, NerRequest

_WORD = re.compile(r"\S+")


class TokenClassificationParameters(BaseModel):
    """How to answer. Parameters that are not named here are accepted and change nothing."""

    model_config = ConfigDict(strict=True)

    aggregation_strategy: Literal["none", "simple", "first", "average", "max"] | None = Field(
        default="simple",
        description="none: one element per word of an entity; the others, which are all the same: one per entity",
    )
    ignore_labels: list[str] | None = Field(default=["O"], description="types or tags that are left out")
    stride: Annotated[int, Field(ge=0), BeforeValidator(whole)] | None = Field(
        default=None, description="changes nothing: long texts are always windowed and merged"
    )


class TokenClassificationRequest(BaseModel):
    """Texts and how to answer. Fields that are not named here, such as `options`, are accepted and change nothing."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [
                {"inputs": "Angela Merkel visited Siemens in München."},
                {"inputs": ["東京は日本の首都です。"], "parameters": {"aggregation_strategy": "none"}},
            ]
        },
    )

    inputs: str | list[str] = Field(description="a text, or several")
    parameters: TokenClassificationParameters | None = None


class EntityElement(BaseModel):
    """An entity."""

    entity_group: str = Field(description="its type")
    score: float = Field(description="calibrated probability of the entity's tags, 0..1")
    word: str = Field(description="the exact slice of the text")
    start: int = Field(description="code-point offset of its first character")
    end: int = Field(description="code-point offset after its last character")


class WordElement(BaseModel):
    """A word of an entity, words being what stands between white space."""

    entity: str = Field(description="B- and the type for the first word of an entity, I- and the type for the others")
    score: float = Field(description="that of the entity")
    index: int = Field(description="which word of the text it stands in, counted from 1")
    word: str = Field(description="the exact slice of the text")
    start: int = Field(description="code-point offset of its first character")
    end: int = Field(description="code-point offset after its last character")


Elements = list[EntityElement] | list[WordElement]
Answered = Elements | list[Elements]


def _body_schema() -> dict[str, Any]:
    """The request's schema without references, for the OpenAPI document."""
    schema = TokenClassificationRequest.model_json_schema()
    parameters = schema.pop("$defs")["TokenClassificationParameters"]
    schema["properties"]["parameters"] = {"anyOf": [parameters, {"type": "null"}]}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


router = APIRouter()


@router.post(
    "/",
    response_model=Answered,
    responses=ERRORS,
    openapi_extra=_body_schema(),
    summary="Find entities as the Inference API of Hugging Face does",
)
async def classify(request: Request) -> Response:
    """Token classification with the model `auto`; see docs/integrations.md."""
    return await _classify(request, AUTO)


@router.post(
    "/models/{name}",
    response_model=Answered,
    responses=ERRORS | {404: {"model": ErrorResponse, "description": "no such model"}},
    openapi_extra=_body_schema(),
    summary="The same with one model",
)
async def classify_with(request: Request, name: str) -> Response:
    """Token classification with the model of that name."""
    generation = runtime_of(request).generation
    if generation.backends and name not in generation.encoders:  # of which the cascade says what they are
        check_there(name, (AUTO, *generation.taggers))
    return await _classify(request, name)


async def _classify(request: Request, model: str) -> Response:
    runtime = runtime_of(request)
    content = await respond(runtime, request.scope, request.receive, HuggingFaceForm(runtime, model), tagged)
    return Response(content, media_type="application/json")


class HuggingFaceForm:
    """Reads one such request and writes its answer.

    :param model: `auto` or the name of a loaded model.
    """

    def __init__(self, runtime: Runtime, model: str) -> None:
        self._runtime = runtime
        self._model = model
        self._single = True
        self._parameters = TokenClassificationParameters()

    def read(self, body: bytes) -> NerRequest:
        """What is asked, as POST /ner would be asked it.

        :raises ServiceError: if it is no valid request.
        """
        settings = self._runtime.settings
        content = load_object(body)
        given = content.get("inputs")
        check_count(given, "inputs", settings)
        check_unicode(given, "inputs", depth=1)
        check_text_or_texts(given, "inputs")
        request = validated(TokenClassificationRequest, content)
        self._parameters = request.parameters or self._parameters
        self._single = isinstance(request.inputs, str)
        named = [("inputs", request.inputs)] if isinstance(request.inputs, str) else [
            (f"inputs[{number}]", text) for number, text in enumerate(request.inputs)
        ]
        check_lengths([(name, len(text)) for name, text in named], settings)
        return NerRequest(texts=[text for _, text in named], model=self._model)

    def write(
        self, asked: NerRequest, inputs: Inputs, answers: Sequence[Answer], stages: Stages, total: float
    ) -> bytes:
        """A list of elements; for a list of texts a list of such lists."""
        results = render_each(asked, inputs, answers, metrics=self._runtime.metrics)
        lists = [self._elements(text, one["entities"]) for text, one in zip(inputs.texts, results, strict=True)]
        return orjson.dumps(lists[0] if self._single else lists)

    def _elements(self, text: str, entities: list[dict[str, Any]]) -> list[dict[str, object]]:
        ignored = frozenset(self._parameters.ignore_labels or ())
        wanted = [entity for entity in entities if entity["label"] not in ignored]
        if self._parameters.aggregation_strategy == "none":
            return [word for word in _words(text, wanted) if word["entity"] not in ignored]
        return [
            {
                "entity_group": entity["label"],
                "score": entity["score"],
                "word": entity["text"],
                "start": entity["start"],
                "end": entity["end"],
            }
            for entity in wanted
        ]


def _words(text: str, entities: Sequence[dict[str, Any]]) -> Iterator[dict[str, object]]:
    """The words of each entity, tagged."""
    if not entities:
        return
    beginnings = [word.start() for word in _WORD.finditer(text)]
    for entity in entities:
        for number, word in enumerate(_WORD.finditer(text, entity["start"], entity["end"])):
            yield {
                "entity": f"{'I' if number else 'B'}-{entity['label']}",
                "score": entity["score"],
                "index": bisect_right(beginnings, word.start()),
                "word": word[0],
                "start": word.start(),
                "end": word.end(),
            }
