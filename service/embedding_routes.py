"""Embedding routes: the endpoints of sentence encoders."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from service.embedding import EmbeddingForm, EmbedForm, SimilarityForm, embedded
from service.embedding_schemas import EmbedRequest, EmbedResponse, SimilarityRequest, SimilarityResponse
from service.ner import respond
from service.openai import OpenAIForm, OpenAIRequest, OpenAIResponse
from service.routes import ERRORS, runtime_of
from service.schemas import ErrorResponse

_ERRORS = ERRORS | {404: {"model": ErrorResponse, "description": "this server has no sentence encoder"}}

router = APIRouter(responses=_ERRORS)


def _body(model: type[BaseModel]) -> dict[str, Any]:
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/embed", response_model=EmbedResponse, openapi_extra=_body(EmbedRequest), summary="Turn texts into vectors"
)
async def embed(request: Request) -> Response:
    """A vector of length 1 for one text (`text`) or each of several (`texts`); long texts are windowed, never cut."""
    return await _answered(request, EmbedForm(runtime_of(request), request.state.request_id))


@router.post(
    "/similarity",
    response_model=SimilarityResponse,
    openapi_extra=_body(SimilarityRequest),
    summary="Score how alike in meaning texts are",
)
async def similarity(request: Request) -> Response:
    """The cosine of the vectors of each pair of texts, which may be in different languages."""
    return await _answered(request, SimilarityForm(runtime_of(request), request.state.request_id))


@router.post(
    "/v1/embeddings",
    response_model=OpenAIResponse,
    openapi_extra=_body(OpenAIRequest),
    summary="Turn texts into vectors as OpenAI's API does",
)
async def openai_embeddings(request: Request) -> Response:
    """As POST /embed, for OpenAI's clients."""
    return await _answered(request, OpenAIForm(runtime_of(request)))


async def _answered(request: Request, form: EmbeddingForm) -> Response:
    content = await respond(runtime_of(request), request.scope, request.receive, form, embedded)
    return Response(content, media_type="application/json")
