"""Models: what is loaded, and loading it again."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from service.backend import AnyBackend
from service.errors import ManagementOff
from service.registry import STUDENT, TEACHER
from service.routes import runtime_of
from service.runtime import Runtime
from service.schemas import ErrorResponse


class ModelOut(BaseModel):
    """A loaded model. What its bundle does not say is null."""

    name: str = Field(description="what `model` of a request calls it: the name of its bundle's folder")
    bundle: str | None = Field(default=None, description="the name in its bundle")
    kind: Literal["token-classification", "sentence-encoder"] = Field(
        description="token-classification: it finds entities; sentence-encoder: it gives vectors"
    )
    role: str | None = Field(default=None, description="what it was made as: student, teacher or encoder")
    architecture: str | None = None
    parameters: int | None = None
    labels: list[str] = Field(description="types of entities it finds; a sentence encoder has none")
    dimensions: int | None = Field(default=None, description="numbers in a vector of a sentence encoder")
    languages: list[str] | None = None
    decoder: str | None = Field(default=None, description="softmax or crf")
    quantization: str | None = None
    created: str | None = Field(default=None, description="UTC date; its version under /v2")
    licence: str | None = None
    max_length: int | None = Field(default=None, description="most word-pieces in a window; longer texts take several")


class AutoOut(BaseModel):
    """Who answers where `model` is auto."""

    student: str = Field(description="the model that is asked first")
    teacher: str | None = Field(description="the one that is asked where the student is unsure or fails; null: none")
    threshold: float = Field(description="confidence of the student under which the teacher is asked")


class ModelsOut(BaseModel):
    """All loaded models."""

    models: list[ModelOut]
    auto: AutoOut


class ReloadOut(BaseModel):
    """What a reload did."""

    status: Literal["reloaded", "reloading"] = Field(
        description="reloading: the server has several processes, which do it as soon as they can"
    )
    loaded: list[str] = Field(description="models that are new or have changed; empty if reloading")
    unloaded: list[str] = Field(description="models that are gone; empty if reloading")


router = APIRouter()


_NOT_READY = {"model": ErrorResponse, "description": "the models are not loaded yet"}


@router.get("/models", summary="The loaded models", responses={503: _NOT_READY})
async def models(request: Request) -> ModelsOut:
    """Every loaded model as its bundle describes it, and who answers for `auto`."""
    runtime = runtime_of(request)
    runtime.generation.check_loaded()
    backends = runtime.backends
    teacher = TEACHER if TEACHER in backends and runtime.settings.fallback else None
    return ModelsOut(
        models=[_described(backend) for backend in backends.values()],
        auto=AutoOut(student=STUDENT, teacher=teacher, threshold=runtime.threshold),
    )


def _described(backend: AnyBackend) -> ModelOut:
    manifest = backend.manifest
    model = ModelOut(
        name=backend.name,
        kind=backend.kind,
        labels=list(backend.labels.types) if backend.kind == "token-classification" else [],
        dimensions=backend.dimensions if backend.kind == "sentence-encoder" else None,
    )
    if manifest is None:
        return model
    return model.model_copy(
        update={
            "bundle": manifest.name,
            "role": manifest.role,
            "architecture": manifest.architecture,
            "parameters": manifest.parameters,
            "languages": list(manifest.languages),
            "decoder": manifest.decoder if manifest.kind == "token-classification" else None,
            "quantization": manifest.quantization.method,
            "created": manifest.created,
            "licence": manifest.licence,
            "max_length": manifest.max_length,
        }
    )


@router.post(
    "/models/reload",
    summary="Read the folder of models again",
    responses={
        202: {"model": ReloadOut, "description": "the bundles are good; all processes of the server read them"},
        403: {"model": ErrorResponse, "description": "management is off"},
        409: {"model": ErrorResponse, "description": "a bundle is bad; the models are the same as before"},
    },
)
async def reload(request: Request, response: Response) -> ReloadOut:
    """Load bundles that are new or have changed, unload those that are gone. No request is refused meanwhile."""
    change = await managed(request).reloads.reload_everywhere()
    if change is None:
        response.status_code = 202
        return ReloadOut(status="reloading", loaded=[], unloaded=[])
    return ReloadOut(status="reloaded", loaded=list(change.loaded), unloaded=list(change.unloaded))


def managed(request: Request) -> Runtime:
    """What the app of a request holds, for endpoints that change its models.

    :raises ManagementOff: if the settings do not allow that.
    """
    runtime = runtime_of(request)
    if not runtime.settings.management:
        raise ManagementOff("models cannot be changed over HTTP: start with ONOMA_MANAGEMENT=true, or send SIGHUP")
    return runtime
