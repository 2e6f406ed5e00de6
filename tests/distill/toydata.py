"""A small data folder in the layout of ../shared/data, made of sentences of a few patterns, and tiny packed data."""

from __future__ import annotations

import lzma
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from distill.dataset import Packed

NAMES = {
    "en": {
        "PER": ("Ada Byron", "Omar", "Lin Mara", "Tove", "Igor Sand"),
        "ORG": ("Nordbank", "Acme Works", "Radio Kvant", "Velo Club"),
        "LOC": ("Port Alto", "Brenholm", "Lake Sira", "Dunmore"),
    },
    "de": {
        "PER": ("Jutta Holm", "Emil", "Karla Voss", "Uwe"),
        "ORG": ("Nordbank", "Werft AG", "Radio Kvant", "Bund"),
        "LOC": ("Brenholm", "Bad Sulz", "Elbtal", "Köpen"),
    },
    "ru": {
        "PER": ("Анна Лис", "Олег", "Вера Мох", "Ян"),
        "ORG": ("Нордбанк", "Завод Искра", "Радио Квант", "Клуб"),
        "LOC": ("Бренхольм", "Порт Альто", "Дунмор", "Сира"),
    },
}
PATTERNS = {
    "en": ("PER works for ORG in LOC .", "the river near LOC is old .", "ORG hired PER ( 1805 ) .", "PER , of LOC"),
    "de": ("PER arbeitet bei ORG in LOC .", "der Fluss bei LOC ist alt .", "ORG holte PER ( 1805 ) .", "PER , aus LOC"),
    "ru": ("PER работает в ORG в LOC .", "река у LOC старая .", "ORG нанял PER ( 1805 ) .", "PER , из LOC , ушёл"),
}
Tagged = tuple[list[str], list[str]]


def sentences(language: str, count: int, seed: int) -> list[Tagged]:
    """Sentences of tokens and tags."""
    source = random.Random(f"{language} {seed}")
    made = []
    for _ in range(count):
        tokens: list[str] = []
        tags: list[str] = []
        for word in source.choice(PATTERNS[language]).split():
            if word in NAMES[language]:
                name = source.choice(NAMES[language][word]).split()
                tokens += name
                tags += ["B-" + word] + ["I-" + word] * (len(name) - 1)
            else:
                tokens.append(word)
                tags.append("O")
        made.append((tokens, tags))
    return made


def write_conll(path: Path, content: Iterable[tuple[Sequence[str], Sequence[str]]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with lzma.open(path, "wt", encoding="utf-8", newline="\n", preset=0) as file:
        for tokens, tags in content:
            file.writelines(f"{token}\t{tag}\n" for token, tag in zip(tokens, tags, strict=True))
            file.write("\n")


def write_text(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with lzma.open(path, "wt", encoding="utf-8", newline="\n", preset=0) as file:
        file.writelines(line + "\n" for line in lines)


def write_data(root: Path) -> None:
    """WikiANN in three languages, one gold source with MISC, unlabelled text."""
    for at, language in enumerate(NAMES):
        for split, count in (("train", 160), ("dev", 40), ("test", 40)):
            made = sentences(language, count, seed=len(split) + at)
            write_conll(root / "ner" / "wikiann" / language / f"{split}.conll.xz", made)
        lines = [" ".join(tokens) for tokens, _ in sentences(language, 120, seed=99)]
        write_text(root / "text" / f"{language}.txt.xz", lines)
    gold = [(["Omar", "read", "Hamlet", "."], ["B-PER", "O", "B-MISC", "O"])] * 30
    write_conll(root / "ner" / "goldsource" / "en" / "train.conll.xz", gold)


def random_packed(
    lengths: Sequence[int], *, vocabulary: int = 40, seed: int = 0, languages: Sequence[str] = ("en",)
) -> Packed:
    """Examples of given lengths; a piece's tag is its id modulo 7, so that a model can learn it."""
    source = np.random.default_rng(seed)
    ids = source.integers(3, vocabulary, sum(lengths)).astype(np.uint16)
    return Packed(
        ids,
        (ids % 7).astype(np.int8),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        (np.arange(len(lengths)) % len(languages)).astype(np.int16),
        tuple(languages),
    )
