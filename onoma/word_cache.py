"""Words between spaces and the pieces they have, remembered: most words of a text have been seen before.

A tokenizer that splits at white space before all else gives a word the same pieces in every text. To look them up costs
a fraction of finding them again, which takes about as long as a small model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from onoma.characters import EXTENDS, MARK, SILENT, bits

Ints = NDArray[np.int64]
Cut = tuple[int, int, int]
"""Text number and span of a sentence."""

_LONGEST = 32  # characters; longer ones hardly ever come back, and scripts without spaces have nothing else
_GENERATION = 8192  # words; those that did not come back while so many others came are forgotten

_SPLITS = {"WhitespaceSplit", "Whitespace", "BertPreTokenizer"}  # at white space, whatever else they do
_LOCAL_SPLITS = {*_SPLITS, "Split", "Punctuation", "Digits", "Metaspace"}  # each part for itself
_LOCAL_NORMALIZERS = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "BertNormalizer"}
_DIGIT = {"Regex": r"\p{Nd}"}


def keeps_words_apart(tokenizer: Tokenizer) -> bool:
    """Whether the pieces of a text are those of its words between spaces, one after the other.

    True for what `onoma train-tokenizer` makes and for BERT's; what is not known for sure counts as False.
    """
    splitter, normalizer = (
        None if part is None else json.loads(part.__getstate__())
        for part in (tokenizer.pre_tokenizer, tokenizer.normalizer)
    )
    if splitter is None:
        return False
    first, *others = splitter["pretokenizers"] if splitter["type"] == "Sequence" else [splitter]
    return (
        first["type"] in _SPLITS
        and all(part["type"] in _LOCAL_SPLITS and part.get("prepend_scheme") != "first" for part in others)
        and (normalizer is None or _is_local(normalizer))
        and all(token.special and " " not in token.content for token in tokenizer.get_added_tokens_decoder().values())
    )


def _is_local(normalizer: dict[str, Any]) -> bool:
    kind = normalizer["type"]
    if kind == "Sequence":
        return all(map(_is_local, normalizer["normalizers"]))
    return kind in _LOCAL_NORMALIZERS or (kind == "Replace" and normalizer["pattern"] == _DIGIT)


class WordCache:
    """The pieces of words that came lately; for a tokenizer that `keeps_words_apart`. Threads may share it.

    :param learn: ids, starts, ends and continues (4, T) of the pieces of each of some words, as of texts of their own.
    """

    def __init__(self, learn: Callable[[Sequence[str]], list[Ints]]) -> None:
        self._learn = learn
        self._recent: dict[str, Ints] = {}
        self._older: dict[str, Ints] = {}

    def look_up(self, texts: Sequence[str], cuts: Sequence[Cut]) -> tuple[Ints, list[int], list[int]]:
        """The pieces of sentences.

        :return: ids, starts, ends and continues (4, N) of all pieces, with offsets in the whole text; where each
            sentence begins among them, and the end (K + 1,); the sentences with words that are not remembered: they
            have no pieces here.
        """
        words: list[str] = []
        shifts: list[int] = []
        counts: list[int] = []
        for number, low, high in cuts:
            before = len(words)
            for word in texts[number][low:high].split(" "):
                if word:
                    words.append(word)
                    shifts.append(low)
                low += len(word) + 1
            counts.append(len(words) - before)
        known = list(map(self._recent.get, words))
        unsure: list[int] = []
        if not all(one is not None for one in known):
            self._fill(words, known)
            unsure = _leave_out(known, shifts, counts)
        if not known:
            return np.empty((4, 0), dtype=np.int64), [0] * (len(cuts) + 1), unsure
        pieces: Ints = np.concatenate(known, axis=1)  # type: ignore[arg-type]  # no None is left
        lengths = [one.shape[1] for one in known]  # type: ignore[union-attr]
        pieces[1:3] += np.repeat(shifts, lengths)
        bounds = [0, *accumulate(lengths)]
        return pieces, [bounds[at] for at in accumulate(counts, initial=0)], unsure

    def _fill(self, words: Sequence[str], known: list[Ints | None]) -> None:
        """Put the pieces of words that did not come lately in their places; None stays for what is not remembered."""
        older = self._older
        missing = {word: older.get(word) for word, own in zip(words, known, strict=True) if own is None}
        unknown = [word for word, own in missing.items() if own is None and _is_memorable(word)]
        if unknown:
            missing.update(zip(unknown, self._learn(unknown), strict=True))
        for place, word in enumerate(words):
            if known[place] is None:
                known[place] = missing[word]
        if len(self._recent) > _GENERATION:
            self._older, self._recent = self._recent, {}
        self._recent.update((word, own) for word, own in missing.items() if own is not None)


def _is_memorable(word: str) -> bool:
    """Whether a word has the same pieces in every text, and may come back.

    A mark or a joiner at its begin could belong to the space before it.
    """
    if len(word) > _LONGEST or bits(word[0]) & (MARK | EXTENDS):
        return False
    return not any(bits(char) & SILENT for char in word)


def _leave_out(known: list[Ints | None], shifts: list[int], counts: list[int]) -> list[int]:
    """Take the sentences that have a word without pieces out of the three lists; which they are."""
    unsure = []
    low = 0
    for place, count in enumerate(counts):
        if all(one is not None for one in known[low : low + count]):
            low += count
        else:
            del known[low : low + count], shifts[low : low + count]
            counts[place] = 0
            unsure.append(place)
    return unsure
