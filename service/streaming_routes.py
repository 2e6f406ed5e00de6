"""Streaming routes: the endpoint of streams, and what its query may say."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from onoma.text import OffsetUnit
from service.errors import InvalidRequest, NotReady, shown
from service.ner import admitted, refuse_compressed
from service.parsing import check_labels, validated
from service.routes import ERRORS, runtime_of
from service.runtime import Runtime
from service.schemas import ModelChoice, NerRequest
from service.streaming import Stream


def _split(value: object) -> object:
    return value.split(",") if isinstance(value, str) else value


class StreamOptions(BaseModel):
    """What the query of a stream may say; as in POST /ner."""

    model_config = ConfigDict(extra="forbid")

    model: ModelChoice = Field(default="auto", description="auto, or the name of a loaded model")
    offset_unit: OffsetUnit = Field(default="codepoint", description="unit of start and end")
    labels: Annotated[list[str], BeforeValidator(_split)] | None = Field(
        default=None, description="only entities of these types, which commas separate"
    )
    min_score: float = Field(default=0.0, ge=0, le=1, description="only entities with at least this score")


def parse_options(request: Request, runtime: Runtime) -> NerRequest:
    """How to answer the lines of a stream, as a request without a text.

    :raises ServiceError: if the query is not valid, or no such model can be asked.
    """
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given:
            raise InvalidRequest(f"{shown(name)}: given twice")
        given[name] = value
    options = validated(StreamOptions, given)
    check_labels(options.labels, runtime.labels)
    runtime.cascade.check(options.model)
    return NerRequest(text="", **options.model_dump())


class _StreamResponse(Response):
    """Receives the body while it sends the answer."""

    media_type = "application/x-ndjson"

    def __init__(self, runtime: Runtime, options: NerRequest) -> None:
        super().__init__()
        self._runtime = runtime
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request_id = scope["state"]["request_id"]
        with admitted(self._runtime):
            await Stream(self._runtime, self._options, request_id=request_id, receive=receive, send=send).run()


def _parameters() -> list[dict[str, Any]]:
    properties = StreamOptions.model_json_schema()["properties"]
    properties["labels"] = {"type": "string", "minLength": 1, "description": properties["labels"]["description"]}
    return [
        {"name": name, "in": "query", "required": False, "description": schema.pop("description"), "schema": schema}
        for name, schema in properties.items()
    ]


_LINES = '{"id": 1, "text": "Angela Merkel visited Siemens in München."}\n"東京は日本の首都です。"\n'
_ANSWERS = (
    '{"id":1,"entities":[{"start":0,"end":13,"label":"PER","text":"Angela Merkel","score":0.98}],"model":"student",'
    '"fallback":null,"windows":1}\n'
)

router = APIRouter()


@router.post(
    "/ner/stream",
    summary="Find the named entities of any number of texts, one a line",
    responses=ERRORS
    | {
        200: {
            "description": "one JSON object a line: a result of POST /ner, or an error",
            "content": {"application/x-ndjson": {"schema": {"type": "string"}, "example": _ANSWERS}},
        }
    },
    response_class=Response,
    openapi_extra={
        "parameters": _parameters(),
        "requestBody": {
            "required": True,
            "content": {"application/x-ndjson": {"schema": {}, "example": _LINES}},
        },
    },
)
async def ner_stream(request: Request) -> Response:
    """Each line is {"text": ..., "id": ...} or a string; blank ones are skipped.

    Answers come in order, while lines are still being sent. A line that is wrong gets an error, and the stream goes on.
    """
    runtime = runtime_of(request)
    refuse_compressed(request.scope)
    if runtime.health.closing:
        raise NotReady("the server is shutting down")
    return _StreamResponse(runtime, parse_options(request, runtime))
