"""Which parallel sentences are for training and which are kept for judging.

A sentence and all its translations lie in one part: the part is decided by the English sentence alone.
"""

from __future__ import annotations

import csv
import hashlib
import lzma
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from distill.corpora import data_root

Part = Literal["train", "dev", "test"]

DEV_SHARE, TEST_SHARE = 0.1, 0.2
STS_LANGUAGES = ("de", "en", "es", "fr", "it", "ja", "nl", "pl", "pt", "ru", "zh")
STS_SPLITS: tuple[Part, ...] = ("train", "dev", "test")


class ScoredPair(NamedTuple):
    """A row of STS-B: two sentences of one language, and how alike people found them, from 0 to 5."""

    first: str
    second: str
    score: float


class Translation(NamedTuple):
    """A line of Tatoeba."""

    sentence: str
    english: str


def folded(sentence: str) -> str:
    """What makes two sentences the same here: NFKC, lower case, each run of white space as one space."""
    return " ".join(unicodedata.normalize("NFKC", sentence).lower().split())


def part_of(english: str) -> Part:
    """The part of an English sentence and its translations: 10 % are dev, 20 % test; the same on every machine."""
    digest = hashlib.sha256(folded(english).encode("utf-8")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < DEV_SHARE:
        return "dev"
    return "test" if place < DEV_SHARE + TEST_SHARE else "train"


def similarity_root() -> Path:
    """The folder of the similarity data: similarity/ below ONOMA_DATA.

    :raises FileNotFoundError: if it is not there.
    """
    root = data_root() / "similarity"
    if not root.is_dir():
        raise FileNotFoundError(f"no similarity data at {root}: set ONOMA_DATA to the folder that holds similarity/")
    return root


def sts_path(language: str, split: Part) -> Path:
    """File of the STS-B rows of one language and split."""
    return similarity_root() / "stsb_multi_mt" / f"stsb-{language}-{split}.csv.xz"


def tatoeba_path(language: str) -> Path:
    """File of the Tatoeba lines of one language with English."""
    return similarity_root() / "tatoeba" / f"{language}-en.tsv.xz"


def read_sts(language: str, split: Part) -> list[ScoredPair]:
    """STS-B in one language; row i is the same pair in every language.

    :raises FileNotFoundError: if there is no such language or split.
    :raises ValueError: if a row has not three fields, or its score is not in 0..5; names the file and the row.
    """
    path = sts_path(language, split)
    pairs = []
    with lzma.open(path, "rt", encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if len(row) != 3:
                raise ValueError(f"{path} row {number}: expected sentence1,sentence2,score, got {len(row)} fields")
            score = float(row[2])
            if not 0 <= score <= 5:
                raise ValueError(f"{path} row {number}: a score must be in 0..5, got {row[2]}")
            pairs.append(ScoredPair(row[0], row[1], score))
    return pairs


def tatoeba_languages() -> list[str]:
    """Languages with a Tatoeba file, sorted."""
    return sorted(path.name.removesuffix("-en.tsv.xz") for path in (similarity_root() / "tatoeba").glob("*-en.tsv.xz"))


def read_tatoeba(language: str, part: Part) -> list[Translation]:
    """Tatoeba's lines of one language with English, of one part.

    :raises FileNotFoundError: if there is no such language.
    :raises ValueError: if a line has not two fields; names the file and the line.
    """
    path = tatoeba_path(language)
    found = []
    with lzma.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, 1):
            sentence, tab, english = line.rstrip("\n").partition("\t")
            if not tab or "\t" in english:
                raise ValueError(f"{path} line {number}: expected sentence<TAB>English, got {line!r}")
            if part_of(english) == part:
                found.append(Translation(sentence, english))
    return found


@lru_cache(maxsize=1)
def reserved() -> frozenset[str]:
    """Sentences, `folded`, that no training may see, whatever file they stand in: on either side of a pair.

    They are all of STS-B, in every language and split, and both sides of the dev and test lines of Tatoeba.
    """
    found = set()
    for language in STS_LANGUAGES:
        for split in STS_SPLITS:
            for pair in read_sts(language, split):
                found |= {folded(pair.first), folded(pair.second)}
    for language in tatoeba_languages():
        for part in ("dev", "test"):
            for sentence, english in read_tatoeba(language, part):
                found |= {folded(sentence), folded(english)}
    return frozenset(found)
