"""Schemas of POST /embed and POST /similarity: what is asked and what is answered."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from service.registry import ENCODER
from service.schemas import TimingsOut

_TEXT: JsonValue = {"type": "string"}
_EXACTLY_ONE: list[JsonValue] = [
    {"required": ["text"], "properties": {"text": _TEXT}},
    {"required": ["texts"], "properties": {"texts": {"type": "array", "items": _TEXT}}},
]
_REQUEST_ID = "0b0f6a0a4b2f4c0e9d8f6c1f5f0c7f55"
_TIMINGS: JsonValue = {"queue": 0.4, "tokenize": 0.1, "infer": 3.2, "decode": 0.1, "total": 4.0}

EncoderChoice = Annotated[str, Field(description="a sentence encoder's name, see GET /models", examples=[ENCODER])]


class EmbedRequest(BaseModel):
    """Exactly one of `text` and `texts`."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "oneOf": _EXACTLY_ONE,
            "examples": [
                {"text": "The weather is fine today."},
                {"texts": ["The weather is fine today.", "今日はいい天気です。"], "model": ENCODER},
            ],
        },
    )

    text: str | None = Field(default=None, description="one text")
    texts: list[str] | None = Field(default=None, description="several texts, answered in their order")
    model: EncoderChoice = ENCODER

    @model_validator(mode="after")
    def _exactly_one_input(self) -> EmbedRequest:
        if (self.text is None) == (self.texts is None):
            got = "none" if self.text is None else "both"
            raise ValueError(f"give exactly one of text and texts, got {got}")
        return self


class EmbedResponse(BaseModel):
    """The vectors of the texts, in order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "embeddings": [[0.0312, -0.0954, 0.0127]],
                    "dimensions": 3,
                    "model": ENCODER,
                    "request_id": _REQUEST_ID,
                    "timings_ms": _TIMINGS,
                }
            ]
        }
    )

    embeddings: list[list[float]] = Field(
        description="for each text a vector of length 1; zeros for one without word-pieces, such as the empty one"
    )
    dimensions: int = Field(description="numbers in each vector")
    model: str = Field(description="the sentence encoder that answered")
    request_id: str
    timings_ms: TimingsOut


class SimilarityRequest(BaseModel):
    """Pairs of texts."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"pairs": [["The weather is fine today.", "今日はいい天気です。"], ["A dog barks.", "Ein Hund bellt."]]}
            ],
        },
    )

    pairs: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = Field(
        description="pairs of texts, scored in their order; texts that come several times are encoded once"
    )
    model: EncoderChoice = ENCODER


class SimilarityResponse(BaseModel):
    """How alike in meaning the texts of each pair are."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"scores": [0.93, 0.9], "model": ENCODER, "request_id": _REQUEST_ID, "timings_ms": _TIMINGS}]
        }
    )

    scores: list[Annotated[float, Field(ge=-1, le=1)]] = Field(
        description="the cosine of each pair's vectors, -1..1; 0 where one text has no word-pieces"
    )
    model: str = Field(description="the sentence encoder that answered")
    request_id: str
    timings_ms: TimingsOut
