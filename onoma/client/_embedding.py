"""Embedding: the calls that ask a sentence encoder, and what goes into them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, TypeVar

import httpx
import numpy as np
from numpy.typing import NDArray

from onoma.client._batching import Batch, Limits, Sized, batches
from onoma.client._calls import OneRequest, Request, refuse_string, to_json
from onoma.client._errors import ClientError
from onoma.client._inputs import sized_text
from onoma.client._models import embeddings_of, invalid_answer, scores_of

Floats = NDArray[np.float32]
T = TypeVar("T")


class _EncoderCall(OneRequest[T]):
    """A request to a sentence encoder.

    :param inputs: each as JSON, of which its size was counted.
    """

    path: ClassVar[str]
    field: ClassVar[str]

    def __init__(self, inputs: Batch[bytes], model: str) -> None:
        value = b"[" + b",".join(inputs.items) + b"]"
        content = b'{"%s":%s,"model":%s}' % (self.field.encode(), value, to_json(model))
        super().__init__(Request("POST", self.path, content=content))
        self._first = inputs.first
        self._count = len(inputs.items)

    def settle(self, error: ClientError) -> bool:
        """The server numbers what a request holds; this says which those are."""
        error.add_note(f"the request held {self.field} {self._first} to {self._first + self._count - 1}")
        return False


class EmbedCall(_EncoderCall[Floats]):
    """POST /embed."""

    path, field = "/embed", "texts"

    def _read(self, response: httpx.Response) -> Floats:
        vectors, dimensions = embeddings_of(response)
        if len(vectors) != self._count or any(len(vector) != dimensions for vector in vectors):
            why = f"{self._count} texts were sent, something else than as many vectors of {dimensions} came back"
            raise invalid_answer(response, why)
        return np.array(vectors, dtype=np.float32).reshape(self._count, dimensions)


class SimilarityCall(_EncoderCall[list[float]]):
    """POST /similarity."""

    path, field = "/similarity", "pairs"

    def _read(self, response: httpx.Response) -> list[float]:
        scores = scores_of(response)
        if len(scores) != self._count:
            raise invalid_answer(response, f"{self._count} pairs were sent, {len(scores)} scores came back")
        return scores


def embed_calls(texts: Iterable[str], model: str, limits: Limits) -> list[EmbedCall]:
    """The calls that embed texts, in order; at least one, whose answer has the dimensions.

    :raises InvalidText: if one of them cannot be embedded.
    """
    refuse_string(texts, "texts")
    sized = [sized_text(text, f"texts[{number}]") for number, text in enumerate(texts)]
    return [EmbedCall(batch, model) for batch in batches(sized, limits)] or [EmbedCall(Batch(0, []), model)]


def similarity_calls(pairs: Iterable[Sequence[str]], model: str, limits: Limits) -> list[SimilarityCall]:
    """The calls that score pairs of texts, in order.

    :raises InvalidText: if a text cannot be embedded.
    :raises ValueError: if something is no pair.
    """
    sized = [_pair(pair, f"pairs[{number}]") for number, pair in enumerate(pairs)]
    return [SimilarityCall(batch, model) for batch in batches(sized, limits)]


def _pair(pair: Sequence[str], field: str) -> Sized[bytes]:
    refuse_string(pair, field)
    if len(pair) != 2:
        raise ValueError(f"{field} must be two texts, got {len(pair)}")
    first, second = (sized_text(text, f"{field}[{side}]") for side, text in enumerate(pair))
    item = b"[%s,%s]" % (first.item, second.item)
    return Sized(item, characters=first.characters + second.characters, bytes=len(item))
