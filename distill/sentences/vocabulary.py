"""A vocabulary of words for a sentence encoder, where words of several languages share one embedding.

What makes a small encoder good across languages is that it knows words, not how they are spelled in pieces: `pferd` as
`p`, `fer`, `d` has a meaning only for a model with layers and much to learn from. But whole words of many languages, in
all their forms, are too many embeddings, and most are too rare in little parallel text to learn one. So forms of a word
share that of its lemma (simplemma), and a word that is not among its language's most frequent shares that of its
English translation (dictionaries): what the teacher knows of `guitar` holds for guitarra, Gitarren and гитаре from the
start. The most frequent words have an embedding of their own: they mean many things, and there is text enough to learn
which. Around these stand the teacher's own words and pieces, with the embeddings that it has for them, so that English,
and names in any language, are what they are for the teacher.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from distill.sentences.dictionaries import english_pairs
from distill.sentences.languages import ENGLISH, HAN_LANGUAGES, LANGUAGES
from distill.sentences.parallel import Source, read_lines, read_pairs
from distill.sentences.pool import spread
from distill.sentences.splits import STS_LANGUAGES
from distill.sentences.stems import known_forms, short_beginnings, stems_of, told_by
from distill.sentences.wordwise import FUNCTION, REAL, lemmas, lemmatizer, wordwise_pairs
from distill.tokenizer import SPECIALS, as_word_pieces, build_word_pieces, piece_scores, split_words
from onoma.word_table import ANY_ENDING, CONTINUES, LONGEST_HAN, MARK, WordTable, is_han, without_accents

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


def teacher_pieces(pieces: Iterable[str]) -> list[str]:
    """Those of a WordPiece vocabulary that Latin letters, digits and signs are written with, marked as onoma's are."""
    return [
        piece if piece.startswith(CONTINUES) and len(piece) > len(CONTINUES) else MARK + piece
        for piece in pieces
        if not re.fullmatch(r"\[.+\]", piece) and _western(piece)
    ]


def _western(text: str) -> bool:
    return all(sign.isascii() or unicodedata.name(sign, "").startswith("LATIN ") for sign in text)


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
    :param words: of the language, with the names of their embeddings; changed.
    :param stems: of all languages so far; changed.
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
        elif lemma in best and not _one_sign(lemma):
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


def with_words(base: Iterable[str], named: Mapping[str, str], teacher: Iterable[str] = ()) -> Vocabulary:
    """The tokenizer of base pieces with a table of words.

    A piece that is a word lends its embedding to it.

    :param base: pieces of a Unigram tokenizer; the specials first. Those with Latin letters give way to the teacher's.
    :param named: words with the names of their embeddings.
    :param teacher: `teacher_pieces`. Words among them that have another's embedding are left out.
    """
    theirs = dict.fromkeys(
        piece for piece in teacher
        if not piece.startswith(MARK) or _lemma(piece[1:], named) == piece[1:]
    )
    others = [piece for piece in base if piece in SPECIALS or not (theirs and _latin(piece))]
    pieces = [*dict.fromkeys([*as_word_pieces(others), *theirs])]
    places = {piece: at for at, piece in enumerate(pieces)}
    names = [_piece_name(piece) for piece in pieces]
    rows: dict[str, int] = {}
    table = {}
    for word, name in sorted(named.items(), key=lambda item: not item[1].startswith(f"{ENGLISH} ")):
        if name not in rows:
            at = places.get(MARK + (word if _one_sign(word) else name.partition(" ")[2]))
            if at is None or not (names[at].startswith(" ") or names[at] == f"zh {word}"):
                at = len(names)
                names.append(name)
            names[at], rows[name] = name, at
        table[word] = rows[name]
    return Vocabulary(WordTable(build_word_pieces(pieces), table), tuple(names))


def _lemma(word: str, named: Mapping[str, str]) -> str:
    return (named.get(word) or told_by(word, named) or f" {word}").partition(" ")[2]


def _piece_name(piece: str) -> str:
    if piece in SPECIALS:
        return ""
    return f"zh {piece[1:]}" if _one_sign(piece[1:]) else f" {piece}"  # a sign has a meaning, and so translations


def _latin(piece: str) -> bool:
    return any(unicodedata.name(sign, "").startswith("LATIN ") for sign in piece)


def words_vocabulary(
    base: Tokenizer,
    languages: Sequence[str],
    *,
    teacher: Iterable[str],
    dictionaries: Path,
    annotations: Path | None = None,
    english: Sequence[str] = (),
    quotas: Quotas | None = None,
    forms: Forms = known_forms,
) -> Vocabulary:
    """The vocabulary of these languages over the teacher's pieces and those of a base.

    :param base: as `train_tokenizer` makes it, for what is no word of the table and not written in Latin letters.
    :param teacher: its WordPiece vocabulary.
    :param english: sentences that are also put into other languages word by word: they say which words matter.
    :param forms: all forms of a language with their lemmas.
    """
    counted, pairs = {}, {}
    for language in languages:
        pairs[language] = english_pairs(dictionaries, language)
        lines = _lines(language, languages, dictionaries=dictionaries, annotations=annotations, english=english)
        counted[language] = counted_words(language, lines, {word for word, _ in pairs[language]})
    theirs = teacher_pieces(teacher)
    known = {piece[1:] for piece in theirs if piece.startswith(MARK)}
    named = named_words(counted, pairs, quotas or Quotas(), known, forms)
    return with_words([piece for piece, _ in piece_scores(base)], named, theirs)


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
