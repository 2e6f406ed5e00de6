"""Mention replacement (Dai & Adel 2020): entities of the same type change places, their sentences stay.

WikiANN shows most names in one context, often a bare heading. A name that also stands where another stood teaches the
tagger both what the name is and what its neighbours say.
"""

from __future__ import annotations

import unicodedata

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from distill.dataset import LABELS, Packed, laid_end_to_end
from onoma.labels import LabelSet

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_LONGEST = 16  # pieces of a mention that may take another's place


def latin_pieces(tokenizer: Tokenizer) -> Bools:
    """(V,) whether a piece has no letter of another script than Latin."""
    found = np.zeros(tokenizer.get_vocab_size(), dtype=np.bool_)
    for piece, number in tokenizer.get_vocab().items():
        found[number] = all(unicodedata.name(char, "").startswith("LATIN") for char in piece if char.isalpha())
    return found


def replace_mentions(
    data: Packed,
    *,
    latin: Bools,
    share: float,
    names: Packed | None = None,
    labels: LabelSet = LABELS,
    seed: int = 0,
) -> Packed:
    """In `share` of the examples put a random entity of the same type in the place of each.

    Half of the Latin-script ones come from any language (names cross borders), all others from the example's own.

    :param latin: (V,) see `latin_pieces`.
    :param names: examples of one entity each that half of those from any language are taken from, where there are some
        of the type.
    :param labels: whose columns the tags of `data` and `names` are.
    :raises ValueError: if `share` is outside 0..1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be in 0..1, got {share}")
    starts, ends, owner = _mentions(data, labels)
    if not len(starts):
        return data
    rng = np.random.default_rng(seed)
    label = data.tags[starts].astype(np.int64)
    language = data.language[owner].astype(np.int64)
    # Anything Latin has its own pool beside each language's; -1 for what is in none.
    pieces = np.concatenate([[0], np.cumsum(~latin[data.ids])])
    is_latin = pieces[ends] == pieces[starts]
    short = ends - starts <= _LONGEST
    own = label * len(data.languages) + language
    across = np.where(is_latin, label, -1)
    target = np.flatnonzero((rng.random(len(data)) < share)[owner])
    far = is_latin[target] & (rng.random(len(target)) < 0.5)
    donor = np.where(far, _draw(across, short, across[target], rng), _draw(own, short, own[target], rng))
    donor = np.where(donor < 0, target, donor)  # nothing to draw from: it stays
    new = starts[donor], ends[donor]
    ids, tags = data.ids, data.tags
    if names is not None and len(names):
        first, last, _ = _mentions(names, labels)
        listed = _draw(names.tags[first].astype(np.int64), last - first <= _LONGEST, label[target], rng)
        chosen = far & (listed >= 0) & (rng.random(len(target)) < 0.5)
        new = tuple(  # type: ignore[assignment]
            np.where(chosen, at[listed] + data.pieces, old) for at, old in zip((first, last), new, strict=True)
        )
        ids, tags = np.concatenate([ids, names.ids]), np.concatenate([tags, names.tags])
    changed, offsets = _put(data, owner[target], (starts[target], ends[target]), new)
    return Packed(ids[changed], tags[changed], offsets, data.language, data.languages)


def _mentions(data: Packed, labels: LabelSet) -> tuple[Ints, Ints, Ints]:
    """Start, past the end, and example of every entity, in order."""
    begins, inside = np.append(labels.begins, False), np.append(labels.inside, False)  # the last entry is NO_TAG's
    first = np.zeros(data.pieces + 1, dtype=np.bool_)
    first[data.offsets] = True
    starts = np.flatnonzero(begins[data.tags])
    stops = np.append(np.flatnonzero(~inside[data.tags] | first[:-1]), data.pieces)
    ends = stops[np.searchsorted(stops, starts, side="right")]
    return starts, ends, np.searchsorted(data.offsets, starts, side="right") - 1


def _draw(key: Ints, allowed: Bools, wanted: Ints, rng: np.random.Generator) -> Ints:
    """For each wanted key a random allowed entry that has it; -1 where there is none."""
    pool = np.flatnonzero(allowed & (key >= 0))
    pool = pool[np.argsort(key[pool], kind="stable")]
    low = np.searchsorted(key[pool], wanted, side="left")
    count = np.searchsorted(key[pool], wanted, side="right") - low
    at = low + (rng.random(len(wanted)) * count).astype(np.int64)
    drawn = np.full(len(wanted), -1, dtype=np.int64)
    drawn[count > 0] = pool[at[count > 0]]
    return drawn


def _put(data: Packed, owner: Ints, old: tuple[Ints, Ints], new: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    """Positions to copy, and new offsets, when the intervals `old` (in order, apart) become copies of `new`."""
    # What is copied: the pieces up to the first target, its donor, the pieces up to the second, ...
    begins = np.empty(2 * len(owner) + 1, dtype=np.int64)
    stops = np.empty_like(begins)
    begins[0::2], stops[0::2] = np.append(0, old[1]), np.append(old[0], data.pieces)
    begins[1::2], stops[1::2] = new
    positions = laid_end_to_end(begins, stops - begins)
    lengths = data.lengths
    np.add.at(lengths, owner, (new[1] - new[0]) - (old[1] - old[0]))
    return positions, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
