"""KServe: the REST endpoints of the Open Inference Protocol (v2), so that its probes and clients work unchanged."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from onoma import __version__
from service.embedding import embedded
from service.errors import DeadlineExceeded, InvalidRequest, shown
from service.models import managed
from service.ner import read_body, respond, tagged
from service.parsing import load_object, validated
from service.registry import AUTO, STUDENT, TEACHER, bundle_names
from service.routes import runtime_of
from service.tensors import (
    ENCODER_OUTPUTS,
    OUTPUTS,
    EncoderTensorForm,
    InferResponse,
    TensorForm,
    body_schema,
    check_version,
    versions_of,
)


class ProtocolError(BaseModel):
    """The form of every error under /v2; the header `x-error-code` has the code."""

    error: str = Field(description="what is wrong and where, for people")


class ServerMetadata(BaseModel):
    """What this server is."""

    name: str
    version: str
    extensions: list[str] = Field(description="model_repository where models may be loaded and unloaded over HTTP")


class Live(BaseModel):
    """The process answers."""

    live: bool


class Ready(Live):
    """All models have just worked."""

    ready: bool


class ModelReady(BaseModel):
    """A model has just worked."""

    name: str
    ready: bool


class ModelParameters(BaseModel):
    """What else there is to say of a model."""

    kind: str = Field(description="token-classification: it finds entities; sentence-encoder: it gives vectors")


class TensorMetadata(BaseModel):
    """A tensor; -1 stands for any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: ModelParameters


class ModelIndex(BaseModel):
    """A bundle in the folder of models."""

    name: str
    version: str | None = None
    state: str = Field(description="READY or UNAVAILABLE")
    reason: str


class ModelLoaded(BaseModel):
    """A model was loaded."""

    name: str
    load: bool = Field(description="true; of several processes, the others will load it in a moment")


class ModelUnloaded(BaseModel):
    """A model was unloaded."""

    name: str
    unload: bool


class _RepositoryRequest(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    ready: bool = False
    parameters: dict[str, Any] | None = None


_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ProtocolError, "description": "the request is wrong, or there is no such model"},
    "5XX": {"model": ProtocolError, "description": "the server is not ready, or failed"},
}
router = APIRouter(responses=_ERRORS)


@router.get("/v2", summary="What this server is (KServe v2)")
async def server_metadata(request: Request) -> ServerMetadata:
    """Name, version and extensions."""
    extensions = ["model_repository"] if runtime_of(request).settings.management else []
    return ServerMetadata(name="onoma", version=__version__, extensions=extensions)


@router.get("/v2/health/live", summary="Whether the process lives (KServe v2)")
async def live() -> Live:
    """As /healthz."""
    return Live(live=True)


@router.get("/v2/health/ready", summary="Whether to send requests here (KServe v2)")
async def ready(request: Request) -> Ready:
    """As /readyz."""
    await runtime_of(request).health.check()
    return Ready(live=True, ready=True)


@router.get("/v2/models/{model}", summary="What a model takes and gives (KServe v2)")
async def model_metadata(request: Request, model: str) -> ModelMetadata:
    """A model, `auto` among them: its versions and tensors."""
    return _metadata(request, model, None)


@router.get("/v2/models/{model}/versions/{version}", summary="What a version of a model takes and gives (KServe v2)")
async def version_metadata(request: Request, model: str, version: str) -> ModelMetadata:
    """The same; every model has the version 1 and the date of its bundle."""
    return _metadata(request, model, version)


def _metadata(request: Request, model: str, version: str | None) -> ModelMetadata:
    generation = runtime_of(request).generation
    check_version(generation, model, version)
    backend = generation.backends[STUDENT if model == AUTO else model]
    if backend.kind == "sentence-encoder":
        shape = [-1, backend.dimensions]
        outputs = [TensorMetadata(name=name, datatype="FP32", shape=shape) for name in ENCODER_OUTPUTS]
    else:
        outputs = [TensorMetadata(name=name, datatype="BYTES", shape=[-1]) for name in OUTPUTS]
    return ModelMetadata(
        name=model,
        versions=versions_of(generation, model),
        platform="onnx_onnxv1",
        inputs=[TensorMetadata(name="text", datatype="BYTES", shape=[-1])],
        outputs=outputs,
        parameters=ModelParameters(kind=backend.kind),
    )


