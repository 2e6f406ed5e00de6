"""What Schemathesis makes of the OpenAPI document: no 5xx, no answer that the document does not announce.

It sends what the document allows, which must be accepted, and what it forbids, which must be refused; and it checks
status codes, content types, headers and bodies of all answers.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable
from typing import Any

import schemathesis
from apps import make_app
from effort import EFFORT
from fakes import VOCABULARY
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from raw_asgi import ask
from schemathesis import Case, HookContext
from schemathesis.generation import GenerationMode
from starlette.types import Receive, Scope, Send

LABELS = ("PER", "ORG", "LOC")
MODELS = ("auto", "student", "teacher")
ENCODER = "encoder"
EMBEDDING = ("/embed", "/similarity", "/v1/embeddings")
SLOW = (HealthCheck.too_slow, HealthCheck.filter_too_much)


class Restarted:
    """An ASGI app built anew whenever a server starts it: Schemathesis starts and stops it for every test."""

    def __init__(self, build: Callable[[], FastAPI]) -> None:
        self._build = build
        self._app = build()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self._app = self._build()
        await self._app(scope, receive, send)


def described(build: Callable[[], FastAPI], headers: dict[str, str] | None = None) -> schemathesis.BaseSchema:
    """The document an app gives out, and how to reach the app.

    :param headers: sent with every request, such as a key.
    """
    app = Restarted(build)
    document = asyncio.run(ask(app, method="GET", path="/openapi.json"))
    assert document is not None
    schema = schemathesis.openapi.from_dict(document.json(), config=schemathesis.Config())
    schema.app = app
    schema.config.update(headers=headers or {})
    # The document cannot say that NUL is refused, nor which models a server has and which labels they know.
    schema.config.generation.update(allow_x00=False)
    schema.hook(map_case)
    return schema


@schemathesis.serializer("application/x-ndjson")
def serialize_lines(context: schemathesis.SerializationContext, value: Any) -> bytes:
    """A list as a line each, anything else as one; a body may have any."""
    lines = value if isinstance(value, list) else [value]
    return b"".join(json.dumps(line).encode("utf-8") + b"\n" for line in lines)


def map_tensors(body: dict[str, Any], model: str) -> None:
    """The document cannot say that shapes must fit, either, nor what comes of which kind of model."""
    outputs = ("embeddings",) if model == ENCODER else ("entities", "model", "fallback")
    for wanted in body.get("outputs") or ():
        wanted["name"] = wanted["name"] if wanted["name"] in outputs else outputs[0]
    for tensor in body["inputs"]:
        tensor["data"] = [item if isinstance(item, str) else "".join(item) for item in tensor["data"]]
        tensor["shape"] = [len(tensor["data"]), 1][: len(tensor["shape"])]
    for holder in (body, *body["inputs"]):
        if model == ENCODER:
            holder.pop("parameters", None)
        elif (holder.get("parameters") or {}).get("labels"):
            holder["parameters"]["labels"] = ",".join(LABELS)


def map_case(context: HookContext, case: Case) -> Case:
    """Where a request is right by the document, let it name models and labels that there are."""
    body: Any = case.body
    if isinstance(body, dict):
        body = case.body = copy.deepcopy(body)  # parts of it belong to the strategy, which draws them again
    if case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE and isinstance(body, dict):
        if body.get("labels"):
            body["labels"] = [LABELS[at % len(LABELS)] for at in range(len(body["labels"]))]
        if case.path in EMBEDDING and "model" in body:
            body["model"] = ENCODER
        elif "model" in body:
            body["model"] = MODELS[len(body["model"]) % len(MODELS)]
        if case.path == "/v1/embeddings" and body.get("dimensions") is not None:
            body["dimensions"] = len(VOCABULARY)
    if case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE:
        for name, known in (("name", MODELS), ("model", (*MODELS, ENCODER))):
            if name in case.path_parameters:
                case.path_parameters[name] = known[len(case.path_parameters[name]) % len(known)]
        if case.path.endswith("/infer") and isinstance(body, dict):
            map_tensors(body, case.path_parameters["model"])
        if "version" in case.path_parameters:
            case.path_parameters["version"] = "1"
        for name, known in (("labels", LABELS), ("model", MODELS)):
            if name in case.query:
                case.query[name] = known[len(case.query[name]) % len(known)]
    return case


# Further servers, such as one that asks for keys, are further keywords.
@schemathesis.pytest.parametrize(open=described(make_app))
@settings(max_examples=150 * EFFORT, derandomize=EFFORT == 1, suppress_health_check=SLOW)
def test_every_answer_is_as_the_document_says(case: Case) -> None:
    case.call_and_validate()
