"""What the embedding of each word is called: those of one name share it (distill.sentences.vocabulary says why)."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from distill.sentences.languages import ENGLISH, HAN_LANGUAGES
from distill.sentences.splits import STS_LANGUAGES
from distill.sentences.stems import known_forms, short_beginnings, stems_of, told_by
from distill.sentences.word_counts import LONGEST_FORM, Counted
from distill.sentences.wordwise import FUNCTION, lemmas, lemmatizer
from onoma.word_table import ANY_ENDING, LONGEST_HAN, is_han, without_accents

# A word that several languages have is the one's in which it is most frequent, times this.
ENGLISH_FIRST, FOCUS_FIRST = 10.0, 3.0
# Those that one writes most, which no language has for itself.
NUMBERS = (
    *map(str, (*range(101), *range(150, 1001, 50), *range(1900, 2031))),
    *(f"0{digit}" for digit in range(10)),
)
EMPTY = 0.01  # how fit a translation is that other languages leave out

Forms = Callable[[str], Iterable[tuple[str, str]]]


@dataclass(frozen=True)
class Quotas:
    """How many embeddings of their own words get.

    :param english: lemmas of English that the teacher has no piece for.
    :param frequent: most frequent lemmas of each other language that similarity is judged in.
    :param untranslated: lemmas of such a language beyond these, for which there is no translation.
    :param dictionary: lemmas of another language with a dictionary, of either kind.
    :param other: lemmas of any other language.
    :param unseen: words of dictionaries that no text has are taken for English words that occur so often.
    """

    english: int = 3500
    frequent: int = 1000
    untranslated: int = 1000
    dictionary: int = 300
    other: int = 90
    unseen: int = 40


def owners(counted: Mapping[str, Counted]) -> dict[str, str]:
    """The language of each word form: that in which it is most frequent, English and those of the focus first."""
    rates: dict[str, tuple[float, str]] = {}
    for language, own in counted.items():
        first = ENGLISH_FIRST if language == ENGLISH else FOCUS_FIRST if language in STS_LANGUAGES else 1.0
        share = first / max(1, sum(own.forms.values()))
        for form, many in own.forms.items():
            if many * share > rates.get(form, (0.0, ""))[0]:
                rates[form] = (many * share, language)
    return {form: language for form, (_, language) in rates.items()}


def best_translations(
    pairs: Iterable[tuple[str, str]], english: Mapping[str, int], forms: Mapping[str, str]
) -> dict[str, str]:
    """The English lemma for each word: a frequent one that translates few other words.

    :param pairs: words and their English translations.
    :param english: how often each English lemma occurs; others do not count.
    :param forms: lemmas of English forms.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for word, translation in pairs:
        if (lemma := _english_lemma(translation.lower(), english, forms)) is not None:
            found[word.lower()].add(lemma)
    times = Counter(lemma for words in found.values() for lemma in words)

    def fitness(lemma: str) -> float:
        return math.sqrt(english[lemma]) / times[lemma] * (EMPTY if lemma in FUNCTION else 1)

    return {word: max(sorted(words), key=fitness) for word, words in found.items()}


def _english_lemma(word: str, english: Mapping[str, int], forms: Mapping[str, str]) -> str | None:
    if " " in word:
        return None
    return next((one for one in (forms.get(word, word), *lemmas(word)) if one in english), None)


def named_words(
    counted: Mapping[str, Counted],
    dictionaries: Mapping[str, Sequence[tuple[str, str]]],
    quotas: Quotas,
    known: Collection[str] = (),
    forms: Forms = known_forms,
) -> dict[str, str]:
    """Each word of the vocabulary with the name of its embedding, `LANGUAGE lemma`; and each beginning of words.

    :param counted: the words of each language; English is one of them.
    :param dictionaries: of each language that has one, words with an English translation.
    :param known: words of the teacher.
    :param forms: all forms of a language with their lemmas.
    """
    own = _with_known(counted[ENGLISH], known)
    everything: Counter[str] = Counter()
    for form, many in own.forms.items():
        everything[own.lemmas.get(form, form)] += many
    others = Counter({lemma: many for lemma, many in everything.items() if lemma not in known})
    english = {lemma: many for lemma, many in everything.items() if lemma in known}
    english |= dict(others.most_common(quotas.english))
    owner = owners({**counted, ENGLISH: own})
    named = {
        form: f"{ENGLISH} {own.lemmas.get(form, form)}"
        for form in own.forms if owner[form] == ENGLISH and own.lemmas.get(form, form) in english
    }
    named |= {number: f"{ENGLISH} {number}" for number in NUMBERS}
    stems: dict[str, str] = {}
    for language, found in sorted(counted.items(), key=lambda item: item[0] in STS_LANGUAGES):
        if language == ENGLISH:
            names = {lemma: f"{ENGLISH} {lemma}" for lemma in english}
            _add_forms(language, forms(language), lemmas=names, words=named, stems=stems, owner=owner)
            continue
        best = best_translations(dictionaries.get(language, ()), english, own.lemmas)
        names = _lemma_names(language, found, best, quotas)
        theirs = _of_language(language, found, best, names, owner)
        if language in STS_LANGUAGES:
            for word, lemma in best.items():
                if english[lemma] >= quotas.unseen and word not in owner and word not in named and _fit(word, language):
                    theirs[word] = f"{ENGLISH} {lemma}"
        names = {word: f"{ENGLISH} {lemma}" for word, lemma in best.items()} | names
        _add_forms(language, forms(language), lemmas=names, words=theirs, stems=stems, owner=owner)
        named |= theirs
    return named | stems


