"""Whether a model's answer to a text depends on what runs beside it: alone, in batches with others, with padding."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.sessions import Session
from onoma.bundle import TokenizerFacts
from onoma.encoding import Encoded
from onoma.labels import Entity
from onoma.model import padded
from onoma.tagger import Tagged, Tagger

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
TOGETHER = 16  # windows in a random batch


@dataclass(frozen=True, slots=True)
class Moved:
    """How answers differ from other answers to the same texts.

    :param changed: numbers of the texts with other entities.
    :param score: greatest change of a score, of entities that are found both times.
    :param logit: greatest change of an emission.
    """

    changed: frozenset[int]
    score: float
    logit: float

    def __or__(self, other: Moved) -> Moved:
        """What changes in either."""
        return Moved(self.changed | other.changed, max(self.score, other.score), max(self.logit, other.logit))


@dataclass(frozen=True, slots=True)
class Answers:
    """Emissions (T, C) of each window, and what each text is tagged with."""

    emissions: list[Floats]
    tagged: list[Tagged]

    def moved(self, others: Answers) -> Moved:
        """How others differ from these."""
        changed, score = set(), 0.0
        for number, (one, other) in enumerate(zip(self.tagged, others.tagged, strict=True)):
            mine, theirs = ({_span(entity): entity.score for entity in each.entities} for each in (one, other))
            if mine.keys() != theirs.keys():
                changed.add(number)
            score = max([score, *(abs(mine[span] - theirs[span]) for span in mine.keys() & theirs.keys())])
        pairs = zip(self.emissions, others.emissions, strict=True)
        return Moved(frozenset(changed), score, max(float(np.abs(one - other).max()) for one, other in pairs))


def _span(entity: Entity) -> tuple[int, int, str]:
    return entity.start, entity.end, entity.label


class Texts:
    """Texts to be asked of several forms of one model.

    :param tagger: of the bundle; it encodes and decodes.
    """

    def __init__(self, tagger: Tagger, texts: Sequence[str]) -> None:
        self._tagger = tagger
        self._encoded: list[Encoded] = tagger.encode(texts)
        self.inputs = [ids for one in self._encoded for ids in one.inputs]

    def ask(self, session: Session, batches: Sequence[Sequence[int]], *, times: int = 1) -> Answers:
        """Answers of a form of the model.

        :param batches: numbers of the windows that run together.
        :param times: pads each batch to so many times its width.
        """
        emissions = [np.empty((0, 0), dtype=np.float32)] * len(self.inputs)
        facts = self._tagger.encoder.facts
        for batch in batches:
            ids, mask, places = padded([self.inputs[at] for at in batch], facts)
            logits = session.run(*_widened(ids, mask, facts, times))
            for at, rows, place in zip(batch, logits, places, strict=True):
                emissions[at] = rows[place]
        return Answers(emissions, self._tagger.decode_batch(self._encoded, emissions))

    def alone(self, session: Session) -> Answers:
        """Answers to each window by itself, without padding: those that others are compared with."""
        return self.ask(session, [[at] for at in range(len(self.inputs))])

    def in_batches(self, session: Session, alone: Answers, *, draws: int, seed: int = 0) -> Moved:
        """How answers change in batches with others; what changes in any of several draws counts."""
        rng, moved = random.Random(seed), Moved(frozenset(), 0.0, 0.0)
        order = list(range(len(self.inputs)))
        for _ in range(draws):
            rng.shuffle(order)
            batches = [order[low : low + TOGETHER] for low in range(0, len(order), TOGETHER)]
            moved |= alone.moved(self.ask(session, batches))
        return moved

    def padded(self, session: Session, alone: Answers) -> Moved:
        """How answers change when each window still runs alone, but padded to twice its length."""
        return alone.moved(self.ask(session, [[at] for at in range(len(self.inputs))], times=2))


def _widened(ids: Ints, mask: Ints, facts: TokenizerFacts, times: int) -> tuple[Ints, Ints]:
    more = ((0, 0), (0, (times - 1) * ids.shape[1]))
    return np.pad(ids, more, constant_values=facts.pad_id), np.pad(mask, more)
