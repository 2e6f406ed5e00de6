"""Tagger: a bundle that tags texts. The service uses its three steps one by one, everyone else `tag`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from onoma.bundle import MODEL_FILE, TOKENIZER_FILE, Calibration, Manifest, Pieces, Transitions, read_manifest
from onoma.decode import build_decoder, decode, joined
from onoma.encoding import Encoded, Encoder, Segment
from onoma.errors import BundleError, TextError
from onoma.labels import Entity, LabelSet
from onoma.model import Model, OnnxModel
from onoma.text import join_tokens, lone_surrogate_at

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Tagged:
    """The entities of one text, in order and without overlap.

    :param confidence: calibrated probability that the least certain sentence is tagged without error.
    :param windows: number of model inputs the text took.
    """

    entities: tuple[Entity, ...]
    confidence: float
    windows: int


def check_text(text: str, *, field: str = "text") -> None:
    """Refuse what has no meaning as text.

    :raises TextError: for a lone surrogate or a NUL character; names `field` and the position.
    """
    if (at := lone_surrogate_at(text)) is not None:
        found = f"a lone surrogate U+{ord(text[at]):04X} at character {at}"
        raise TextError(f"{field} has {found}: it is not valid Unicode")
    if (at := text.find("\0")) >= 0:
        raise TextError(f"{field} has a NUL character at character {at}")


class Tagger:
    """Tags texts with one model.

    :param transitions: of a model whose logits are the emissions of a CRF; None for a softmax.
    :param pieces: which of a word's pieces have a say in its tag.

    >>> Tagger.load("models/student").tag("Angela Merkel in Köln").entities
    """

    def __init__(
        self,
        *,
        encoder: Encoder,
        model: Model,
        labels: LabelSet,
        calibration: Calibration,
        transitions: Transitions | None = None,
        pieces: Pieces = "all",
        manifest: Manifest | None = None,
    ) -> None:
        self.encoder = encoder
        self.model = model
        self.labels = labels
        self.transitions = transitions
        self.pieces: Pieces = pieces
        self.calibration = calibration
        self.manifest = manifest

    @property
    def calibration(self) -> Calibration:
        """What makes probabilities and confidence of the model's logits."""
        return self._calibration

    @calibration.setter
    def calibration(self, new: Calibration) -> None:
        self._calibration = new
        self._decoder = build_decoder(self.labels, transitions=self.transitions, temperature=new.temperature)

    @classmethod
    def load(cls, folder: str | Path, *, threads: int | None = None) -> Tagger:
        """Load a bundle, verifying its hashes.

        :param threads: onnxruntime threads for one run; None for all available cores.
        :raises BundleError: if the bundle is missing, damaged, or of another version.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        facts = manifest.tokenizer
        try:
            tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        except Exception as error:  # tokenizers raises bare Exception
            raise BundleError(f"{folder / TOKENIZER_FILE} does not load: {error}") from error
        return cls(
            encoder=Encoder(tokenizer, facts=facts, limit=manifest.room, overlap=manifest.overlap),
            model=OnnxModel(folder / MODEL_FILE, facts=facts, threads=threads),
            labels=manifest.label_set,
            calibration=manifest.calibration,
            transitions=manifest.crf,
            pieces=manifest.pieces,
            manifest=manifest,
        )

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Step 1: pieces and windows of each text."""
        return self.encoder.encode(texts)

    def infer(self, inputs: Sequence[Ints]) -> list[Floats]:
        """Step 2: emissions (T, C) of each window (T,)."""
        return self.model.infer(inputs)

    def fits(self, inputs: Sequence[Ints], outputs: Sequence[Floats]) -> bool:
        """Whether the outputs of `infer` have the form that its inputs ask for: a row for each piece."""
        return [len(rows) for rows in outputs] == [len(ids) for ids in inputs]

    def decode(self, encoded: Encoded, emissions: Sequence[Floats]) -> Tagged:
        """Step 3: entities of a text from the emissions of its windows, in the order of `encoded.inputs`."""
        return self.decode_batch([encoded], emissions)[0]

    def decode_batch(self, encoded: Sequence[Encoded], emissions: Sequence[Floats]) -> list[Tagged]:
        """Step 3 for many texts at once, which is faster.

        :param emissions: of the windows of all texts, in order.
        """
        segments = [segment for one in encoded for segment in one.segments]
        if len(emissions) > len(segments):
            emissions = list(_kept(segments, emissions))
        entities, confidences = decode(
            segments, emissions, decoder=self._decoder, labels=self.labels, pieces=self.pieces
        )
        tagged = []
        low = 0
        for one in encoded:
            high = low + len(one.segments)
            found = tuple(chain.from_iterable(entities[low:high]))
            raw = min(confidences[low:high], default=1.0)
            tagged.append(Tagged(found, self.calibration.calibrated(raw), one.window_count))
            low = high
        return tagged

    def tag(self, text: str) -> Tagged:
        """Tag one text of any length.

        :raises TextError: for a lone surrogate or a NUL character.
        """
        return self.tag_batch([text])[0]

    def tag_batch(self, texts: Sequence[str], *, batch_tokens: int = 2048) -> list[Tagged]:
        """Tag many texts; windows of like length share a model run of at most `batch_tokens` padded pieces."""
        for number, text in enumerate(texts):
            check_text(text, field=f"texts[{number}]" if len(texts) > 1 else "text")
        encoded = self.encode(texts)
        inputs = [ids for one in encoded for ids in one.inputs]
        return self.decode_batch(encoded, infer_in_batches(self.infer, inputs, batch_tokens))

    def tag_tokens(self, sentences: Sequence[Sequence[str]]) -> list[Tagged]:
        """Tag given tokens; offsets in the result are token indices, half-open.

        An entity that covers part of a token covers the whole token.
        """
        joined = [join_tokens(tokens) for tokens in sentences]
        tagged = self.tag_batch([text for text, _ in joined])
        return [to_token_spans(one, spans) for one, (_, spans) in zip(tagged, joined, strict=True)]


