"""Chains by their definition: all legal sequences one by one, and the recursions of textbooks, piece by piece."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from onoma.crf import Chain
from onoma.labels import LabelSet
from onoma.words import Words


def legal_by_definition(tags: tuple[int, ...], continues: np.ndarray, labels: LabelSet) -> bool:
    """IOB2 and whole words, spelled out without the tables of LabelSet."""
    names = [labels.tags[tag] for tag in tags]
    for at, name in enumerate(names):
        before = names[at - 1] if at else "O"
        if name.startswith("I-") and before[2:] != name[2:]:
            return False
        if at and continues[at] and name != ("O" if before == "O" else "I-" + before[2:]):
            return False
    return True


@dataclass(frozen=True)
class Potentials:
    """What a CRF adds to its emissions; `temperature` divides both."""

    transitions: np.ndarray
    start: np.ndarray
    end: np.ndarray
    temperature: float = 1.0

    @classmethod
    def random(cls, width: int, seed: int, *, scale: float = 1.0, temperature: float = 1.0) -> Potentials:
        source = np.random.default_rng(seed)
        return cls(
            scale * source.normal(size=(width, width)),
            scale * source.normal(size=width),
            scale * source.normal(size=width),
            temperature,
        )

    def chain(self, labels: LabelSet) -> Chain:
        return Chain(
            labels,
            transitions=self.transitions.tolist(),
            start=self.start.tolist(),
            end=self.end.tolist(),
            temperature=self.temperature,
        )

    def score(self, emissions: np.ndarray, tags: np.ndarray) -> np.ndarray:
        """Log potential of sequences (..., T)."""
        found = emissions.astype(np.float64)[np.arange(len(emissions)), tags].sum(axis=-1)
        found = found + self.transitions[tags[..., :-1], tags[..., 1:]].sum(axis=-1)
        found = found + self.start[tags[..., 0]] + self.end[tags[..., -1]]
        return found / self.temperature


def enumerated(
    emissions: np.ndarray, continues: np.ndarray, labels: LabelSet, potentials: Potentials
) -> tuple[float, np.ndarray]:
    """Score of the best legal sequence of one sentence, and marginals (T, C), from all of its sequences."""
    length, width = emissions.shape
    every = itertools.product(range(width), repeat=length)
    legal = np.array([tags for tags in every if legal_by_definition(tags, continues, labels)])
    scores = potentials.score(emissions, legal)
    weights = np.exp(scores - scores.max())
    marginals = np.zeros((length, width))
    for place in range(length):
        np.add.at(marginals[place], legal[:, place], weights / weights.sum())
    return scores.max(), marginals


def recursions(
    emissions: np.ndarray, continues: np.ndarray, labels: LabelSet, potentials: Potentials
) -> tuple[float, np.ndarray]:
    """As `enumerated`, by Viterbi's and the forward-backward recursions over pieces, in log space."""
    scores = emissions.astype(np.float64) / potentials.temperature
    allowed = [labels.legal_within if inner else labels.legal for inner in continues]
    with np.errstate(divide="ignore"):
        moves = [potentials.transitions / potentials.temperature + np.log(legal) for legal in allowed]
        start = potentials.start / potentials.temperature + np.log(labels.legal_start)
    best = alpha = start + scores[0]
    alphas, betas = [alpha], [potentials.end / potentials.temperature]
    for at in range(1, len(scores)):
        best = (best[:, None] + moves[at]).max(axis=0) + scores[at]
        alphas.append(np.logaddexp.reduce(alphas[-1][:, None] + moves[at], axis=0) + scores[at])
    for at in range(len(scores) - 1, 0, -1):
        betas.append(np.logaddexp.reduce(moves[at] + scores[at] + betas[-1], axis=1))
    logs = np.array(alphas) + np.array(betas[::-1])
    marginals = np.exp(logs - np.logaddexp.reduce(logs, axis=1, keepdims=True))
    return (best + potentials.end / potentials.temperature).max(), marginals


def together(continues: list[np.ndarray]) -> Words:
    """The words of sentences, each (T,)."""
    ends = np.cumsum([len(own) for own in continues])
    return Words(np.concatenate(continues), ends - [len(own) for own in continues])
