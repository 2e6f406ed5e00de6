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

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from distill.sentences.dictionaries import english_pairs
from distill.sentences.languages import ENGLISH, LANGUAGES
from distill.sentences.naming import Forms, Quotas, named_words, one_sign
from distill.sentences.parallel import Source, read_lines, read_pairs
from distill.sentences.pool import spread
from distill.sentences.splits import STS_LANGUAGES
from distill.sentences.stems import known_forms, told_by
from distill.sentences.word_counts import counted_words
from distill.sentences.wordwise import REAL, wordwise_pairs
from distill.tokenizer import SPECIALS, as_word_pieces, build_word_pieces, piece_scores
from onoma.word_table import CONTINUES, MARK, WordTable

SPOKEN: dict[Source, int] = {"tatoeba": 12, "cldr": 15, "ntrex": 2, "massive": 1}  # how often each sentence counts
ASSISTANT_SHARE = 4  # one in so many sentences of MASSIVE, which says the same few things


class Vocabulary(NamedTuple):
    """Words, and the embedding that each has.

    :param table: the tokenizer with its words.
    :param names: (V,) what each embedding is of: `LANGUAGE lemma`, ` piece`, or nothing.
    """

    table: WordTable
    names: tuple[str, ...]


def teacher_pieces(pieces: Iterable[str]) -> list[str]:
    """Those of a WordPiece vocabulary that Latin letters, digits and signs are written with, marked as onoma's are."""
    return [
        piece if piece.startswith(CONTINUES) and len(piece) > len(CONTINUES) else MARK + piece
        for piece in pieces
        if not re.fullmatch(r"\[.+\]", piece) and _western(piece)
    ]


def _western(text: str) -> bool:
    return all(sign.isascii() or unicodedata.name(sign, "").startswith("LATIN ") for sign in text)


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
            at = places.get(MARK + (word if one_sign(word) else name.partition(" ")[2]))
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
    return f"zh {piece[1:]}" if one_sign(piece[1:]) else f" {piece}"  # a sign has a meaning, and so translations


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
