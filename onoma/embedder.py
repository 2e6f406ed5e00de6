"""Embedder: a sentence encoder that turns texts into vectors. The service uses its steps, everyone else `embed`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from onoma.bundle import MODEL_FILE, TOKENIZER_FILE, EncoderManifest, TokenizerFacts, read_encoder_manifest
from onoma.errors import BundleError
from onoma.literal import Literal
from onoma.model import OnnxSentenceModel
from onoma.tagger import check_text, infer_in_batches
from onoma.windows import Window, windows
from onoma.word_table import WORDS_FILE, WordTable, pack_words

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

_ONE_BY_ONE = 8  # texts; a batch goes to threads of the tokenizer's own, whose waking takes longer than so few


class SentenceModel(Protocol):
    """Turns a batch of windows into vectors."""

    def infer(self, inputs: Sequence[Ints]) -> list[Floats]:
        """The vector (D,) of each window of piece ids (T_i,), not normalised."""
        ...


@dataclass(frozen=True, slots=True)
class Pieces:
    """A text's pieces, and how they are spread over model inputs.

    :param ids: (T,) piece ids, without prefix and suffix.
    """

    ids: Ints
    windows: tuple[Window, ...]

    @property
    def inputs(self) -> list[Ints]:
        """Piece ids of every window, in order."""
        return [self.ids[w.low : w.high] for w in self.windows]


@dataclass(frozen=True, slots=True)
class Embedded:
    """One text's vector.

    :param vector: (D,) of length 1; zeros for a text without pieces.
    :param windows: number of model inputs the text took.
    :param pieces: number of its word-pieces.
    """

    vector: Floats
    windows: int
    pieces: int


class PieceEncoder:
    """Turns texts into pieces, each text as a whole: a sentence's end is no limit, as it was none in training.

    :param tokenizer: or one with a table of words.
    :param limit: most pieces in a window, without prefix and suffix.
    :param overlap: fewest pieces that neighbouring windows of one text share.
    """

    def __init__(self, tokenizer: Tokenizer | WordTable, *, facts: TokenizerFacts, limit: int, overlap: int) -> None:
        self._table = tokenizer if isinstance(tokenizer, WordTable) else None
        tokenizer = tokenizer.tokenizer if isinstance(tokenizer, WordTable) else tokenizer
        tokenizer.no_truncation()
        tokenizer.no_padding()
        # A text that spells `<pad>` or `[SEP]` means those characters, not the special token.
        tokenizer.encode_special_tokens = True
        self._literal = Literal(tokenizer)
        self._tokenizer = tokenizer
        self.facts = facts
        self.limit = limit
        self.overlap = overlap

    def encode(self, texts: Sequence[str]) -> list[Pieces]:
        """Pieces and windows of each text; white space around a text is none of it."""
        stripped = [text.strip() for text in texts]
        encoded = []
        for found in self._ids(stripped) if self._table is None else map(self._table.ids, stripped):
            ids = np.array(found, dtype=np.int64)
            cut = tuple(windows(len(ids), self.limit, self.overlap)) if len(ids) else ()
            encoded.append(Pieces(ids, cut))
        return encoded

    def _ids(self, texts: Sequence[str]) -> list[Sequence[int]]:
        literal = [self._literal(text) for text in texts]
        if len(literal) <= _ONE_BY_ONE:
            encodings = [self._tokenizer.encode(text, add_special_tokens=False) for text in literal]
        else:
            encodings = self._tokenizer.encode_batch_fast(literal, add_special_tokens=False)
        # Some tokenizers make a word's mark of nothing.
        return [encoding.ids if text else () for text, encoding in zip(literal, encodings, strict=True)]


class Embedder:
    """Turns texts into vectors of length 1 with one model; texts that mean the same have a cosine near 1.

    A text longer than the model's window takes several, and its vector is their mean, weighted with the pieces that
    each adds: nothing is truncated. A text without pieces (empty, or white space) has a vector of zeros, whose cosine
    with every text is 0.

    >>> a, b = Embedder.load("models/encoder").embed(["The weather is fine.", "Das Wetter ist schön."])
    >>> cosine(a, b)
    """

    def __init__(
        self,
        *,
        encoder: PieceEncoder,
        model: SentenceModel,
        dimensions: int,
        manifest: EncoderManifest | None = None,
    ) -> None:
        self.encoder = encoder
        self.model = model
        self.dimensions = dimensions
        self.manifest = manifest

    @classmethod
    def load(cls, folder: str | Path, *, threads: int | None = None) -> Embedder:
        """Load a bundle, verifying its hashes.

        :param threads: onnxruntime threads for one run; None for all available cores.
        :raises BundleError: if the bundle is missing, damaged, of another version, or no sentence encoder.
        """
        folder = Path(folder)
        manifest = read_encoder_manifest(folder)
        facts = manifest.tokenizer
        try:
            tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        except Exception as error:  # tokenizers raises bare Exception
            raise BundleError(f"{folder / TOKENIZER_FILE} does not load: {error}") from error
        words = WordTable(tokenizer, pack_words(folder / WORDS_FILE)) if WORDS_FILE in manifest.files else None
        return cls(
            encoder=PieceEncoder(words or tokenizer, facts=facts, limit=manifest.room, overlap=manifest.overlap),
            model=OnnxSentenceModel(folder / MODEL_FILE, facts=facts, dimensions=manifest.dimensions, threads=threads),
            dimensions=manifest.dimensions,
            manifest=manifest,
        )

    def encode(self, texts: Sequence[str]) -> list[Pieces]:
        """Step 1: pieces and windows of each text."""
        return self.encoder.encode(texts)

    def infer(self, inputs: Sequence[Ints]) -> list[Floats]:
        """Step 2: the vector (D,) of each window (T,), not normalised."""
        return self.model.infer(inputs)

    def fits(self, inputs: Sequence[Ints], outputs: Sequence[Floats]) -> bool:
        """Whether the outputs of `infer` have the form that its inputs ask for."""
        return [one.shape for one in outputs] == [(self.dimensions,)] * len(inputs)

    def decode_batch(self, encoded: Sequence[Pieces], vectors: Sequence[Floats]) -> list[Embedded]:
        """Step 3: the vector of each text.

        :param vectors: of the windows of all texts, in order.
        """
        sums = np.zeros((len(encoded), self.dimensions))
        if vectors:
            owners = [at for at, one in enumerate(encoded) for _ in one.windows]
            weights = [w.keep_high - w.keep_low for one in encoded for w in one.windows]
            np.add.at(sums, owners, np.stack(vectors).astype(np.float64) * np.array(weights)[:, None])
        unit = _unit(sums).astype(np.float32)
        return [Embedded(vector, len(one.windows), len(one.ids)) for vector, one in zip(unit, encoded, strict=True)]

    def embed(self, texts: Sequence[str], *, batch_tokens: int = 2048) -> Floats:
        """Vectors (N, D) of texts of any length; windows of like length share a run of at most `batch_tokens` pieces.

        :raises TextError: for a lone surrogate or a NUL character.
        :raises TypeError: for one text that is not in a list.
        """
        if isinstance(texts, str):
            raise TypeError("texts must be a list of texts, got one text: call embed([text])")
        for number, text in enumerate(texts):
            check_text(text, field=f"texts[{number}]")
        encoded = self.encode(texts)
        inputs = [ids for one in encoded for ids in one.inputs]
        embedded = self.decode_batch(encoded, infer_in_batches(self.infer, inputs, batch_tokens))
        return np.array([one.vector for one in embedded], dtype=np.float32).reshape(-1, self.dimensions)


def cosine(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Cosine of vectors (..., D) and (..., D), broadcast, in [-1, 1]; 0 where one is all zeros."""
    cosines: NDArray[np.float64] = np.clip((_unit(a) * _unit(b)).sum(axis=-1), -1.0, 1.0)
    return cosines


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Vectors (..., D) made length 1; zeros stay zeros."""
    exact = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(exact, axis=-1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(exact, norms, out=np.zeros_like(exact), where=norms > 0)
    return unit
