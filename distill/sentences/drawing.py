"""What each stage sees of a pool: drawn by the recipe's weights, with the row of its target for each sentence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.dataset import Packed, concatenate
from distill.sentences.parallel import SOURCES
from distill.sentences.pool import Pool, draw, take
from distill.sentences.recipe import Data


@dataclass(frozen=True)
class Drawn:
    """Sentences to train on.

    :param rows: (N,) which target each has: a row of the pool's table of English sentences, unless said otherwise.
    """

    data: Packed
    rows: NDArray[np.int64]


def pair_weights(pool: Pool, data: Data) -> NDArray[np.float64]:
    """(N,) weight of each pair: its source's times its language's; 0 where a sentence is empty or too long."""
    sources = np.array([getattr(data, name) for name in SOURCES], dtype=np.float64)
    languages = _language_weights(pool.pairs, data)
    return np.asarray(sources[pool.source] * languages[pool.pairs.language] * _fits(pool.pairs, data))


def draw_pairs(pool: Pool, data: Data, *, pieces: int, seed: int) -> Drawn:
    """Pairs, by the sentences that are not English."""
    rows = draw(pair_weights(pool, data), pool.pairs.lengths, pieces=pieces, seed=seed)
    return Drawn(take(pool.pairs, rows), pool.english[rows].astype(np.int64))


def draw_sentences(pool: Pool, data: Data, *, pieces: int, seed: int) -> Drawn:
    """Sentences of pairs, and English ones, for their share of the pieces."""
    pairs = draw_pairs(pool, data, pieces=round(pieces * (1 - data.english)), seed=seed)
    if not data.english:
        return pairs
    rows = draw(_fits(pool.table, data), pool.table.lengths, pieces=round(pieces * data.english), seed=seed + 1)
    return Drawn(concatenate([pairs.data, take(pool.table, rows)]), np.concatenate([pairs.rows, rows]))


def draw_anything(pool: Pool, data: Data, *, text: float, pieces: int, seed: int) -> tuple[Packed, Drawn]:
    """Sentences for a teacher of all languages: each different one once, and how they were drawn.

    :param text: share of sentences without translation, by pieces.
    :return: the different sentences, and the drawn ones with the rows of these as targets.
    """
    every = concatenate([pool.pairs, pool.table, pool.text])
    first = len(pool.pairs)
    second = first + len(pool.table)
    languages = _language_weights(pool.text, data)[pool.text.language]
    parts = [
        (pair_weights(pool, data), pool.pairs, 0, (1 - text) * (1 - data.english)),
        (_fits(pool.table, data), pool.table, first, (1 - text) * data.english),
        (_fits(pool.text, data) * languages, pool.text, second, text),
    ]
    rows = np.concatenate([
        begin + draw(weights, part.lengths, pieces=round(pieces * share), seed=seed + at)
        for at, (weights, part, begin, share) in enumerate(parts) if share
    ])
    different, places = np.unique(rows, return_inverse=True)
    return take(every, different), Drawn(take(every, rows), places.astype(np.int64))


def _language_weights(part: Packed, data: Data) -> NDArray[np.float64]:
    return np.array([data.focus_weight if name in data.focus else 1.0 for name in part.languages])


def _fits(part: Packed, data: Data) -> NDArray[np.float64]:
    lengths = part.lengths
    return ((lengths > 0) & (lengths <= data.max_pieces)).astype(np.float64)