@router.get("/v2/models/{model}/ready", summary="Whether a model works (KServe v2)")
async def model_ready(request: Request, model: str) -> ModelReady:
    """200 when an inference of this model has just worked, else 503; for `auto`, of both its models."""
    return await _model_ready(request, model, None)


@router.get("/v2/models/{model}/versions/{version}/ready", summary="Whether a version of a model works (KServe v2)")
async def version_ready(request: Request, model: str, version: str) -> ModelReady:
    """The same."""
    return await _model_ready(request, model, version)


async def _model_ready(request: Request, model: str, version: str | None) -> ModelReady:
    runtime = runtime_of(request)
    check_version(runtime.generation, model, version)
    await runtime.health.check_models((STUDENT, TEACHER) if model == AUTO else (model,))
    return ModelReady(name=model, ready=True)


@router.post(
    "/v2/models/{model}/infer",
    response_model=InferResponse,
    openapi_extra=body_schema(),
    summary="Find the named entities of texts (KServe v2)",
)
async def infer(request: Request, model: str) -> Response:
    """As POST /ner, in tensors: N texts in; a JSON list of entities, the model and the fallback for each out.

    A sentence encoder gives N vectors, as POST /embed.
    """
    return await _infer(request, model, None)


@router.post(
    "/v2/models/{model}/versions/{version}/infer",
    response_model=InferResponse,
    openapi_extra=body_schema(),
    summary="Find the named entities of texts with a version of a model (KServe v2)",
)
async def version_infer(request: Request, model: str, version: str) -> Response:
    """The same."""
    return await _infer(request, model, version)


async def _infer(request: Request, model: str, version: str | None) -> Response:
    runtime = runtime_of(request)
    binary = "inference-header-content-length" in request.headers
    if model in runtime.generation.encoders:
        encoder_form = EncoderTensorForm(runtime, model=model, version=version, binary=binary)
        content = await respond(runtime, request.scope, request.receive, encoder_form, embedded)
    else:
        form = TensorForm(runtime, model=model, version=version, binary=binary)
        content = await respond(runtime, request.scope, request.receive, form, tagged)
    return Response(content, media_type="application/json")


@router.post("/v2/repository/index", summary="The bundles in the folder of models (KServe v2)")
async def index(request: Request) -> list[ModelIndex]:
    """Loaded or not; `{"ready": true}` asks for the loaded ones only. Needs the setting `management`."""
    runtime = managed(request)
    asked = await _asked(request)
    loaded = runtime.generation
    versions = {name: versions_of(loaded, name)[-1] for name in loaded.backends}
    found = [ModelIndex(name=name, version=version, state="READY", reason="") for name, version in versions.items()]
    if not asked.ready:
        others = [name for name in bundle_names(runtime.settings.models) if name not in versions]
        found += [ModelIndex(name=name, state="UNAVAILABLE", reason="not loaded") for name in others]
    return found


@router.post("/v2/repository/models/{model}/load", summary="Load a model, or load it again (KServe v2)")
async def load(request: Request, model: str) -> ModelLoaded:
    """Load the bundle of that name if it is new or has changed. Needs the setting `management`."""
    runtime = managed(request)
    await _asked(request)
    await runtime.reloads.reload_everywhere(model)
    return ModelLoaded(name=model, load=True)


@router.post("/v2/repository/models/{model}/unload", summary="Unload a model (KServe v2)")
async def unload(request: Request, model: str) -> ModelUnloaded:
    """Unload it, until it or the whole folder is loaded again. Needs the setting `management`."""
    runtime = managed(request)
    await _asked(request)
    await runtime.reloads.unload(model)
    return ModelUnloaded(name=model, unload=True)


async def _asked(request: Request) -> _RepositoryRequest:
    """The body, which may be missing."""
    seconds = runtime_of(request).settings.deadline_seconds
    try:
        async with asyncio.timeout(seconds):
            body = await read_body(request.scope, request.receive)
    except TimeoutError:
        raise DeadlineExceeded(f"the request took longer than the {seconds:g} seconds allowed") from None
    asked = validated(_RepositoryRequest, load_object(body) if body.strip() else {})
    for name in asked.parameters or ():
        if name != "unload_dependents":  # no model of ours has any
            raise InvalidRequest(f"parameters: {shown(name)} is not known; a bundle says itself how it is to be loaded")
    return asked
