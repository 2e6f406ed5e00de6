"""Dev sentences as a model reads them one by one: what it finds, how sure it is, how long it takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.console import follow
from distill.corpora import WIKIANN, Sentence, as_text, read_split
from distill.evaluation import Span, as_spans
from onoma.encoding import Encoded
from onoma.tagger import Tagger


@dataclass(frozen=True, slots=True)
class Example:
    """A dev sentence and a model's emissions (T, C) of each window.

    :param seconds: that tagging it alone took.
    """

    language: str
    gold: tuple[Span, ...]
    encoded: Encoded
    emissions: list[NDArray[np.float32]]
    seconds: float


@dataclass(frozen=True, slots=True)
class Scored:
    """What a model makes of an example with the calibration that it has.

    :param confidence: raw, if the calibration has no points.
    """

    example: Example
    predicted: tuple[Span, ...]
    confidence: float

    @property
    def right(self) -> bool:
        """Whether every entity is found, and nothing else."""
        return set(self.predicted) == set(self.example.gold)


def dev_halves(*, limit: int, languages: Sequence[str]) -> tuple[list[Sentence], list[Sentence]]:
    """The first `limit` WikiANN dev sentences of each language: every other one to fit on, and the rest to measure."""
    read = [read_split(WIKIANN, language, "dev")[:limit] for language in languages]
    first, second = ([sentence for own in read for sentence in own[start::2]] for start in (0, 1))
    return first, second


def tag_examples(tagger: Tagger, sentences: Sequence[Sentence]) -> list[Example]:
    """Tag each sentence alone, as raw text."""
    examples = []
    for sentence in follow(sentences, tagger.manifest.name if tagger.manifest is not None else "model"):
        text, gold = as_text(sentence, raw=True)
        began = time.perf_counter()
        encoded = tagger.encode([text])[0]
        emissions = tagger.infer(encoded.inputs)
        tagger.decode(encoded, emissions)
        seconds = time.perf_counter() - began
        examples.append(Example(sentence.language, tuple(gold), encoded, emissions, seconds))
    return examples


def score(tagger: Tagger, examples: Sequence[Example]) -> list[Scored]:
    """Decode the examples of this tagger's model with the calibration that it has now."""
    emissions = [rows for example in examples for rows in example.emissions]
    tagged = tagger.decode_batch([example.encoded for example in examples], emissions)
    return [
        Scored(example, tuple(as_spans(one)), one.confidence) for example, one in zip(examples, tagged, strict=True)
    ]
