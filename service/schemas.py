"""Schemas of POST /ner: what is asked and what is answered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from onoma.text import OffsetUnit

ModelChoice = str
"""`auto`, or the name of a loaded model."""
Fallback = Literal["low_confidence", "student_error"]
Declined = Literal["budget", "queue", "deadline", "circuit_open", "teacher_error", "no_teacher"]
INPUT_FIELDS = ("text", "texts", "tokens")
_TEXT: JsonValue = {"type": "string"}
_TEXTS: JsonValue = {"type": "array", "items": _TEXT}
_EXACTLY_ONE: list[JsonValue] = [
    {"required": [name], "properties": {name: kind}}
    for name, kind in zip(INPUT_FIELDS, (_TEXT, _TEXTS, {"type": "array", "items": _TEXTS}), strict=True)
]


class NerRequest(BaseModel):
    """Exactly one of `text`, `texts` and `tokens`, and how to answer."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "oneOf": _EXACTLY_ONE,
            "examples": [
                {"text": "Angela Merkel visited Siemens in München."},
                {"texts": ["Barack Obama was born in Honolulu.", "東京は日本の首都です。"], "offset_unit": "utf16"},
                {"tokens": [["Angela", "Merkel", "visited", "Siemens"]], "model": "student", "labels": ["PER"]},
            ]
        },
    )

    text: str | None = Field(default=None, description="one text")
    texts: list[str] | None = Field(default=None, description="several texts, answered in their order")
    tokens: list[list[str]] | None = Field(default=None, description="several texts, given as tokens")
    model: ModelChoice = Field(
        default="auto",
        description="auto: the student, and the teacher where the student is unsure or fails; else a model's name, see "
        "GET /models",
        examples=["auto", "student", "teacher"],
    )
    offset_unit: OffsetUnit = Field(
        default="codepoint",
        description="unit of start and end: codepoint (Python), utf16 (JavaScript, Java), utf8 (bytes); not for tokens",
    )
    labels: Annotated[list[str], Field(min_length=1)] | None = Field(
        default=None, description="only entities of these types"
    )
    min_score: float = Field(default=0.0, ge=0, le=1, description="only entities with at least this score")

    @model_validator(mode="after")
    def _exactly_one_input(self) -> NerRequest:
        given = [name for name in INPUT_FIELDS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of text, texts and tokens, got {' and '.join(given) or 'none'}")
        return self


class EntityOut(BaseModel):
    """One entity."""

    start: int = Field(description="offset of the first character (for tokens: index of the first token)")
    end: int = Field(description="offset after the last character (for tokens: index after the last token)")
    label: str = Field(description="type of the entity")
    text: str = Field(description="the exact slice of the text (for tokens: of the tokens joined into a text)")
    score: float = Field(description="calibrated probability of the entity's tags, 0..1")


class ResultOut(BaseModel):
    """The answer to one text."""

    entities: list[EntityOut]
    model: str = Field(description="the model that answered: student, teacher, or the one asked for")
    fallback: Fallback | None = Field(description="why the teacher answered in the student's place, else null")
    windows: int = Field(description="model inputs the text took; long texts take several, nothing is cut off")
    declined: Declined | None = Field(
        default=None,
        description="why the teacher did not answer though the student is unsure; absent in all other results",
    )


class TimingsOut(BaseModel):
    """Milliseconds of each stage, summed over the models asked; total is wall time in the server."""

    queue: float
    tokenize: float
    infer: float
    decode: float
    total: float


class NerResponse(BaseModel):
    """The answer to a request: one result per text, in order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "results": [
                        {
                            "entities": [
                                {"start": 0, "end": 13, "label": "PER", "text": "Angela Merkel", "score": 0.98},
                                {"start": 22, "end": 29, "label": "ORG", "text": "Siemens", "score": 0.95},
                                {"start": 33, "end": 40, "label": "LOC", "text": "München", "score": 0.97},
                            ],
                            "model": "student",
                            "fallback": None,
                            "windows": 1,
                        }
                    ],
                    "request_id": "0b0f6a0a4b2f4c0e9d8f6c1f5f0c7f55",
                    "timings_ms": {"queue": 0.4, "tokenize": 0.1, "infer": 1.2, "decode": 0.1, "total": 2.0},
                }
            ]
        }
    )

    results: list[ResultOut]
    request_id: str
    timings_ms: TimingsOut


class AliveOut(BaseModel):
    """The answer of /healthz."""

    status: Literal["alive"]


class ReadyOut(BaseModel):
    """The answer of /readyz."""

    status: Literal["ready"]
    models: list[str] = Field(description="the models that answered")


class IndexOut(BaseModel):
    """The answer of GET /: what runs here."""

    name: str
    version: str
    models: dict[str, dict[str, str]] = Field(description="each model in a few words")
    labels: list[str] = Field(description="the types that `labels` may name")
    docs: str


class ErrorBody(BaseModel):
    """What went wrong."""

    code: str = Field(description="stable name of the kind of error")
    message: str = Field(description="what is wrong and where, for people")
    request_id: str


class ErrorResponse(BaseModel):
    """The form of every error."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": {
                        "code": "invalid_request",
                        "message": "give exactly one of text, texts and tokens, got text and texts",
                        "request_id": "0b0f6a0a4b2f4c0e9d8f6c1f5f0c7f55",
                    }
                }
            ]
        }
    )

    error: ErrorBody
