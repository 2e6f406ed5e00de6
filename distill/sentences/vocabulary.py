"""A vocabulary of words for a sentence encoder, where words of several languages share one embedding.

What makes a small encoder good across languages is that it knows words, not how they are spelled in pieces: `pferd` as
`p`, `fer`, `d` has a meaning only for a model with layers and much to learn from. But whole words of many languages, in
all their forms, are too many embeddings, and most are too rare in little parallel text to learn one. So forms of a word
share that of its lemma (simplemma), and a word that is not among its language's most frequent shares that of its
English translation (dictionaries): what the teacher knows of `guitar` holds for guitarra, Gitarren and гитаре from the
start. The most frequent words have an embedding of their own: they mean many things, and there is text enough to learn
which.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from distill.sentences.dictionaries import english_pairs
from distill.sentences.languages import ENGLISH, LANGUAGES
from distill.sentences.parallel import Source, read_lines, read_pairs
from distill.sentences.pool import spread
from distill.sentences.splits import STS_LANGUAGES
from distill.sentences.wordwise import FUNCTION, REAL, lemmas, lemmatizer, wordwise_pairs
from distill.tokenizer import SPECIALS, build_tokenizer, piece_scores, split_words
from onoma.word_table import LONGEST_HAN, MARK, WordTable, is_han

HAN_LANGUAGES = ("ja", "zh")
RAREST = 3  # how often a form must occur
LONGEST_FORM = 24
SPOKEN: dict[Source, int] = {"tatoeba": 12, "cldr": 15, "ntrex": 2, "massive": 1}  # how often each sentence counts
ASSISTANT_SHARE = 4  # one in so many sentences of MASSIVE, which says the same few things
# A word that several languages have is the one's in which it is most frequent, times this.
ENGLISH_FIRST, FOCUS_FIRST = 10.0, 3.0
# Those that one writes most, which no language has for itself.
NUMBERS = (
    *map(str, (*range(101), *range(150, 1001, 50), *range(1900, 2031))),
    *(f"0{digit}" for digit in range(10)),
)
EMPTY = 0.01  # how fit a translation is that other languages leave out


@dataclass(frozen=True)
class Quotas:
    """How many embeddings of their own words get.

    :param english: lemmas of English.
    :param frequent: most frequent lemmas of each other language that similarity is judged in.
    :param untranslated: lemmas of such a language beyond these, for which there is no translation.
    :param dictionary: lemmas of another language with a dictionary, of either kind.
    :param other: lemmas of any other language.
    :param unseen: words of dictionaries that no text has are taken for English words that occur so often.
    """

    english: int = 19_000
    frequent: int = 1000
    untranslated: int = 1500
    dictionary: int = 300
    other: int = 90
    unseen: int = 20


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


class Vocabulary(NamedTuple):
    """Words, and the embedding that each has.

    :param table: the tokenizer with its words.
    :param names: (V,) what each embedding is of: `LANGUAGE lemma`, ` piece`, or nothing.
    """

    table: WordTable
    names: tuple[str, ...]


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
    counted: Mapping[str, Counted], dictionaries: Mapping[str, Sequence[tuple[str, str]]], quotas: Quotas
) -> dict[str, str]:
    """Each word of the vocabulary with the name of its embedding, `LANGUAGE lemma`.

    :param counted: the words of each language; English is one of them.
    :param dictionaries: of each language that has one, words with an English translation.
    """
    own = counted[ENGLISH]
    everything: Counter[str] = Counter()
    for form, many in own.forms.items():
        everything[own.lemmas.get(form, form)] += many
    english = dict(everything.most_common(quotas.english))
    owner = owners(counted)
    named = {
        form: f"{ENGLISH} {own.lemmas.get(form, form)}"
        for form in own.forms if owner[form] == ENGLISH and own.lemmas.get(form, form) in english
    }
    named |= {number: f"{ENGLISH} {number}" for number in NUMBERS}
    for language, found in counted.items():
        if language != ENGLISH:
            best = best_translations(dictionaries.get(language, ()), english, own.lemmas)
            named |= _of_language(language, found, best, owner, quotas)
            if language in STS_LANGUAGES:
                unseen = [word for word, lemma in best.items() if english[lemma] >= quotas.unseen]
                for word in unseen:
                    if word not in owner and word not in named and _fit(word, language):
                        named[word] = f"{ENGLISH} {best[word]}"
    return named


def _of_language(
    language: str, found: Counted, best: Mapping[str, str], owner: Mapping[str, str], quotas: Quotas
) -> dict[str, str]:
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
        elif lemma in best and not _one_sign(lemma):
            names[lemma] = f"{ENGLISH} {best[lemma]}"
        elif left > 0:
            names[lemma] = f"{language} {lemma}"
            left -= 1
    named = {}
    for form in found.forms:
        lemma = found.lemmas.get(form, form)
        if owner[form] != language:
            continue
        frequent = names.get(lemma, "").startswith(f"{language} ")
        if form != lemma and form in best and not frequent and not _one_sign(form):
            named[form] = f"{ENGLISH} {best[form]}"  # an entry of its own
        elif lemma in names:
            named[form] = names[lemma]
    return named


def _one_sign(word: str) -> bool:
    """Whether it is one Han character, which stands in many words."""
    return len(word) == 1 and is_han(word)


def _fit(word: str, language: str) -> bool:
    if language in HAN_LANGUAGES:
        return 1 < len(word) <= LONGEST_HAN and all(map(is_han, word))
    return " " not in word and word[:1].isalpha() and len(word) <= LONGEST_FORM


def with_words(base: Sequence[tuple[str, float]], named: Mapping[str, str]) -> Vocabulary:
    """The tokenizer of base pieces with a table of words.

    A base piece that is a word lends its embedding to it.

    :param base: all pieces of a tokenizer with their log probabilities; the specials first.
    :param named: words with the names of their embeddings.
    """
    places = {piece: at for at, (piece, _) in enumerate(base)}
    names = ["" if piece in SPECIALS else f" {piece if piece.startswith(MARK) else '##' + piece}" for piece in places]
    rows: dict[str, int] = {}
    table = {}
    for word, name in sorted(named.items(), key=lambda item: not item[1].startswith(f"{ENGLISH} ")):
        if name not in rows:
            at = places.get(MARK + (word if _one_sign(word) else name.partition(" ")[2]))
            if at is None or not names[at].startswith(" "):
                at = len(names)
                names.append(name)
            names[at], rows[name] = name, at
        table[word] = rows[name]
    tokenizer = build_tokenizer(list(base), lowercase=True, fold_digits=False, han_runs=True)
    return Vocabulary(WordTable(tokenizer, table), tuple(names))


def words_vocabulary(
    base: Tokenizer,
    languages: Sequence[str],
    *,
    dictionaries: Path,
    annotations: Path | None = None,
    english: Sequence[str] = (),
    quotas: Quotas | None = None,
) -> Vocabulary:
    """The vocabulary of these languages over the pieces of a base.

    :param base: as `train_tokenizer` makes it, for what is no word of the table.
    :param english: sentences that are also put into other languages word by word: they say which words matter.
    """
    counted, pairs = {}, {}
    for language in languages:
        pairs[language] = english_pairs(dictionaries, language)
        lines = _lines(language, languages, dictionaries=dictionaries, annotations=annotations, english=english)
        counted[language] = counted_words(language, lines, {word for word, _ in pairs[language]})
    return with_words(piece_scores(base), named_words(counted, pairs, quotas or Quotas()))


def english_sentences(lines: int = 30_000) -> list[str]:
    """English sentences of pairs, and lines of English text."""
    found = dict.fromkeys(spread(list(read_lines(ENGLISH)), lines))
    for language in LANGUAGES:
        for source in REAL:
            found |= dict.fromkeys(pair.english for pair in read_pairs(source, language))
    return list(found)


def _lines(
    language: str,
    languages: Sequence[str],
    *,
    dictionaries: Path,
    annotations: Path | None,
    english: Sequence[str],
) -> Iterator[str]:
    yield from read_lines(language)
    for source, times in SPOKEN.items():
        if language != ENGLISH:
            pairs = [pair.sentence for pair in read_pairs(source, language, annotations=annotations)]
        else:
            others = [other for other in languages if other in STS_LANGUAGES and other != ENGLISH][:3]
            pairs = [
                pair.english for other in others for pair in read_pairs(source, other, annotations=annotations)
            ]
        for line in pairs[:: ASSISTANT_SHARE if source == "massive" else 1]:
            for _ in range(times):
                yield line
    for pair in wordwise_pairs(english, language, dictionaries):
        yield pair.sentence
