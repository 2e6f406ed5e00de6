"""How good sentence vectors are: Spearman's rank correlation on STS-B, and finding translations in Tatoeba.

All figures are percentages. An encoder is a function from N texts to N vectors, of any length: cosines are compared.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from distill.sentences.splits import (
    STS_LANGUAGES,
    Part,
    ScoredPair,
    Translation,
    read_sts,
    read_tatoeba,
    tatoeba_languages,
)

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Embed = Callable[[Sequence[str]], Floats]
"""Texts to vectors (N, D), one a text."""

ENGLISH = "en"


def ranks(values: NDArray[Any]) -> Doubles:
    """Ranks (N,) from 1 of values (N,); equal values share the mean of their ranks."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: Doubles = last - (counts - 1) / 2
    return mean[group]


def spearman(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Spearman's rank correlation of two rows of numbers (N,), from -1 to 1; 0 where one of them is constant.

    :raises ValueError: if they are not of one length, under 2, or one holds a number that is not finite.
    """
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise ValueError(f"a correlation needs two rows of one length, 2 at least: {first.shape} and {second.shape}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("a correlation needs finite numbers")
    one, other = (found - found.mean() for found in (ranks(first), ranks(second)))
    spread = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / spread if spread else 0.0


def unit(vectors: Floats) -> Floats:
    """Vectors (N, D) of length 1; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def embed_distinct(embed: Embed, texts: Sequence[str]) -> Floats:
    """Unit vectors (N, D) of the texts; each distinct text is embedded once.

    :raises ValueError: if the encoder does not give a vector a text.
    """
    places: dict[str, int] = {}
    for text in texts:
        places.setdefault(text, len(places))
    vectors = embed(list(places))
    if vectors.ndim != 2 or len(vectors) != len(places):
        raise ValueError(f"an encoder must give {len(places)} vectors for as many texts, got shape {vectors.shape}")
    return unit(vectors)[[places[text] for text in texts]]


Item = TypeVar("Item")


def spread(items: Sequence[Item], limit: int | None) -> list[Item]:
    """At most `limit` of the items, evenly spread: rows stand by genre, and the first ones are the easiest."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[at * len(items) // limit] for at in range(limit)]


def sts_spearman(
    embed: Embed, *, split: Part, languages: Sequence[str] = STS_LANGUAGES, limit: int | None = None
) -> dict[str, Any]:
    """Spearman of cosine and human score on STS-B, within each language and across each two of them.

    Across: the first sentence of a row in one language, the second in the other. Each language is embedded once.

    :param limit: so many rows of the split only, evenly spread.
    :return: see `sts_figures`, with `split` and `rows`.
    """
    pairs = {language: spread(read_sts(language, split), limit) for language in languages}
    figures = sts_figures(embed, pairs)
    return {"split": split, "rows": len(next(iter(pairs.values()))), **figures}


def sts_figures(embed: Embed, pairs: Mapping[str, Sequence[ScoredPair]]) -> dict[str, Any]:
    """The figures of row-aligned pairs by language.

    :return: `per_language`, `mean`, `std`, `worst` ([language, value]) of the languages by themselves; `cross`, empty
        for a single language: `pairs` ({"en-de": ...}, the first sentence in English), `mean`, `worst`; and where
        English is one of the languages `english`: the mean of those with an English side, and `with_english`: by the
        other language, the mean of both directions.
    :raises ValueError: if there is no language, or the languages have not the same number of rows or other scores.
    """
    if not pairs:
        raise ValueError("sentence similarity needs at least one language")
    languages = list(pairs)
    gold = np.array([pair.score for pair in pairs[languages[0]]])
    for language, rows in pairs.items():
        if [pair.score for pair in rows] != gold.tolist():
            raise ValueError(f"the rows of {language} are not those of {languages[0]}: their scores differ")
    vectors = {}
    for language, rows in pairs.items():
        both = embed_distinct(embed, [pair.first for pair in rows] + [pair.second for pair in rows])
        vectors[language] = both[: len(rows)], both[len(rows) :]

    def score(first: str, second: str) -> float:
        cosines = np.einsum("nd,nd->n", vectors[first][0], vectors[second][1], dtype=np.float64)
        return 100 * spearman(cosines, gold)

    own = {language: score(language, language) for language in languages}
    across = {(first, second): score(first, second) for first, second in permutations(languages, 2)}
    return {
        "per_language": _rounded(own),
        "mean": round(statistics.fmean(own.values()), 2),
        "std": round(statistics.pstdev(own.values()), 2),
        "worst": _least(own),
        "cross": _cross(across),
    }


def _cross(across: Mapping[tuple[str, str], float]) -> dict[str, Any]:
    if not across:
        return {}
    named = {f"{first}-{second}": value for (first, second), value in across.items()}
    figures: dict[str, Any] = {"mean": round(statistics.fmean(named.values()), 2), "worst": _least(named)}
    others = sorted({first for first, second in across if second == ENGLISH})
    if others:
        both = {other: statistics.fmean((across[other, ENGLISH], across[ENGLISH, other])) for other in others}
        figures |= {"english": round(statistics.fmean(both.values()), 2), "with_english": _rounded(both)}
    return {**figures, "pairs": _rounded(named)}


def tatoeba_accuracy(
    embed: Embed,
    *,
    part: Part = "test",
    languages: Sequence[str] | None = None,
    limit: int | None = None,
) -> dict[str, Any]:
    """How often a Tatoeba sentence's nearest neighbour, among those of the same part, is its translation.

    :param languages: None for all that there are.
    :param limit: so many lines of each language's part only, evenly spread.
    :return: see `retrieval_figures`, with `part`.
    """
    chosen = tatoeba_languages() if languages is None else languages
    lines = {language: spread(read_tatoeba(language, part), limit) for language in chosen}
    return {"part": part, **retrieval_figures(embed, lines)}


def retrieval_figures(embed: Embed, lines: Mapping[str, Sequence[Translation]]) -> dict[str, Any]:
    """Retrieval accuracy by language, of which those without lines are left out.

    A neighbour is right too if it is the translation of another line with the very same sentence.

    :return: `per_language`: {language: {"lines", "to_english", "from_english", "accuracy" (mean of both)}}; `mean`,
        `std` and `worst` of accuracy.
    :raises ValueError: if there are no lines at all.
    """
    found: dict[str, dict[str, float]] = {}
    for language, own in lines.items():
        if own:
            found[language] = _retrieval(embed, own)
    if not found:
        raise ValueError("retrieval needs at least one line")
    accuracies = {language: figures["accuracy"] for language, figures in found.items()}
    return {
        "per_language": {language: _rounded(figures) for language, figures in found.items()},
        "mean": round(statistics.fmean(accuracies.values()), 2),
        "std": round(statistics.pstdev(accuracies.values()), 2),
        "worst": _least(accuracies),
    }


def _retrieval(embed: Embed, lines: Sequence[Translation]) -> dict[str, float]:
    sentences, english = [line.sentence for line in lines], [line.english for line in lines]
    both = embed_distinct(embed, [*sentences, *english])
    cosines = both[: len(lines)] @ both[len(lines) :].T
    right = _same(sentences) | _same(english)  # (N, N): whether sentence i and the English of line j fit
    each = np.arange(len(lines))
    there = 100 * float(right[each, cosines.argmax(axis=1)].mean())
    back = 100 * float(right[cosines.argmax(axis=0), each].mean())
    return {"lines": len(lines), "to_english": there, "from_english": back, "accuracy": (there + back) / 2}


def _same(texts: Sequence[str]) -> NDArray[np.bool_]:
    _, group = np.unique(np.array(texts, dtype=np.str_), return_inverse=True)
    equal: NDArray[np.bool_] = group[:, None] == group[None, :]
    return equal


def _least(values: Mapping[str, float]) -> list[str | float]:
    name = min(values, key=lambda one: values[one])
    return [name, round(values[name], 2)]


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in values.items()}
