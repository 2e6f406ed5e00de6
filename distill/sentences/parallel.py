"""Parallel text: sentences with their English translations, without anything that is kept for judging.

Tatoeba (its train lines), NTREX-128 (news), MASSIVE (what one says to an assistant, aligned by id), and where they have
been fetched the names of everyday things from CLDR and the words of dictionaries. Nothing that
distill.sentences.splits reserves is given to anyone, neither a pair nor a line of text.
"""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from distill.corpora import read_text, text_path
from distill.sentences.annotations import annotation_pairs, annotation_paths
from distill.sentences.dictionaries import english_words
from distill.sentences.languages import ENGLISH, LANGUAGES, file_codes, ntrex_codes
from distill.sentences.splits import STS_LANGUAGES, folded, read_tatoeba, reserved, similarity_root, tatoeba_path
from onoma.bundle import sha256

Source = Literal["tatoeba", "ntrex", "massive", "cldr", "dictionary", "wordwise"]
SOURCES: tuple[Source, ...] = ("tatoeba", "ntrex", "massive", "cldr", "dictionary", "wordwise")
LICENCES = {
    "tatoeba": "CC BY 2.0 FR",
    "ntrex": "CC BY-SA 4.0",
    "massive": "CC BY 4.0",
    "cldr": "Unicode-3.0",
    "dictionary": "CC BY-SA 3.0 (WikDict, JMdict), CC BY-SA 4.0 (CC-CEDICT)",
    "forms": "Open Database License, CC BY-SA and others: those of the lists in simplemma",
    "text": "see the README of the data",
}


class Pair(NamedTuple):
    """A sentence and its English translation."""

    sentence: str
    english: str


def _lines(path: Path) -> list[str]:
    with lzma.open(path, "rt", encoding="utf-8", newline="\n") as file:
        return [line.rstrip("\n") for line in file]


def _massive_path(code: str) -> Path:
    return similarity_root() / "massive" / f"{code}.tsv.xz"


def _ntrex_path(code: str) -> Path:
    return similarity_root() / "ntrex128" / f"{code}.txt.xz"


@lru_cache(maxsize=4)
def _utterances(path: Path) -> dict[str, str]:
    """MASSIVE's utterances by id; the first line names the columns."""
    rows = (line.split("\t") for line in _lines(path)[1:])
    return {row[0]: row[2] for row in rows}


@lru_cache(maxsize=1)
def _news(path: Path) -> list[str]:
    return _lines(path)


def paths_of(
    source: Source, language: str, *, annotations: Path | None = None, dictionaries: Path | None = None
) -> list[Path]:
    """The files of a source in a language; none where it has none.

    :param annotations: where CLDR's are (None: there are none).
    :param dictionaries: what `onoma dictionaries` wrote, for all languages (None: there are none).
    """
    match source:
        case "tatoeba":
            named = [tatoeba_path(code) for code in file_codes(language)]
        case "ntrex":
            named = [_ntrex_path(code) for code in ntrex_codes(language)]
        case "massive":
            named = [_massive_path(code) for code in file_codes(language)] if language != ENGLISH else []
        case "cldr":
            named = annotation_paths(annotations, language) if annotations and language != ENGLISH else []
        case "dictionary":
            named = [dictionaries] if dictionaries and language != ENGLISH else []
        case "wordwise":
            named = []  # made of the others: distill.sentences.wordwise
    return [path for path in named if path.exists()]


def _all_pairs(source: Source, path: Path, language: str) -> Iterator[Pair]:
    match source:
        case "tatoeba":
            for one in read_tatoeba(path.name.removesuffix("-en.tsv.xz"), "train"):
                yield Pair(*one)
        case "ntrex":
            for sentence, english in zip(_lines(path), _news(_ntrex_path("eng")), strict=True):
                yield Pair(sentence, english)
        case "massive":
            originals = _utterances(_massive_path(ENGLISH))
            for key, utterance in _utterances(path).items():
                if key in originals:
                    yield Pair(utterance, originals[key])
        case "cldr":
            for name, english in annotation_pairs(path):
                yield Pair(name, english)
        case "dictionary":
            for word, english in english_words(path, language):
                yield Pair(word, english)
        case "wordwise":
            return


def read_pairs(
    source: Source, language: str, *, annotations: Path | None = None, dictionaries: Path | None = None
) -> list[Pair]:
    """Each pair of a source in a language once, without reserved sentences and without untranslated ones.

    :raises ValueError: if a file of NTREX-128 has not a line for each English one.
    """
    kept = reserved()
    found = dict.fromkeys(
        pair
        for path in paths_of(source, language, annotations=annotations, dictionaries=dictionaries)
        for pair in _all_pairs(source, path, language)
        if pair.sentence.strip() and pair.english.strip()
        and folded(pair.english) not in kept and folded(pair.sentence) not in kept
        and (language == ENGLISH or folded(pair.sentence) != folded(pair.english))
    )
    return list(found)


def read_lines(language: str, limit: int | None = None) -> Iterator[str]:
    """Unlabelled lines of a language, at most `limit`, without reserved ones."""
    kept, left = reserved(), limit
    for code in file_codes(language):
        for line in read_text(code):
            if left is not None and left <= 0:
                return
            if folded(line) not in kept:
                yield line
                left = None if left is None else left - 1


def encoder_texts(
    *,
    languages: Sequence[str] = LANGUAGES,
    text_bytes: int,
    other_bytes: int,
    massive: int = 3_000,
    english: int = 3,
    annotations: Path | None = None,
) -> Iterator[str]:
    """What a sentence encoder's tokenizer is trained on: parallel text, and text that widens the vocabulary.

    :param text_bytes: of unlabelled text, for each language that sentence similarity is judged in.
    :param other_bytes: for each other language.
    :param massive: utterances of MASSIVE for each language: they say the same few things again and again.
    :param english: how often as much unlabelled text there is of English.
    :param annotations: where CLDR's names are, if they are wanted.
    """
    for language in languages:
        for source in SOURCES:
            pairs = read_pairs(source, language, annotations=annotations)
            for pair in pairs[: massive if source == "massive" else None]:
                yield pair.sentence
        room = text_bytes if language in STS_LANGUAGES else other_bytes
        room *= english if language == ENGLISH else 1
        for line in read_lines(language):
            room -= len(line.encode())
            if room < 0:
                break
            yield line


def parallel_hashes(
    languages: Sequence[str] = LANGUAGES, *, annotations: Path | None = None, dictionaries: Path | None = None
) -> dict[str, str]:
    """For each source, the SHA-256 over the hashes of its files in these languages: for log, model and bundle."""
    named: dict[str, list[Path]] = {
        source: list(dict.fromkeys(
            path
            for language in languages
            for path in paths_of(source, language, annotations=annotations, dictionaries=dictionaries)
        ))
        for source in SOURCES
    }
    named["text"] = [
        path for language in languages for code in file_codes(language) if (path := text_path(code)).exists()
    ]
    named["reserved"] = sorted((similarity_root() / "stsb_multi_mt").glob("*.xz"))
    return {
        name: hashlib.sha256("".join(sha256(path) for path in paths).encode()).hexdigest()
        for name, paths in named.items() if paths
    }
