"""Where the embeddings of a new vocabulary begin: in the space of the teacher's own word embeddings.

Parallel text is small, so a word that it lacks must get its place from elsewhere. Skip-gram vectors over text of all
languages, and over pairs as one line of both sentences' pieces, put translations and words of like use close together.
A piece then starts as a mean of the teacher's embeddings of the English words next to it (WECHSEL, Minixhofer et al.
2022), and the sums over whole sentences are fitted to those of their translations.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from distill.dataset import NO_TAG, Packed, concatenate
from distill.sentences.dictionaries import read_dictionaries
from distill.sentences.languages import ENGLISH, HAN_LANGUAGES
from distill.sentences.pool import Pool, pack_sentences, take
from distill.tokenizer import SPECIALS
from distill.vectors import piece_vectors
from onoma.word_table import MARK, is_han

NAMES_FILE = "names.json"
Way = Literal["neighbours", "linear", "words"]
NEIGHBOURS, TEMPERATURE = 10, 0.1
_BLOCK = 4096


def interleaved(pool: Pool, rows: NDArray[np.int64]) -> Packed:
    """Each pair as one line: the pieces of both sentences in the order of their relative places."""
    return _mixed(take(pool.pairs, rows), take(pool.table, pool.english[rows].astype(np.int64)))


def word_lines(path: Path, tokenizer: Tokenizer, *, times: int = 2, longest: int = 4) -> Packed:
    """Each word of a file of dictionaries with its translation as one line, some times; for all pairs of languages.

    :param longest: pieces of a word: one that is in more is rare, and its pieces say little of it.
    """
    words = read_dictionaries(path)
    sides = [
        pack_sentences(side, tokenizer=tokenizer, language="words")
        for side in ([pair.word for pair in words], [pair.translation for pair in words])
    ]
    short = np.flatnonzero((sides[0].lengths <= longest) & (sides[1].lengths <= longest))
    return _mixed(*(take(side, np.tile(short, times)) for side in sides))


def _mixed(first: Packed, second: Packed) -> Packed:
    ids = np.concatenate([first.ids, second.ids])
    line = np.concatenate([np.repeat(np.arange(len(part)), part.lengths) for part in (first, second)])
    place = np.concatenate([_places(part.lengths) for part in (first, second)])
    order = np.lexsort((place, line))
    lengths = first.lengths + second.lengths
    return Packed(
        ids[order],
        np.full(len(ids), NO_TAG, dtype=np.int8),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        first.language,
        first.languages,
    )


def _places(lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Where each piece of each line stands, from 0 to 1."""
    begins = np.repeat(np.cumsum(lengths) - lengths, lengths)
    within = np.arange(int(lengths.sum())) - begins
    return np.asarray((within + 0.5) / np.repeat(lengths, lengths))


def anchors(pool: Pool, tokenizer: Tokenizer, words: dict[str, int], *, minimum: int = 5) -> dict[int, int]:
    """Pieces that are whole English words, and the rows of the teacher's embeddings for the same words.

    A piece is English where it is more frequent in English than in all but a few (a twentieth) of the other languages;
    what is frequent in several may be spelled the same and mean something else.

    :param words: the teacher's vocabulary (WordPiece: a word that is one piece has its own name).
    :param minimum: how often it must occur in English.
    """
    size = tokenizer.get_vocab_size()
    english = np.bincount(pool.table.ids, minlength=size)
    rate = english / max(1, english.sum())
    others: dict[str, NDArray[np.int64]] = {}
    for part in (pool.pairs, pool.text):
        language = np.repeat(part.language, part.lengths)
        for at, name in enumerate(part.languages):
            if name != ENGLISH:
                counts = np.bincount(part.ids[language == at], minlength=size)
                others[name] = others.get(name, 0) + counts
    rates = [counts / max(1, counts.sum()) for counts in others.values()]
    most = np.percentile(rates, 95, axis=0) if rates else np.zeros(size)
    found = {}
    for piece, at in tokenizer.get_vocab().items():
        row = words.get(piece.removeprefix(MARK) if piece.startswith(MARK) else "##" + piece)
        if row is not None and piece not in SPECIALS and english[at] >= minimum and rate[at] >= most[at]:
            found[at] = row
    return found


def mapped(vectors: NDArray[np.float32], known: dict[int, int], matrix: Tensor, *, way: Way) -> Tensor:
    """(V, H) embeddings: those of known pieces as they are, the others by where their vectors (V, D) lie.

    :param matrix: (V', H) the teacher's embeddings.
    :param way: `neighbours`: the mean of the nearest known pieces' rows, the nearer the more; `linear`: the
        least-squares map between the two spaces. Either at the size of known rows.
    :raises ValueError: if there is no known piece to start from.
    """
    if not known:
        raise ValueError("no piece of the vocabulary is a word of the teacher: it must be trained on English as well")
    here = torch.tensor(list(known))
    rows = matrix[torch.tensor(list(known.values()))].float()
    own = torch.from_numpy(vectors).float()
    seen = own.norm(dim=1) > 0
    own = own / own.norm(dim=1, keepdim=True).clamp_min(1e-6)
    centre = rows.mean(dim=0)
    found = centre.expand(len(own), -1).clone()
    if way == "linear":
        solved = torch.linalg.lstsq(own[here], rows - centre).solution
        placed = own @ solved + centre
    else:
        usable = seen[here]
        placed = torch.cat([
            _near(part, own[here[usable]], rows[usable], centre) for part in own.split(_BLOCK)
        ])
    # A mean of many rows is shorter than one row, and the layers then see more of positions than of words.
    spread = (rows - centre).norm(dim=1).mean()
    moved = placed - centre
    moved = moved * (spread / moved[seen].norm(dim=1).mean().clamp_min(1e-6))
    found[seen] = centre + moved[seen]
    found[here] = rows
    return found


