"""Longer examples of several sentences: what a service meets where no mark shows that a sentence ends.

Thai puts none, headlines and lists have none, and an unknown abbreviation hides one. A tagger that has only seen
sentences alone loses entities there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distill.dataset import Packed, laid_end_to_end


def join_examples(data: Packed, *, share: float, most: int = 4, longest: int = 192, seed: int = 0) -> Packed:
    """Put `share` of the examples together, 2 to `most` of one language in a row; nothing is lost or repeated.

    Pieces never cross a space, so joined examples are the pieces of the texts joined by one.

    :param share: 0..1, drawn at random.
    :param longest: most pieces of a joined example; a group that would be longer stays apart.
    :return: the examples left alone in their order, then the joined ones, by language.
    :raises ValueError: if `share` is outside 0..1 or `most` below 2.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be in 0..1, got {share}")
    if most < 2:
        raise ValueError(f"most must be at least 2, got {most}")
    rng = np.random.default_rng(seed)
    drawn = rng.random(len(data)) < share
    alone, chosen = np.flatnonzero(~drawn), rng.permutation(np.flatnonzero(drawn))
    chosen = chosen[np.argsort(data.language[chosen], kind="stable")]
    group = _groups(data.language[chosen], most=most, rng=rng)
    total = np.bincount(group, weights=data.lengths[chosen])
    apart = total[group] > longest
    first = np.diff(group, prepend=-1) != 0
    heads = np.concatenate([np.ones(len(alone), dtype=np.bool_), first | apart])
    return _regroup(data, np.concatenate([alone, chosen]), heads)


def _groups(language: NDArray[np.int16], *, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Group number of each of N sorted entries: runs of 2 to `most`, never over a language's end."""
    sizes = rng.integers(2, most + 1, size=len(language))
    starts = np.zeros(len(language), dtype=np.bool_)
    marks = np.cumsum(sizes)
    starts[marks[marks < len(language)]] = True
    starts |= np.diff(language, prepend=-1) != 0
    return np.cumsum(starts) - 1


def _regroup(data: Packed, order: NDArray[np.int64], heads: NDArray[np.bool_]) -> Packed:
    """Examples in `order`; each one that is no head goes on with the example before it."""
    lengths = data.lengths[order]
    begins = np.cumsum(lengths) - lengths
    positions = laid_end_to_end(data.offsets[order], lengths)
    texts = None
    if data.texts is not None:
        groups = np.split(order, np.flatnonzero(heads))[1:]  # nothing stands before the first head
        texts = tuple(" ".join(data.texts[at] for at in group) for group in groups)
    return Packed(
        data.ids[positions],
        data.tags[positions],
        np.append(begins[heads], data.pieces).astype(np.int64),
        data.language[order][heads],
        data.languages,
        texts,
    )
