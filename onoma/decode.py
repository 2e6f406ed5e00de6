"""Decoding: emissions to tags under the IOB2 constraints, and tags to scored spans."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from onoma.labels import Entity, LabelSet

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

_FORBIDDEN = np.float32(-1e9)


def log_softmax(emissions: Floats, temperature: float = 1.0) -> Floats:
    """Log probabilities over the last axis of (..., C) logits, divided by `temperature` first."""
    scaled = emissions / np.float32(temperature)
    shifted = scaled - scaled.max(axis=-1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def is_legal(tags: Ints, continues: Bools, labels: LabelSet) -> bool:
    """Whether a tag sequence (T,) obeys IOB2 and keeps every word wholly inside or outside an entity."""
    if len(tags) == 0:
        return True
    between = labels.legal[tags[:-1], tags[1:]]
    within = labels.legal_within[tags[:-1], tags[1:]]
    return bool(labels.legal_start[tags[0]]) and bool(np.where(continues[1:], within, between).all())


def viterbi(emissions: Floats, continues: Bools, labels: LabelSet) -> Ints:
    """The most probable legal tag sequence.

    :param emissions: (T, C) logits or log probabilities.
    :param continues: (T,) whether piece t continues the word of piece t-1.
    :return: (T,) columns.
    """
    best: Ints = emissions.argmax(axis=1).astype(np.int64)
    # Without transition scores a legal argmax is already the optimum.
    if is_legal(best, continues, labels):
        return best
    length, width = emissions.shape
    between = np.where(labels.legal, np.float32(0), _FORBIDDEN)
    within = np.where(labels.legal_within, np.float32(0), _FORBIDDEN)
    score = emissions[0] + np.where(labels.legal_start, np.float32(0), _FORBIDDEN)
    back = np.zeros((length, width), dtype=np.int64)
    columns = np.arange(width)
    for step in range(1, length):
        paths = score[:, None] + (within if continues[step] else between)
        back[step] = paths.argmax(axis=0)
        score = paths[back[step], columns] + emissions[step]
    tags = np.empty(length, dtype=np.int64)
    tags[-1] = score.argmax()
    for step in range(length - 1, 0, -1):
        tags[step - 1] = back[step, tags[step]]
    return tags


def spans_of(tags: Ints, labels: LabelSet) -> list[tuple[int, int, str]]:
    """Entities of a legal tag sequence as (first piece, past the last piece, type)."""
    begins = np.flatnonzero(labels.begins[tags])
    spans = []
    for begin in begins:
        end = int(begin) + 1
        while end < len(tags) and labels.inside[tags[end]]:
            end += 1
        spans.append((int(begin), end, labels.type_of[int(tags[begin])]))
    return spans


def decode(
    emissions: Floats,
    *,
    starts: Ints,
    ends: Ints,
    continues: Bools,
    labels: LabelSet,
    temperature: float = 1.0,
) -> tuple[list[Entity], float]:
    """Entities of one segment with scores, and the raw confidence of the whole segment.

    An entity's score is the geometric mean of the calibrated probabilities of its pieces' tags. The raw confidence is
    the least probability of any decided tag: one doubtful piece makes the segment doubtful.

    :param emissions: (T, C) logits.
    :param starts: (T,) code-point offset of each piece; `ends` likewise, exclusive.
    """
    if len(emissions) == 0:
        return [], 1.0
    tags = viterbi(emissions, continues, labels)
    chosen = log_softmax(emissions, temperature)[np.arange(len(tags)), tags]
    entities = [
        Entity(
            int(starts[first]), int(ends[last - 1]), label, math.exp(float(chosen[first:last].sum()) / (last - first))
        )
        for first, last, label in spans_of(tags, labels)
    ]
    return entities, math.exp(float(chosen.min()))
