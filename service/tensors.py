"""Tensors: texts, entities and vectors as the Open Inference Protocol (KServe v2) writes them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from service.cascade import Answer
from service.embedding import Asked, Vectors
from service.errors import BadRequest, InvalidRequest, NotFound, shown
from service.generation import Generation
from service.parsing import check_count, check_labels, check_lengths, check_unicode, load_object, validated
from service.queueing import Stages
from service.registry import AUTO, STUDENT, check_there
from service.results import Inputs, render_each
from service.runtime import Runtime
from service.schemas import NerRequest

Output = Literal["entities", "model", "fallback", "embeddings"]
OUTPUTS: tuple[Output, ...] = ("entities", "model", "fallback")
"""Of a tagger."""
ENCODER_OUTPUTS: tuple[Output, ...] = ("embeddings",)
"""Of a sentence encoder."""
_OPTIONS = ("labels", "min_score", "offset_unit")
# Common clients send these whatever they ask for. A wish for binary outputs does no harm: the answer says it is JSON.
_HARMLESS = frozenset({"content_type", "binary_data", "binary_data_output"})
_NOT_IN_JSON = frozenset(
    {"binary_data_size", "shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"}
)
_STRINGS: dict[str, Any] = {"items": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}}
_VERSION = "1"  # of any model, for clients that must name one


def _described(known: Mapping[str, object]) -> WithJsonSchema:
    anything = dict.fromkeys(sorted(_HARMLESS), {"description": "changes nothing"})
    return WithJsonSchema({"type": "object", "additionalProperties": False, "properties": {**known, **anything}})


def _option(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = NerRequest.model_json_schema()["properties"][name]
    if name == "labels":  # the protocol has no lists in parameters
        schema["anyOf"].append({"type": "string", "minLength": 1, "description": "separated by commas"})
    return schema


Parameters = Annotated[dict[str, Any], _described({name: _option(name) for name in _OPTIONS})] | None
OutputParameters = Annotated[dict[str, Any], _described({})] | None


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class TextTensor(_Strict):
    """Texts."""

    name: str = Field(description="any; `text` in the metadata")
    shape: list[Annotated[int, Field(ge=0)]] = Field(description="[N] or [N, 1]", min_length=1, max_length=2)
    datatype: Literal["BYTES"]
    parameters: Parameters = None
    data: list[Any] = Field(description="N strings", json_schema_extra=_STRINGS)


class WantedOutput(_Strict):
    """An output to send."""

    name: Output
    parameters: OutputParameters = None


class InferRequest(_Strict):
    """An inference request."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "42",
                    "parameters": {"offset_unit": "utf16", "labels": "PER,LOC"},
                    "inputs": [
                        {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["Angela Merkel visited Siemens."]}
                    ],
                    "outputs": [{"name": "entities"}],
                }
            ]
        }
    )

    id: str | None = Field(default=None, description="comes back with the answer")
    parameters: Parameters = None
    inputs: list[TextTensor] = Field(min_length=1, max_length=1)
    outputs: list[WantedOutput] | None = Field(default=None, description="outputs to send; all if there are none")


class OutputTensor(BaseModel):
    """One string for each text, or one vector."""

    name: Output = Field(
        description="entities: a JSON list each, as in POST /ner; model; fallback: empty for none; embeddings: vectors"
    )
    shape: list[int]
    datatype: Literal["BYTES", "FP32"]
    data: list[str] | list[float] = Field(description="of vectors, the numbers of one after those of another")


class InferResponse(BaseModel):
    """The answer to an inference request."""

    model_name: str
    model_version: str | None = Field(default=None, description="absent if the models changed meanwhile")
    id: str | None = Field(default=None, description="as in the request, else absent")
    outputs: list[OutputTensor]


def body_schema() -> dict[str, Any]:
    """The schema of InferRequest without references, for the OpenAPI document."""
    schema = InferRequest.model_json_schema()
    parts = schema.pop("$defs")

    def inlined(value: Any) -> Any:
        if isinstance(value, dict):
            named = parts[value["$ref"].rpartition("/")[2]] if "$ref" in value else value
            return {key: inlined(part) for key, part in named.items()}
        return [inlined(part) for part in value] if isinstance(value, list) else value

    return {"requestBody": {"required": True, "content": {"application/json": {"schema": inlined(schema)}}}}


def versions_of(generation: Generation, name: str) -> list[str]:
    """The versions that may be asked for: the one that every model has, and the date of its bundle, which comes last.

    :param name: `auto` has those of the student.
    :raises ServiceError: NotFound if it is not loaded, NotReady if none is.
    """
    generation.check_loaded()
    check_there(name, (AUTO, *generation.backends))
    manifest = generation.backends[STUDENT if name == AUTO else name].manifest
    return [_VERSION] if manifest is None else [_VERSION, manifest.created]


def check_version(generation: Generation, name: str, version: str | None) -> str:
    """The version of a loaded model.

    :param version: asked for; None takes any.
    :raises ServiceError: as `versions_of`; NotFound also if the model has another one.
    """
    versions = versions_of(generation, name)
    if version is not None and version not in versions:
        raise NotFound(f"version: {name} has no {shown(version)}; it has {', '.join(versions)}")
    return versions[-1]


