"""Embedding: from the bytes of a request for vectors or similarities to those of its answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from onoma.embedder import Embedded, cosine
from service.embedding_schemas import EmbedRequest, SimilarityRequest
from service.ner import OFF_LOOP_BYTES
from service.parsing import check_count, check_lengths, check_unicode, load_object, validated
from service.queueing import Stages
from service.results import to_json
from service.runtime import Runtime

Floats = NDArray[np.float32]

_OFF_LOOP_NUMBERS = 32_768  # from this many on, writing them would keep the event loop from other clients
_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Asked:
    """What one request asks for.

    :param texts: as sent; one that comes several times is encoded once.
    :param model: name of a sentence encoder.
    """

    texts: Sequence[str]
    model: str


@dataclass(frozen=True, slots=True)
class Vectors:
    """What a sentence encoder says of the texts of a request.

    :param rows: (N, D), a row of each text as sent.
    :param pieces: word-pieces of all texts as sent.
    :param model: its name.
    """

    rows: Floats
    pieces: int
    model: str


class EmbeddingForm(Protocol):
    """What one request and its answer look like from outside."""

    def read(self, body: bytes) -> Asked:
        """What is asked.

        :raises ServiceError: if it is no valid request.
        """
        ...

    def write(self, vectors: Vectors, stages: Stages, total: float) -> bytes:
        """The answer, which took `total` seconds."""
        ...


async def embedded(runtime: Runtime, body: bytes, began: float, form: EmbeddingForm) -> bytes:
    """The answer to one request, for `respond`.

    :raises ServiceError: if there is none.
    """
    runtime.generation.check_encoders()
    large = len(body) > OFF_LOOP_BYTES
    asked = await runtime.in_pool(lambda: form.read(body)) if large else form.read(body)
    generation = runtime.generation  # only now: one that nobody works with may be closed while the body is read
    dimensions = generation.encoder(asked.model).dimensions
    distinct = list(dict.fromkeys(asked.texts))
    stages = Stages()
    deadline = began + runtime.settings.deadline_seconds
    found = await generation.embed(distinct, stages, model=asked.model, deadline=deadline)
    for text, one in zip(distinct, found, strict=True):
        runtime.metrics.answered(asked.model, characters=len(text), windows=one.windows, labels=())

    def finish() -> bytes:
        vectors = _vectors(asked, dict(zip(distinct, found, strict=True)), dimensions)
        return form.write(vectors, stages, time.monotonic() - began)

    large = large or len(asked.texts) * dimensions > _OFF_LOOP_NUMBERS
    return await runtime.in_pool(finish) if large else finish()


def _vectors(asked: Asked, found: dict[str, Embedded], dimensions: int) -> Vectors:
    rows = np.empty((len(asked.texts), dimensions), dtype=np.float32)
    pieces = 0
    for at, text in enumerate(asked.texts):
        rows[at] = found[text].vector
        pieces += found[text].pieces
    return Vectors(rows, pieces, asked.model)


class EmbedForm:
    """The form of POST /embed."""

    def __init__(self, runtime: Runtime, request_id: str) -> None:
        self._settings = runtime.settings
        self._request_id = request_id

    def read(self, body: bytes) -> Asked:
        """The texts of an EmbedRequest."""
        content = load_object(body)
        check_count(content.get("texts"), "texts", self._settings)
        for field in ("text", "texts"):
            check_unicode(content.get(field), field, depth=1)
        request = validated(EmbedRequest, content)
        if request.texts is None:
            texts, names = [request.text or ""], ["text"]
        else:
            texts, names = request.texts, [f"texts[{at}]" for at in range(len(request.texts))]
        check_lengths([(name, len(text)) for name, text in zip(names, texts, strict=True)], self._settings)
        return Asked(texts, request.model)

    def write(self, vectors: Vectors, stages: Stages, total: float) -> bytes:
        """An EmbedResponse."""
        response = {
            "embeddings": vectors.rows,
            "dimensions": vectors.rows.shape[1],
            "model": vectors.model,
            "request_id": self._request_id,
        }
        return to_json(response, stages, total)


class SimilarityForm:
    """The form of POST /similarity."""

    def __init__(self, runtime: Runtime, request_id: str) -> None:
        self._settings = runtime.settings
        self._request_id = request_id

    def read(self, body: bytes) -> Asked:
        """The texts of a SimilarityRequest, one pair after the other."""
        content = load_object(body)
        check_count(content.get("pairs"), "pairs", self._settings)
        check_unicode(content.get("pairs"), "pairs", depth=2)
        request = validated(SimilarityRequest, content)
        named = [
            (f"pairs[{at}][{side}]", len(text))
            for at, pair in enumerate(request.pairs)
            for side, text in enumerate(pair)
        ]
        check_lengths(named, self._settings)
        return Asked([text for pair in request.pairs for text in pair], request.model)

    def write(self, vectors: Vectors, stages: Stages, total: float) -> bytes:
        """A SimilarityResponse."""
        scores = cosine(vectors.rows[::2], vectors.rows[1::2]).round(_DECIMALS)
        response = {"scores": scores, "model": vectors.model, "request_id": self._request_id}
        return to_json(response, stages, total)
