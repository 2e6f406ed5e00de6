"""All that a sentence encoder can learn from, as packed pieces: pairs, English sentences, and text without translation.

A pool is made once for a tokenizer and kept; what a stage sees is drawn from it by weights, so that the few sentences
of Tatoeba and the news are seen more often than the many things that one says to an assistant.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from distill.console import console
from distill.dataset import NO_TAG, Packed, concatenate, laid_end_to_end
from distill.sentences.languages import ENGLISH
from distill.sentences.model import load_tokenizer
from distill.sentences.parallel import SOURCES, parallel_hashes, read_lines, read_pairs
from distill.sentences.wordwise import wordwise_pairs
from onoma.bundle import sha256
from onoma.word_table import WordTable

POOL_VERSION = 2
_ROWS, _TABLE, _TEXT, _ORIGINALS = "pairs.npz", "english.npz", "text.npz", "english.json"


@dataclass(frozen=True)
class Pool:
    """Pairs, the English sentences they share, and text.

    :param pairs: N sentences that have an English translation.
    :param english: (N,) which row of `table` that is.
    :param source: (N,) index into SOURCES.
    :param table: M different English sentences: the pairs', then others, which have no pair; some may be too long to
        train on, but not to learn a translation from.
    :param originals: the M sentences as text, for the teacher.
    :param text: sentences of any language, without translation.
    """

    pairs: Packed
    english: NDArray[np.int32]
    source: NDArray[np.int8]
    table: Packed
    originals: tuple[str, ...]
    text: Packed


def pack_sentences(sentences: Sequence[str], *, tokenizer: Tokenizer | WordTable, language: str) -> Packed:
    """Each sentence as one example: not segmented, not cut."""
    encoded: list[list[int]] = []
    for low in range(0, len(sentences), 4096):
        some = list(sentences[low : low + 4096])
        if isinstance(tokenizer, WordTable):
            encoded += map(tokenizer.ids, some)
        else:
            encoded += [one.ids for one in tokenizer.encode_batch(some, add_special_tokens=False)]
    ids = np.fromiter((piece for one in encoded for piece in one), dtype=np.uint16)
    return Packed(
        ids,
        np.full(len(ids), NO_TAG, dtype=np.int8),
        np.concatenate([[0], np.cumsum([len(one) for one in encoded])]).astype(np.int64),
        np.zeros(len(encoded), dtype=np.int16),
        (language,),
    )


def take(data: Packed, rows: NDArray[np.int64]) -> Packed:
    """The examples of these rows, in their order; a row may come several times."""
    lengths = data.lengths[rows]
    at = laid_end_to_end(data.offsets[rows], lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Packed(data.ids[at], data.tags[at], offsets, data.language[rows], data.languages)


def spread(lines: list[str], many: int) -> list[str]:
    """At most `many` of the lines, evenly over them all: a file has one source after another."""
    if len(lines) <= many:
        return lines
    return [lines[at * len(lines) // many] for at in range(many)]


def make_pool(
    folder: Path,
    *,
    tokenizer: Path,
    words: Path | None = None,
    languages: Sequence[str],
    english_lines: int,
    text_lines: Mapping[str, int],
    annotations: Path | None = None,
    dictionaries: Path | None = None,
) -> None:
    """Read and pack everything; `folder` gets the pool.

    :param english_lines: lines of English text that join the English sentences.
    :param text_lines: lines of text of each language, spread over its file; English ones are others than these.
    :param annotations: where CLDR's are, if they are wanted.
    :param dictionaries: the file of `onoma dictionaries`, if it is wanted; with it English sentences are also put into
        other languages word by word.
    """
    pieces = load_tokenizer(tokenizer, words)
    at: dict[str, int] = {}
    pairs, texts = [], []
    english: list[int] = []
    source: list[int] = []
    for language in languages:
        for number, name in enumerate(SOURCES):
            found = read_pairs(name, language, annotations=annotations, dictionaries=dictionaries)
            pairs.append(pack_sentences([pair.sentence for pair in found], tokenizer=pieces, language=language))
            english += [at.setdefault(pair.english, len(at)) for pair in found]
            source += [number] * len(found)
    for language in languages:
        every = list(read_lines(language))
        if language == ENGLISH:
            alone = spread(every, english_lines)
            for line in alone:
                at.setdefault(line, len(at))
            seen = set(alone)
            every = [line for line in every if line not in seen]
        lines = spread(every, text_lines[language])
        texts.append(pack_sentences(lines, tokenizer=pieces, language=language))
        console.log(f"pool: {language}: {len(lines):,} lines")
    if dictionaries is not None:
        for language in languages:
            found = wordwise_pairs(list(at), language, dictionaries)
            pairs.append(pack_sentences([pair.sentence for pair in found], tokenizer=pieces, language=language))
            english += [at[pair.english] for pair in found]
            source += [SOURCES.index("wordwise")] * len(found)
            console.log(f"pool: {language}: {len(found):,} lines word by word")
    concatenate(pairs).save(folder / _ROWS)
    pack_sentences(list(at), tokenizer=pieces, language=ENGLISH).save(folder / _TABLE)
    concatenate(texts).save(folder / _TEXT)
    np.savez(folder / "rows.npz", english=np.array(english, np.int32), source=np.array(source, np.int8))
    (folder / _ORIGINALS).write_text(json.dumps(list(at), ensure_ascii=False), encoding="utf-8")


def pool_facts(
    *,
    tokenizer: Path,
    words: Path | None = None,
    languages: Sequence[str],
    english_lines: int,
    text_lines: Mapping[str, int],
    annotations: Path | None = None,
    dictionaries: Path | None = None,
) -> dict[str, object]:
    """What a pool depends on."""
    return {
        "version": POOL_VERSION,
        "tokenizer": sha256(tokenizer),
        "words": words and sha256(words),
        "languages": list(languages),
        "english_lines": english_lines,
        "text_lines": dict(text_lines),
        "data": parallel_hashes(languages, annotations=annotations, dictionaries=dictionaries),
    }


def load_pool(folder: Path) -> Pool:
    """What `make_pool` wrote."""
    with np.load(folder / "rows.npz") as rows:
        english, source = rows["english"], rows["source"]
    return Pool(
        Packed.load(folder / _ROWS),
        english,
        source,
        Packed.load(folder / _TABLE),
        tuple(json.loads((folder / _ORIGINALS).read_text(encoding="utf-8"))),
        Packed.load(folder / _TEXT),
    )


def draw(
    weights: NDArray[np.float64], lengths: NDArray[np.int64], *, pieces: int, seed: int
) -> NDArray[np.int64]:
    """Rows with about `pieces` pieces together; how often a row comes is its weight's share, to the next whole number.

    :param weights: (N,) how much more often a row is wanted than another; 0: never.
    :raises ValueError: if no row has a weight.
    """
    expected = float((weights * lengths).sum())
    if expected <= 0:
        raise ValueError("nothing to draw from: every sentence has weight 0, or is too long")
    often = weights * (pieces / expected)
    rng = np.random.default_rng(seed)
    times = np.floor(often + rng.random(len(often))).astype(np.int64)
    rows: NDArray[np.int64] = np.repeat(np.arange(len(weights)), times)
    return rng.permutation(rows)