class _TensorForm:
    """What inference requests and their answers have in common.

    :param model: of the path, as `version`.
    :param binary: whether the request says that tensors follow its JSON.
    """

    known_outputs: ClassVar[tuple[Output, ...]]
    known_options: ClassVar[tuple[str, ...]] = ()

    def __init__(self, runtime: Runtime, *, model: str, version: str | None, binary: bool) -> None:
        self._runtime = runtime
        self._model = model
        self._version = version
        self._binary = binary

    def _asked(self, body: bytes) -> tuple[list[str], dict[str, object]]:
        """The texts of an InferRequest, and how to answer."""
        self._generation = self._runtime.generation
        self._answering = check_version(self._generation, self._model, self._version)
        if self._binary:
            raise BadRequest(_no_binary("inference-header-content-length"))
        settings = self._runtime.settings
        content = load_object(body)
        check_unicode(content.get("id"), "id", depth=0)
        asked = validated(InferRequest, content)
        self._id = asked.id
        self._outputs = tuple(dict.fromkeys(one.name for one in asked.outputs or ())) or self.known_outputs
        for number, wanted in enumerate(asked.outputs or ()):
            if wanted.name not in self.known_outputs:
                there = ", ".join(self.known_outputs)
                raise InvalidRequest(f"outputs[{number}].name: {self._model} gives {there}, not {wanted.name}")
            _options(wanted.parameters, f"outputs[{number}].parameters", known=())
        options = _options(asked.parameters, "parameters", known=self.known_options)
        options |= _options(asked.inputs[0].parameters, "inputs[0].parameters", known=self.known_options)
        texts = _texts(asked.inputs[0])
        check_count(texts, "inputs[0].data", settings)
        check_unicode(texts, "inputs[0].data", depth=1)
        check_lengths([(f"inputs[0].data[{number}]", len(text)) for number, text in enumerate(texts)], settings)
        return texts, options

    def _written(self, outputs: Sequence[Mapping[str, object]]) -> bytes:
        """An InferResponse."""
        response: dict[str, object] = {"model_name": self._model}
        if self._runtime.generation is self._generation:
            response["model_version"] = self._answering
        if self._id is not None:
            response["id"] = self._id
        response["outputs"] = outputs
        return orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY)


class TensorForm(_TensorForm):
    """The form of one inference request to a tagger, and its answer."""

    known_outputs = OUTPUTS
    known_options = _OPTIONS

    def read(self, body: bytes) -> NerRequest:
        """What is asked."""
        texts, options = self._asked(body)
        request = validated(NerRequest, {"texts": texts, "model": self._model, **options})
        check_labels(request.labels, self._generation.labels)
        return request

    def write(
        self, asked: NerRequest, inputs: Inputs, answers: Sequence[Answer], stages: Stages, total: float
    ) -> bytes:
        """An InferResponse."""
        results = render_each(asked, inputs, answers, metrics=self._runtime.metrics)
        data = {
            "entities": [orjson.dumps(result["entities"]).decode("utf-8") for result in results],
            "model": [result["model"] for result in results],
            "fallback": [result["fallback"] or "" for result in results],
        }
        shape = [len(results)]
        return self._written(
            [{"name": name, "shape": shape, "datatype": "BYTES", "data": data[name]} for name in self._outputs]
        )


class EncoderTensorForm(_TensorForm):
    """The form of one inference request to a sentence encoder, and its answer."""

    known_outputs = ENCODER_OUTPUTS

    def read(self, body: bytes) -> Asked:
        """What is asked."""
        return Asked(self._asked(body)[0], self._model)

    def write(self, vectors: Vectors, stages: Stages, total: float) -> bytes:
        """An InferResponse."""
        rows = vectors.rows
        return self._written(
            [{"name": "embeddings", "shape": list(rows.shape), "datatype": "FP32", "data": rows.reshape(-1)}]
        )


def _texts(tensor: TextTensor) -> list[str]:
    count, *columns = tensor.shape
    if columns not in ([], [1]):
        raise InvalidRequest(f"inputs[0].shape: must be [N] or [N, 1] for N texts, got {shown(tensor.shape)}")
    data = tensor.data
    if columns:  # natural form, [["a"], ["b"]], or flat
        data = [item[0] if isinstance(item, list) and len(item) == 1 else item for item in data]
    if len(data) != count:
        raise InvalidRequest(f"inputs[0].data: the shape says {count} texts, got {len(data)}")
    for number, item in enumerate(data):
        if not isinstance(item, str):
            raise InvalidRequest(f"inputs[0].data[{number}]: must be a string, got {type(item).__name__}")
    return data


def _options(
    parameters: Mapping[str, object] | None, field: str, *, known: Collection[str]
) -> dict[str, object]:
    """What parameters say about how to answer; null says nothing."""
    options: dict[str, object] = {}
    for name, value in (parameters or {}).items():
        if name in _NOT_IN_JSON:
            raise BadRequest(_no_binary(f"{field}.{name}"))
        if name not in known and name not in _HARMLESS:
            raise InvalidRequest(f"{field}: {shown(name)} is not known; known are {', '.join(known) or 'none'}")
        if name in known and value is not None:
            options[name] = value.split(",") if name == "labels" and isinstance(value, str) else value
    return options


def _no_binary(where: str) -> str:
    return f"{where}: tensors must come as JSON (in tritonclient: binary_data=False)"
