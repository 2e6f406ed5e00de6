"""OpenAI: the embeddings endpoint as OpenAI's clients speak it, so that they work unchanged."""

from __future__ import annotations

import base64
from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from service.embedding import Asked, Vectors
from service.embedding_schemas import EncoderChoice
from service.errors import InvalidRequest
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
from service.registry import ENCODER
from service.runtime import Runtime


class OpenAIRequest(BaseModel):
    """Texts. Fields that are not named here, such as `user`, are accepted and change nothing."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [
                {"input": "The weather is fine today.", "model": ENCODER},
                {"input": ["A dog barks.", "Ein Hund bellt."], "model": ENCODER, "encoding_format": "base64"},
            ]
        },
    )

    input: str | list[str] = Field(description="a text, or several; token ids are refused")
    model: EncoderChoice = ENCODER
    encoding_format: Literal["float", "base64"] | None = Field(
        default=None, description="float: numbers; base64: the same as little-endian float32; null: float"
    )
    dimensions: Annotated[int, BeforeValidator(whole)] | None = Field(
        default=None, description="if given, it must be what the model has anyway"
    )


class EmbeddingOut(BaseModel):
    """The vector of a text."""

    object: Literal["embedding"]
    index: int = Field(description="which text of the request it is of")
    embedding: list[float] | str


class UsageOut(BaseModel):
    """Word-pieces of all texts."""

    prompt_tokens: int
    total_tokens: int


class OpenAIResponse(BaseModel):
    """The vectors of the texts, in order."""

    object: Literal["list"]
    data: list[EmbeddingOut]
    model: str
    usage: UsageOut


class OpenAIForm:
    """The form of POST /v1/embeddings."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._base64 = False

    def read(self, body: bytes) -> Asked:
        """The texts of an OpenAIRequest."""
        settings = self._runtime.settings
        content = load_object(body)
        given = content.get("input")
        check_count(given, "input", settings)
        check_unicode(given, "input", depth=1)
        check_text_or_texts(given, "input")
        request = validated(OpenAIRequest, content)
        texts = [request.input] if isinstance(request.input, str) else request.input
        names = ["input"] if isinstance(request.input, str) else [f"input[{at}]" for at in range(len(texts))]
        check_lengths([(name, len(text)) for name, text in zip(names, texts, strict=True)], settings)
        there = self._runtime.generation.encoder(request.model).dimensions
        if request.dimensions not in (None, there):
            raise InvalidRequest(f"dimensions: {request.model} gives {there}, no fewer and no more")
        self._base64 = request.encoding_format == "base64"
        return Asked(texts, request.model)

    def write(self, vectors: Vectors, stages: Stages, total: float) -> bytes:
        """An OpenAIResponse."""
        rows = vectors.rows.astype("<f4", copy=False)
        data = [
            {
                "object": "embedding",
                "index": at,
                "embedding": base64.b64encode(row.tobytes()).decode("ascii") if self._base64 else row,
            }
            for at, row in enumerate(rows)
        ]
        response = {
            "object": "list",
            "data": data,
            "model": vectors.model,
            "usage": {"prompt_tokens": vectors.pieces, "total_tokens": vectors.pieces},
        }
        return orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY)
