"""Train the word-piece tokenizer: Unigram pieces over words, single pieces for Han characters and punctuation.

Spaces never reach the model: text is split into words (runs of letters, marks and digits), runs of one punctuation
character, single Han characters, and runs of kana or of a South-East Asian script. Each starts with `▁`. So `(1805)`
and `( 1805 )`, or one space and ten, give the same pieces, and an entity boundary can fall only where a piece ends.
Digits are folded to 0: names depend on a number's shape, hardly ever on its value.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from onoma.word_table import CONTINUES, MARK, is_han

PAD, UNK, MASK = "<pad>", "<unk>", "<mask>"
SPECIALS = (PAD, UNK, MASK)
# Word characters: letters, combining marks, numbers, and the (non-)joiners that Persian and Indic words contain.
_PUNCTUATION = r"([^\p{L}\p{M}\p{N}\s\x{200c}\x{200d}])\1*"
_LATIN = re.compile("[A-Za-zªºÀ-ÖØ-öø-ɏḀ-ỿﬀ-ﬆＡ-Ｚａ-ｚ\u0300-\u036f]+")
_HAN = r"\p{Han}"
_RUNS = r"\p{Hiragana}+|[\p{Katakana}ー]+|[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]+"


def _normalizer(*, lowercase: bool, fold_digits: bool) -> normalizers.Normalizer:
    steps: list[normalizers.Normalizer] = [normalizers.NFKC()]
    if lowercase:
        steps.append(normalizers.Lowercase())
    if fold_digits:
        steps.append(normalizers.Replace(Regex(r"\p{Nd}"), "0"))
    return normalizers.Sequence(steps)


def _words(*, han_runs: bool = False) -> list[pre_tokenizers.PreTokenizer]:
    han = f"{_HAN}+" if han_runs else _HAN
    return [
        pre_tokenizers.WhitespaceSplit(),
        pre_tokenizers.Split(Regex(f"{_PUNCTUATION}|{han}|{_RUNS}"), behavior="isolated"),
    ]


def _mark() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="always", split=False)


def split_words(
    texts: Iterable[str], *, lowercase: bool = False, fold_digits: bool = True, han_runs: bool = False
) -> Iterator[list[str]]:
    """The normalised words of each text, as the trained tokenizer will see them (without the `▁`).

    :param han_runs: neighbouring Han characters are one word, else each is.
    """
    normalizer = _normalizer(lowercase=lowercase, fold_digits=fold_digits)
    splitter = pre_tokenizers.Sequence(_words(han_runs=han_runs))
    for text in texts:
        yield [word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]


def without_latin(texts: Iterable[str]) -> Iterator[str]:
    """Texts without their Latin letters."""
    return (_LATIN.sub(" ", text) for text in texts)


def _is_atomic(word: str) -> bool:
    """Whether the word is one piece by construction: a Han character or a run of one punctuation character."""
    first = word[0]
    if not first.isalnum() and set(word) == {first}:
        return True
    return len(word) == 1 and is_han(first)


def train_tokenizer(
    texts: Iterable[str],
    *,
    vocabulary: int = 48_000,
    min_character_count: int = 5,
    progress: bool = True,
    lowercase: bool = False,
    fold_digits: bool = True,
    whole_words: int = 0,
) -> Tokenizer:
    """Train a Unigram tokenizer (Kudo 2018) on raw texts.

    Words that contain a character seen fewer than `min_character_count` times are left out: such characters become
    `<unk>` (a run of them one piece, with exact offsets). Returns a tokenizer with ids pad 0, unk 1, mask 2.

    :param lowercase: no piece tells capitals: for meaning, where names need them.
    :param fold_digits: every digit becomes 0; else numbers keep their value.
    :param whole_words: so many of the pieces are the most frequent words that would else be spelled by several.
    """
    counts: Counter[str] = Counter()
    for words in split_words(texts, lowercase=lowercase, fold_digits=fold_digits):
        counts.update(words)
    characters: Counter[str] = Counter()
    for word, count in counts.items():
        for character in set(word):
            characters[character] += count
    rare = {character for character, count in characters.items() if count < min_character_count}
    atomic: dict[str, int] = {}
    ordinary: dict[str, int] = {}
    for word, count in counts.items():
        if _is_atomic(word):
            if len(word) <= 4 and count >= min_character_count:
                atomic[word] = count
        elif len(word) <= 40 and not rare & set(word):
            ordinary[word] = count
    total = sum(counts.values())

    base = Tokenizer(models.Unigram())
    base.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), _mark()])
    trainer = trainers.UnigramTrainer(
        vocab_size=vocabulary - whole_words - len(atomic) - len(SPECIALS),
        special_tokens=[],
        show_progress=progress,
        max_piece_length=16,
        shrinking_factor=0.7,
    )
    base.train_from_iterator(_repeat(ordinary), trainer=trainer)
    learned = piece_scores(base)

    pieces: list[tuple[str, float]] = [(special, 0.0) for special in SPECIALS]
    seen = set(SPECIALS)
    for piece, score in learned:
        if piece not in seen:
            seen.add(piece)
            pieces.append((piece, round(score, 4)))
    for word, count in sorted(atomic.items(), key=lambda item: (-item[1], item[0])):
        if MARK + word not in seen:
            seen.add(MARK + word)
            pieces.append((MARK + word, round(math.log(count / total), 4)))
    for word, count in sorted(ordinary.items(), key=lambda item: (-item[1], item[0])):
        if len(pieces) >= vocabulary or whole_words == 0:
            break
        if MARK + word not in seen:
            seen.add(MARK + word)
            pieces.append((MARK + word, round(math.log(count / total), 4)))
    return build_tokenizer(pieces, lowercase=lowercase, fold_digits=fold_digits)


def _repeat(counts: dict[str, int]) -> Iterator[str]:
    """Each word as often as it was counted, in lines of bounded length."""
    for word, count in sorted(counts.items()):
        while count > 0:
            times = min(count, 1000)
            yield " ".join([word] * times)
            count -= times


def build_tokenizer(
    pieces: list[tuple[str, float]], *, lowercase: bool = False, fold_digits: bool = True
) -> Tokenizer:
    """A Unigram tokenizer over given (piece, log probability) pairs; the first three must be the specials."""
    model = models.Unigram(pieces, unk_id=SPECIALS.index(UNK), byte_fallback=False)
    return _over_words(model, _normalizer(lowercase=lowercase, fold_digits=fold_digits), _words())


def build_word_pieces(pieces: Sequence[str]) -> Tokenizer:
    """A WordPiece tokenizer for `WordTable`: lower case, digits as they are, runs of Han characters as one word.

    :param pieces: beginnings of words with `▁`, what may follow with `##`; the first three must be the specials.
    """
    vocabulary = {piece: at for at, piece in enumerate(pieces)}
    model = models.WordPiece(vocabulary, unk_token=UNK, continuing_subword_prefix=CONTINUES)
    return _over_words(model, _normalizer(lowercase=True, fold_digits=False), _words(han_runs=True))


def as_word_pieces(pieces: Iterable[str]) -> list[str]:
    """Unigram pieces as WordPiece writes them: what follows another has `##`."""
    return [piece if piece in SPECIALS or piece.startswith(MARK) else CONTINUES + piece for piece in pieces]


def _over_words(
    model: models.Model, normalizer: normalizers.Normalizer, words: list[pre_tokenizers.PreTokenizer]
) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*words, _mark()])
    tokenizer.add_special_tokens(list(SPECIALS))
    return tokenizer


def piece_scores(tokenizer: Tokenizer) -> list[tuple[str, float]]:
    """The pieces of a Unigram tokenizer and their log probabilities, the specials first."""
    return [(piece, score) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]]


def save_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """Write the tokenizer as compact JSON (a third smaller than the library's own layout)."""
    state: dict[str, Any] = json.loads(tokenizer.to_str())
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(state, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    temporary.replace(path)
