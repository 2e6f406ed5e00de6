"""A small similarity/ folder: STS-B rows and Tatoeba lines in the form of the real ones."""

from __future__ import annotations

import csv
import io
import lzma
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill.sentences.splits import STS_LANGUAGES, STS_SPLITS

Row = tuple[str, str, float]

THINGS = "cat dog house river train letter garden window doctor market".split()
DEEDS = "sleeps runs waits falls shines breaks moves sings".split()


def sentence(language: str, thing: int, deed: int) -> str:
    """A sentence of a made-up language: English words with the language's name before them."""
    prefix = "" if language == "en" else language
    return f"{prefix}the {prefix}{THINGS[thing % 10]} {prefix}{DEEDS[deed % 8]}"


def rows(language: str, count: int = 24) -> list[Row]:
    """Pairs that share both words, one, or none, with scores to match; the same rows in every language."""
    made = []
    for at in range(count):
        thing, deed = at, 3 * at + 1
        other = [(thing, deed), (thing, deed + 1), (thing + 1, deed), (thing + 3, deed + 2)][at % 4]
        score = (5.0, 3.4, 2.6, 0.2)[at % 4]
        made.append((sentence(language, thing, deed), sentence(language, *other), score))
    return made


def write_sts(root: Path, by_language: Mapping[str, Sequence[Row]], split: str) -> None:
    folder = root / "similarity" / "stsb_multi_mt"
    folder.mkdir(parents=True, exist_ok=True)
    for language, own in by_language.items():
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(own)
        with lzma.open(folder / f"stsb-{language}-{split}.csv.xz", "wt", encoding="utf-8", newline="") as file:
            file.write(text.getvalue())


def write_tatoeba(root: Path, language: str, lines: Sequence[tuple[str, str]]) -> None:
    folder = root / "similarity" / "tatoeba"
    folder.mkdir(parents=True, exist_ok=True)
    with lzma.open(folder / f"{language}-en.tsv.xz", "wt", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{sentence}\t{english}\n" for sentence, english in lines)


def write_similarity(root: Path) -> None:
    """All 11 languages of STS-B in all splits, and three of Tatoeba."""
    for split in STS_SPLITS:
        write_sts(root, {language: rows(language, 40) for language in STS_LANGUAGES}, split)
    pairs = [(thing, deed) for thing in range(10) for deed in range(8)]
    for language in ("de", "fr", "eo"):
        write_tatoeba(root, language, [(sentence(language, *pair), sentence("en", *pair)) for pair in pairs])


def bag(texts: Sequence[str]) -> NDArray[np.float32]:
    """Sentences as bags of letters: alike in every language of the made-up data."""
    return np.array([[text.count(chr(97 + at)) for at in range(26)] for text in texts], dtype=np.float32)
