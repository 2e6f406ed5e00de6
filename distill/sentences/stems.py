"""Beginnings of words that stand for all their forms, so that a form that no text has is still known.

A word of Polish or Russian has dozens of forms, most of which a small text lacks; simplemma lists them. A table of all
is too large, but forms of one word hardly differ but in their ends: one entry, the beginning that they share, finds all
of them, and often what is derived from the word as well, which has no other place to go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby
from os.path import commonprefix

from simplemma.strategies.dictionaries.dictionary_factory import DefaultDictionaryFactory

from distill.sentences.wordwise import simplemma_code
from onoma.word_table import INFLECTED, SHORTEST_STEM, SURE_STEM, stem_keys, without_accents

MOST = 0.75  # of the forms with a beginning must be of one word
_FACTORY = DefaultDictionaryFactory(cache_max_size=1)


def known_forms(language: str) -> Iterator[tuple[str, str]]:
    """All forms that simplemma knows of a language with their lemmas, in lower case; none if it does not know it."""
    code = simplemma_code(language)
    if code is not None:
        for form, lemma in _FACTORY.get_dictionary(code).items():
            if form.isalpha():
                yield form.lower(), lemma.lower()


def short_beginnings(form: str) -> list[str]:
    """Those that only stand for a word where few other forms of the language begin so."""
    bare = without_accents(form)
    return [bare[:size] for size in range(SHORTEST_STEM, min(SURE_STEM, len(bare) + 1))]


def stems_of(named: Mapping[str, str], others: Mapping[str, int]) -> dict[str, str]:
    """Few beginnings of at least SHORTEST_STEM letters that tell what most forms are called.

    :param named: forms with their names.
    :param others: how many other forms have each of `short_beginnings`.
    :return: beginnings without accents, with the name of the forms that begin so; the longest counts.
    """
    bare = {without_accents(form): name for form, name in named.items()}
    found: dict[str, str] = {}
    _solve(sorted(bare.items()), SHORTEST_STEM, "", others, found)
    return found


def told_by(form: str, stems: Mapping[str, str]) -> str | None:
    """What the longest of the beginnings, written with `*`, says of a form."""
    bare = without_accents(form)
    return next((stems[stem] for stem in stem_keys(bare, INFLECTED) if stem in stems), None)


def _solve(
    forms: list[tuple[str, str]], depth: int, inherited: str, others: Mapping[str, int], found: dict[str, str]
) -> None:
    """Find the beginnings of sorted forms that share fewer letters than `depth`."""
    for stem, group in groupby((one for one in forms if len(one[0]) >= depth), key=lambda one: one[0][:depth]):
        some = list(group)
        tally = Counter(name for _, name in some)
        name, many = tally.most_common(1)[0]
        here = inherited
        if name != here and len(some) > 1 and many >= MOST * (len(some) + others.get(stem, 0)):
            shared = commonprefix([form for form, own in some if own == name])
            if len(tally) == 1 or shared == stem:
                found[shared] = here = name
        if len(tally) > 1 or name != here:
            _solve(some, depth + 1, here, others, found)