def _kept(segments: Sequence[Segment], emissions: Sequence[Floats]) -> Iterator[Floats]:
    """Emissions (T, C) of each segment, of every piece those of the window that decides it."""
    position = 0
    for segment in segments:
        own = emissions[position : position + len(segment.windows)]
        position += len(own)
        yield joined(
            [rows[w.keep_low - w.low : w.keep_high - w.low] for w, rows in zip(segment.windows, own, strict=True)]
        )


def to_token_spans(tagged: Tagged, spans: Sequence[tuple[int, int]]) -> Tagged:
    """Turn character offsets into token indices; of two entities that meet in one token the first keeps it."""
    starts = np.array([start for start, _ in spans], dtype=np.int64)
    ends = np.array([end for _, end in spans], dtype=np.int64)
    entities: list[Entity] = []
    taken = 0
    for entity in tagged.entities:
        first = max(int(np.searchsorted(ends, entity.start, side="right")), taken)
        last = int(np.searchsorted(starts, entity.end, side="left"))
        if first < last:
            entities.append(Entity(first, last, entity.label, entity.score))
            taken = last
    return Tagged(tuple(entities), tagged.confidence, tagged.windows)


def infer_in_batches(
    infer: Callable[[Sequence[Ints]], list[Floats]], inputs: Sequence[Ints], batch_tokens: int
) -> list[Floats]:
    """Emissions of each window, those of like length run together, at most `batch_tokens` padded pieces at a time."""
    emissions: list[Floats] = [np.empty((0, 0), dtype=np.float32)] * len(inputs)
    for batch in length_batches([len(ids) for ids in inputs], batch_tokens):
        for at, rows in zip(batch, infer([inputs[at] for at in batch]), strict=True):
            emissions[at] = rows
    return emissions


def length_batches(lengths: Sequence[int], batch_tokens: int) -> Iterable[list[int]]:
    """Indices grouped by like length, longest first, each group within `batch_tokens` padded pieces."""
    batch: list[int] = []
    width = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * width > batch_tokens:
            yield batch
            batch = []
        if not batch:
            width = max(1, lengths[index])
        batch.append(index)
    if batch:
        yield batch
