"""Vocabulary trimming: pieces that the data hardly has cost embeddings and bytes (XtremeDistil did it unsaid)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from distill.dataset import Packed
from distill.tokenizer import SPECIALS, UNK
from onoma.word_table import MARK


def piece_counts(data: Packed, vocabulary: int) -> NDArray[np.int64]:
    """(V,) how often each piece occurs."""
    return np.bincount(data.ids, minlength=vocabulary)


def trim(tokenizer: Tokenizer, counts: NDArray[np.int64], *, minimum: int) -> Tokenizer:
    """The tokenizer without pieces seen fewer than `minimum` times.

    Special pieces and those of one character stay, so that every word can still be spelled. With `minimum` 1, text that
    was counted is cut into the very same pieces as before.

    :param counts: (V,) by piece id.
    :raises ValueError: if the tokenizer is not a Unigram one of onoma's kind.
    """
    state: dict[str, Any] = json.loads(tokenizer.to_str())
    if state["model"]["type"] != "Unigram":
        raise ValueError(f"only Unigram vocabularies can be trimmed, this one is {state['model']['type']}")
    kept = [
        [piece, score]
        for at, (piece, score) in enumerate(state["model"]["vocab"])
        if counts[at] >= minimum or piece in SPECIALS or len(piece.removeprefix(MARK)) <= 1
    ]
    state["model"]["vocab"] = kept
    at = {piece: number for number, (piece, _) in enumerate(kept)}
    for token in state["added_tokens"]:
        token["id"] = at[token["content"]]
    state["model"]["unk_id"] = at[UNK]
    return Tokenizer.from_str(json.dumps(state))


def coverage(
    before: Tokenizer, after: Tokenizer, texts: Mapping[str, Iterable[str]]
) -> dict[str, dict[str, float]]:
    """For each language, what trimming does to its texts, in percent.

    `longer`: more pieces than before; `unknown`: pieces without a meaning, before and after; `kept`: of the different
    pieces its texts had, those that are still there.
    """
    report = {}
    still = set(after.get_vocab())
    for language, lines in texts.items():
        own = list(lines)
        old, new = _pieces(before, own), _pieces(after, own)
        different = {str(before.id_to_token(piece)) for piece in set(old)}
        report[language] = {
            "longer": _percent(len(new) - len(old), len(old)),
            "unknown_before": _percent(old.count(before.token_to_id(UNK)), len(old)),
            "unknown": _percent(new.count(after.token_to_id(UNK)), len(new)),
            "kept": _percent(len(different & still), len(different)),
        }
    return report


def _pieces(tokenizer: Tokenizer, texts: list[str]) -> list[int]:
    return [piece for one in tokenizer.encode_batch(texts, add_special_tokens=False) for piece in one.ids]


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 3) if whole else 0.0