def _near(vectors: Tensor, around: Tensor, rows: Tensor, centre: Tensor) -> Tensor:
    likeness, which = (vectors @ around.T).topk(min(NEIGHBOURS, len(around)), dim=1)
    weights = torch.softmax(likeness / TEMPERATURE, dim=1)
    return centre + ((rows[which] - centre) * weights[:, :, None]).sum(dim=1)


def spread_out(vectors: NDArray[np.float32], matrix: Tensor, counts: NDArray[np.int64], *, rare: int) -> Tensor:
    """(V, H) embeddings where pieces that were hardly trained lie among those that were, by their vectors (V, D).

    Words of one language that are used alike are near in skip-gram space, which two languages share only roughly: so
    what pairs have taught the frequent words is handed on to the others.

    :param matrix: (V, H) trained embeddings.
    :param counts: (V,) how often each piece was trained. A piece keeps `count / (count + rare)` of its own place; those
        seen four times as often as `rare` are who it learns from.
    :raises ValueError: if there is none.
    """
    own = torch.from_numpy(vectors).float()
    seen = own.norm(dim=1) > 0
    own = own / own.norm(dim=1, keepdim=True).clamp_min(1e-6)
    often = torch.from_numpy(counts)
    known = seen & (often >= 4 * rare)
    if not known.any():
        raise ValueError(f"start.rare is {rare}, but no piece was seen {4 * rare} times: see more while aligning")
    wanted = seen & ~known
    rows = matrix[known].float()
    centre = rows.mean(dim=0)
    near = torch.cat([_near(part, own[known], rows, centre) for part in own[wanted].split(_BLOCK)]) - centre
    spread = (rows - centre).norm(dim=1).mean()
    near = centre + near * (spread / near.norm(dim=1).mean().clamp_min(1e-6))
    share = (often[wanted] / (often[wanted] + rare))[:, None].float()
    found = matrix.float().clone()
    found[wanted] = share * found[wanted] + (1 - share) * near
    return found


def start_vectors(
    pool: Pool,
    rows: NDArray[np.int64],
    *,
    vocabulary: int,
    width: int,
    epochs: int,
    window: int,
    cache: Path,
    seed: int,
    words: Packed | None = None,
) -> NDArray[np.float32]:
    """(V, D) skip-gram vectors over the pool's text, its English, and these of its pairs as lines of two languages.

    :param words: lines of dictionaries, if there are any.
    """
    lines = concatenate([pool.text, pool.table, interleaved(pool, rows), *([words] if words is not None else [])])
    return piece_vectors(
        lines, vocabulary=vocabulary, width=width, epochs=epochs, cache=cache, seed=seed, skip_gram=True, window=window
    )


def by_words(
    names: Sequence[str], dictionaries: Path | None, vector: Callable[[str], Tensor]
) -> tuple[Tensor, int]:
    """(V, H) embeddings by what each is of: the teacher's own for English words and pieces that it knows, the mean of
    what it has for the translations of others' words, and for the rest the middle.

    :param names: of V embeddings: `LANGUAGE word`, ` piece` for pieces of no language, or nothing.
    :param vector: the teacher's embedding of an English word, or of a piece that it has; zeros where it has none.
    :return: with how many embeddings are known.
    """
    translations: dict[str, Counter[str]] = defaultdict(Counter)
    for pair in read_dictionaries(dictionaries) if dictionaries else ():
        if ENGLISH not in (pair.language, pair.other):
            continue
        (language, word), (_, meaning) = sorted([pair[:2], pair[2:]], key=lambda one: one[0] == ENGLISH)
        translations[f"{language} {word.lower()}"][meaning.lower()] += 1
        if is_han(word[0]) and not any(map(is_han, word[1:])):
            for own in HAN_LANGUAGES:  # 歩く: a sign that stands alone only with an ending
                translations[f"{own} {word[0]}"][meaning.lower()] += 1
    vectors: dict[str, Tensor] = {}

    def known(word: str) -> Tensor:
        if word not in vectors:
            vectors[word] = vector(word)
        return vectors[word]

    rows = []
    for name in names:
        language, _, word = name.partition(" ")
        english = [word] if language in ("", ENGLISH) else list(translations[name])
        rows.append(torch.stack([known(one) for one in english]).mean(dim=0) if word and english else None)
    found = [row for row in rows if row is not None and row.any()]
    centre = torch.stack(found).mean(dim=0)
    table = torch.stack([centre if row is None or not row.any() else row for row in rows])
    return table, len(found)