def _add_forms(
    language: str,
    known: Iterable[tuple[str, str]],
    *,
    lemmas: Mapping[str, str],
    words: dict[str, str],
    stems: dict[str, str],
    owner: Mapping[str, str],
) -> None:
    """Add the beginnings that a language's forms share, and forms of frequent words of the focus that have none.

    What the beginnings tell as well is taken out of the words again.

    :param known: all forms of the language with their lemmas.
    :param lemmas: with the names of their embeddings.
    :param words: of the language, with the names of their embeddings; changed.
    :param stems: of all languages so far; changed.
    :param owner: the language of each form that a text has.
    """
    forms, others = {}, Counter[str]()
    for form, lemma in known:
        if name := words.get(form, lemmas.get(lemma, "")):
            forms[form] = name
        else:
            others.update(short_beginnings(form))
    if not forms:
        return
    found = {stem + ANY_ENDING: name for stem, name in stems_of({**words, **forms}, others).items()}
    stems |= found
    for form, name in forms.items():
        told = told_by(form, found)
        if told != name and form not in owner:
            if language in STS_LANGUAGES and name.startswith(f"{language} ") and len(form) <= LONGEST_FORM:
                words[form] = name
        elif told == name and lemmas.get(form) != name and without_accents(form) == form:
            words.pop(form, None)


def _with_known(english: Counted, known: Collection[str]) -> Counted:
    """English with the teacher's words that no text has; only those of its forms have lemmas that it knows as well."""
    lemma_of = lemmatizer(ENGLISH)
    assert lemma_of is not None
    unseen = [word for word in known if word.isalpha() and word not in english.forms]
    lemmas = {word: lemma for word in unseen if (lemma := lemma_of(word)) != word and lemma in known}
    return Counted({**english.forms, **dict.fromkeys(unseen, 1)}, {**english.lemmas, **lemmas})


def _lemma_names(language: str, found: Counted, best: Mapping[str, str], quotas: Quotas) -> dict[str, str]:
    """The name of the embedding of each lemma that gets one, by how often it occurs."""
    often: Counter[str] = Counter()
    for form, many in found.forms.items():
        often[found.lemmas.get(form, form)] += many
    focus = language in STS_LANGUAGES
    most = quotas.frequent if focus else quotas.dictionary if best else quotas.other
    left = quotas.untranslated if focus else quotas.dictionary if best else 0
    names: dict[str, str] = {}
    for at, (lemma, _) in enumerate(often.most_common()):
        if at < most:
            names[lemma] = f"{language} {lemma}"
        elif lemma in best and not one_sign(lemma):
            names[lemma] = f"{ENGLISH} {best[lemma]}"
        elif left > 0:
            names[lemma] = f"{language} {lemma}"
            left -= 1
    return names


def _of_language(
    language: str, found: Counted, best: Mapping[str, str], names: Mapping[str, str], owner: Mapping[str, str]
) -> dict[str, str]:
    named = {}
    for form in found.forms:
        lemma = found.lemmas.get(form, form)
        if owner[form] != language:
            continue
        frequent = names.get(lemma, "").startswith(f"{language} ")
        if form != lemma and form in best and not frequent and not one_sign(form):
            named[form] = f"{ENGLISH} {best[form]}"  # an entry of its own
        elif lemma in names:
            named[form] = names[lemma]
    return named


def one_sign(word: str) -> bool:
    """Whether it is one Han character, which stands in many words."""
    return len(word) == 1 and is_han(word)


def _fit(word: str, language: str) -> bool:
    if language in HAN_LANGUAGES:
        return 1 < len(word) <= LONGEST_HAN and all(map(is_han, word))
    return " " not in word and word[:1].isalpha() and len(word) <= LONGEST_FORM
