"""Steps: what an engine asks of a model, whatever it is that the model finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
A = TypeVar("A")


class Steps(Protocol[A]):
    """A model in three steps: texts to windows, windows to outputs, outputs to answers. Tagger and Embedder are such.

    What `encode` gives has `inputs`, the word-pieces of each window of a text.
    """

    def encode(self, texts: Sequence[str]) -> list[Any]:
        """Pieces and windows of each text."""
        ...

    def infer(self, inputs: Sequence[Ints]) -> list[Floats]:
        """The output of each window."""
        ...

    def fits(self, inputs: Sequence[Ints], outputs: Sequence[Floats]) -> bool:
        """Whether the outputs have the form that the inputs ask for."""
        ...

    def decode_batch(self, encoded: Sequence[Any], outputs: Sequence[Floats], /) -> list[A]:
        """The answer to each text, from the outputs of the windows of all texts, in order."""
        ...
