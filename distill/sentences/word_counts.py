"""How often the words of a language occur, and which are forms of which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from distill.sentences.languages import ENGLISH, HAN_LANGUAGES
from distill.sentences.wordwise import lemmas, lemmatizer
from distill.tokenizer import split_words
from onoma.word_table import LONGEST_HAN, is_han

RAREST = 3  # how often a form must occur
LONGEST_FORM = 24


@dataclass(frozen=True)
class Counted:
    """How often each word form of a language occurs, and the lemma of those that are not their own."""

    forms: Mapping[str, int]
    lemmas: Mapping[str, str]


def counted_words(language: str, lines: Iterable[str], dictionary: Collection[str] = ()) -> Counted:
    """The words of a language that occur often enough, with their lemmas where simplemma knows the language.

    :param dictionary: words of a language that is written without spaces: runs of Han signs are counted as these.
    """
    counts: Counter[str] = Counter()
    for words in split_words(lines, lowercase=True, fold_digits=False, han_runs=True):
        counts.update(words)
    if language in HAN_LANGUAGES:
        counts = _han_words(counts, frozenset(word.lower() for word in dictionary))
    often = {word: many for word, many in counts.items() if many >= RAREST}
    forms = {word: many for word, many in often.items() if word[0].isalpha() and len(word) <= LONGEST_FORM}
    lemma_of = lemmatizer(language)
    return Counted(forms, {} if lemma_of is None else _lemmas(forms, language, lemma_of))


def _lemmas(forms: Mapping[str, int], language: str, lemma_of: Callable[[str], str]) -> dict[str, str]:
    found = {}
    for form, many in forms.items():
        lemma = lemma_of(form)
        if language == ENGLISH and lemma not in forms:
            lemma = next((one for one in lemmas(form) if one != form and forms.get(one, 0) >= many // 5 + 2), form)
        if lemma != form:
            found[form] = lemma
    return found


def _han_words(counts: Counter[str], dictionary: Collection[str]) -> Counter[str]:
    """Runs of Han signs as the dictionary's words; what only stands within longer words counts for those."""
    found = Counter({word: many for word, many in counts.items() if not (is_han(word[0]) and len(word) > 1)})
    han: Counter[str] = Counter()
    for run, many in counts.items():
        if is_han(run[0]):
            for part in _parts(run, range(2, LONGEST_HAN + 1)):
                if part in dictionary:
                    han[part] += many
    for word, many in list(han.items()):
        for part in _parts(word, range(2, len(word))):
            if part in han:
                han[part] -= many
    found.update({word: many for word, many in han.items() if many > 0})
    return found


def _parts(run: str, sizes: range) -> Iterator[str]:
    for size in sizes:
        for at in range(len(run) - size + 1):
            yield run[at : at + size]
