"""English sentences put into other languages word by word, with open dictionaries: what little parallel text lacks.

A dictionary's words as examples of their own teach little: each is a whole sentence to the loss. In sentences they have
their natural weight, and the teacher's vector of the English is right whatever the order of the words. A dictionary has
lemmas; which forms of them occur is taken from text (simplemma), so `play` becomes spielt and spielen as often as one
writes them.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplemma
from simplemma.strategies.dictionaries.dictionary_factory import SUPPORTED_LANGUAGES

from distill.sentences.dictionaries import english_pairs
from distill.sentences.languages import ENGLISH
from distill.sentences.parallel import Pair, Source, read_lines, read_pairs
from distill.sentences.splits import folded, reserved

# What other languages leave out, or say by endings; real pairs teach these few.
FUNCTION = frozenset(
    "a an the is are was were be been being am 's 're 'm to of do does did ' s t will would shall has have had".split()
)
CODES = {"no": "nb", "hr": "hbs", "bs": "hbs", "sr": "hbs"}  # simplemma's names
WITHOUT_SPACES = frozenset({"ja", "zh", "th", "km", "my"})
LONGEST_WORD = 4  # signs of a word, where words are not told apart by spaces
SHORTEST, LONGEST = 3, 30  # words of a sentence
REAL: tuple[Source, ...] = ("tatoeba", "ntrex", "massive")
TRANSLATED = 0.75  # of a sentence's words at least, or it is left out
FORMS = 12  # of one English word: the rest are rare
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|\d+|[^\w\s]")


@dataclass(frozen=True)
class Lexicon:
    """The forms that an English word may have in another language, and how likely each is."""

    language: str
    forms: Mapping[str, tuple[Sequence[str], np.ndarray]]

    def find(self, word: str) -> tuple[Sequence[str], np.ndarray] | None:
        """The forms of an English word, or of its lemma."""
        low = word.lower()
        for candidate in lemmas(low):
            if (found := self.forms.get(candidate)) is not None:
                return found
        return None


def lemmas(word: str) -> Iterable[str]:
    """A lower-case English word, then what it may be a form of, the likeliest first."""
    yield word
    known = simplemma.lemmatize(word, lang=ENGLISH)
    if known != word:
        yield known.lower()
    for ending, instead in (
        ("ies", "y"), ("ied", "y"), ("es", ""), ("s", ""), ("ed", ""), ("ed", "e"), ("ing", ""), ("ing", "e"),
        ("er", ""), ("est", ""), ("ly", ""),
    ):  # fmt: skip
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            stem = word.removesuffix(ending)
            yield stem + instead
            if len(stem) > 3 and stem[-1] == stem[-2]:  # running, stopped
                yield stem[:-1]


def simplemma_code(language: str) -> str | None:
    """Simplemma's name of a language, if it knows it."""
    code = CODES.get(language, language)
    return code if code in SUPPORTED_LANGUAGES else None


def lemmatizer(language: str) -> Callable[[str], str] | None:
    """From a form to its lemma in lower case; nothing for a language that simplemma does not know."""
    code = simplemma_code(language)
    return None if code is None else lambda form: simplemma.lemmatize(form, lang=code).lower()


def words_in(line: str) -> list[str]:
    """Words, numbers and signs of a line."""
    return _WORD.findall(line)


def counted(lines: Iterable[str], language: str) -> Counter[str]:
    """How often each lower-case word occurs; runs of up to 4 signs where a language has no spaces."""
    found: Counter[str] = Counter()
    for line in lines:
        low = line.lower()
        if language in WITHOUT_SPACES:
            for size in range(1, LONGEST_WORD + 1):
                found.update(low[at : at + size] for at in range(len(low) - size + 1))
        else:
            found.update(words_in(low))
    return found


def make_lexicon(dictionaries: Path, language: str, lines: Iterable[str]) -> Lexicon:
    """The lexicon of a language: what dictionaries give for English words, in the forms that its text has.

    A form is as likely as the root of how often it occurs, and less so if it translates many English words.
    """
    pairs = english_pairs(dictionaries, language)
    counts = counted(lines, language)
    english_of: dict[str, set[str]] = defaultdict(set)
    for word, english in pairs:
        if " " not in english:
            english_of[word.lower()].add(english.lower())
    forms_of: dict[str, set[str]] = defaultdict(set)
    if (lemma_of := lemmatizer(language)) is not None:
        for form, many in counts.items():
            if many > 1 and form[0].isalpha():
                lemma = lemma_of(form)
                if lemma != form and lemma in english_of:
                    forms_of[lemma].add(form)
    weights: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for word, many_english in english_of.items():
        for form in {word, *forms_of.get(word, ())}:
            often = counts[form] if " " not in form else 0
            # What is itself an entry is not only a form of another.
            shared = len(many_english) + (len(english_of[form]) if form != word and form in english_of else 0)
            for english in many_english:
                weights[english][form] += math.sqrt(often + 0.1) / shared
    ready = {}
    for english, found in weights.items():
        best = sorted(found.items(), key=lambda item: -item[1])[:FORMS]
        total = sum(weight for _, weight in best)
        ready[english] = ([form for form, _ in best], np.cumsum([weight / total for _, weight in best]))
    return Lexicon(language, ready)


def translated(line: str, lexicon: Lexicon, rng: np.random.Generator) -> str | None:
    """A line word by word, or nothing where too few of its words are known."""
    words = words_in(line)
    wanted = known = 0
    found: list[str] = []
    draws = rng.random(len(words))
    for at, word in enumerate(words):
        low = word.lower()
        if low in FUNCTION:
            continue
        if not word[0].isalpha():
            found.append(word)
            continue
        if (forms := lexicon.find(low)) is not None:
            choices, up_to = forms
            found.append(choices[min(int(np.searchsorted(up_to, draws[at])), len(choices) - 1)])
            wanted, known = wanted + 1, known + 1
        elif at and word[0].isupper():
            found.append(word)  # a name; other scripts often leave it as it is as well
        else:
            wanted += 1
    if not known or known < TRANSLATED * wanted:
        return None
    return ("" if lexicon.language in ("ja", "zh") else " ").join(found)


def wordwise_pairs(sentences: Sequence[str], language: str, dictionaries: Path, *, seed: int = 1) -> list[Pair]:
    """English sentences put into a language word by word: those of a length that one says, and of known words.

    Nothing for a language without a dictionary, and for English.
    """
    if language == ENGLISH or not english_pairs(dictionaries, language):
        return []
    text = [*read_lines(language), *(pair.sentence for name in REAL for pair in read_pairs(name, language))]
    lexicon = make_lexicon(dictionaries, language, text)
    rng, kept = np.random.default_rng(seed), reserved()
    found = []
    for sentence in sentences:
        if SHORTEST <= len(sentence.split()) <= LONGEST:
            other = translated(sentence, lexicon, rng)
            if other is not None and folded(other) not in kept:
                found.append(Pair(other, sentence))
    return found
