"""The encoder against its plain first version, which looks at one piece and one character at a time."""

from __future__ import annotations

import time
import unicodedata
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from families import ALPHABET, FAMILIES, HARD, WORDS, texts
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Encoding, Tokenizer

import onoma.encoding
from onoma.bundle import TokenizerFacts
from onoma.encoding import WORD_MARKS, Encoded, Encoder, Segment
from onoma.literal import Literal
from onoma.text import is_unspaced
from onoma.windows import segments, windows

REAL = Path(__file__).resolve().parents[2] / "models" / "student" / "tokenizer.json"
NAMES = (*sorted(FAMILIES), "real")
LIMIT, OVERLAP = 12, 4


@pytest.fixture(scope="module", params=["found", "remembered"])
def way(request: pytest.FixtureRequest) -> str:
    """Pieces that are found anew each time, and those of words that are remembered."""
    return str(request.param)


def _is_word_character(char: str) -> bool:
    return (char.isalnum() or char in "_\u200c\u200d") and not is_unspaced(char)


def _is_mark(char: str) -> bool:
    return unicodedata.category(char)[0] == "M"


def _is_dropped(char: str) -> bool:
    """Whether a character that the tokenizer dropped stays outside every piece: spaces, controls, invisible formats."""
    return char.isspace() or unicodedata.category(char) in ("Cc", "Cf")


def _continues(text: str, *, start: int, before: int) -> bool:
    """Whether a piece that starts at `start` belongs to the word of the piece before, which ends at `before`."""
    if start < before:  # two pieces of one character, or of one grapheme
        return True
    if any(char.isspace() for char in text[before:start]):
        return False
    if _is_mark(text[start]):
        return True
    if not _is_word_character(text[start]):
        return False
    base = before - 1
    while base > 0 and _is_mark(text[base]):
        base -= 1
    return _is_word_character(text[base])


def extend_to_grapheme(text: str, end: int, limit: int) -> int:
    """Move `end` past combining marks, joiners and variation selectors that belong to the character before it."""
    while end < limit and (
        unicodedata.category(text[end]) in ("Mn", "Mc", "Me")
        or text[end] == "\u200d"
        or (end > 0 and text[end - 1] == "\u200d" and not text[end].isspace())
    ):
        end += 1
    return end


def reference_segment(tokenizer: Tokenizer, text: str, low: int, high: int, encoding: Encoding) -> Segment:
    ids: list[int] = []
    starts: list[int] = []
    ends: list[int] = []
    trimmed: list[tuple[int, int]] = []
    for start, end in encoding.offsets:
        start, end = start + low, end + low
        # Byte-level tokenizers count the space before a word as part of its first piece.
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        trimmed.append((start, end))
    for piece, (start, end), (after, past) in zip(encoding.ids, trimmed, [*trimmed[1:], (high, high)], strict=False):
        # A piece of nothing but space is the mark of the word that it touches, or nothing.
        if start == end == after < past and tokenizer.id_to_token(piece) in WORD_MARKS:
            end += 1
        if start < end:
            ids.append(piece)
            starts.append(start)
            ends.append(end)
    continues = [False] * len(ids)
    done = low  # every character before it is covered, or never will be
    for at in range(len(ids)):
        # Normalizers compose and drop characters (jamo, accents): what they leave in a gap belongs to a neighbour.
        while starts[at] > done and not _is_dropped(text[starts[at] - 1]):
            starts[at] -= 1
        continues[at] = at > 0 and _continues(text, start=starts[at], before=done)
        end = extend_to_grapheme(text, ends[at], high)
        following = starts[at + 1] if at + 1 < len(ids) else high
        while end < following and not _is_dropped(text[end]):
            end += 1
        ends[at] = done = max(done, end)
    return Segment(
        ids=np.array(ids, dtype=np.int64),
        starts=np.array(starts, dtype=np.int64),
        ends=np.array(ends, dtype=np.int64),
        continues=np.array(continues, dtype=np.bool_),
        windows=tuple(windows(len(ids), LIMIT, OVERLAP)) if ids else (),
    )


def reference(tokenizer: Tokenizer, text: str) -> Encoded:
    cut = [(high - len(text[low:high].lstrip()), high) for low, high in segments(text)]
    literal = Literal(tokenizer)
    encodings = tokenizer.encode_batch([literal(text[low:high]) for low, high in cut], add_special_tokens=False)
    built = [reference_segment(tokenizer, text, *span, one) for span, one in zip(cut, encodings, strict=True)]
    return Encoded(text, tuple(segment for segment in built if len(segment.ids)))


@cache
def encoder_of(name: str, way: str) -> tuple[Tokenizer, Encoder]:
    tokenizer = Tokenizer.from_file(str(REAL)) if name == "real" else FAMILIES[name]()
    with pytest.MonkeyPatch.context() as patch:
        if way == "found":
            patch.setattr(onoma.encoding, "keeps_words_apart", lambda _: False)
        return tokenizer, Encoder(tokenizer, facts=TokenizerFacts(pad_id=0), limit=LIMIT, overlap=OVERLAP)


def check(name: str, way: str, batch: list[str]) -> None:
    tokenizer, encoder = encoder_of(name, way)
    for found, text in zip(encoder.encode(batch), batch, strict=True):
        expected = reference(tokenizer, text)
        assert found.text == text
        assert len(found.segments) == len(expected.segments)
        for one, other in zip(found.segments, expected.segments, strict=True):
            for field in ("ids", "starts", "ends", "continues"):
                left, right = getattr(one, field), getattr(other, field)
                assert left.dtype == right.dtype and left.tolist() == right.tolist(), (field, text)
            assert one.windows == other.windows


# Dense in what the encoder must tell apart: marks, joiners, spaces, silent characters, sentence ends, texts in a row.
dense = st.text(
    st.sampled_from(
        "aé1_ก東한\u1112\u1161\u11ab\u0301\u0323\u093f\u200d\u200c\u200b\u00ad\x01\0\ufe0f ﬁ½ \t\n.!。\u3000"
    ),
    max_size=30,
)


@given(st.lists(st.one_of(texts, dense), max_size=5))
@example([])
@example(["", " ", "\u200b", "a"])
@example(["\u0301", "\u0301a", "a\u0301", "\u0301"])
@example(["a\u200d", "b", "a。\u200db", "a!\u0301 b", "\u200d"])
@example(["  a  \n  b  ", "\u200b\n\u200b", "\n\n"])
@pytest.mark.parametrize("name", NAMES)
def test_same_as_the_reference(name: str, way: str, batch: list[str]) -> None:
    check(name, way, batch)


@pytest.mark.parametrize("name", NAMES)
def test_same_on_every_hard_character(name: str, way: str) -> None:
    around = ("{0}", "Köln{0}er", "{0} {0}", "the {0}. Angela", "{0}{0}\u0301{0}", "\u200b{0}\u200b")
    check(name, way, [frame.format(hard) for hard in (*HARD, *WORDS, *ALPHABET) for frame in around])


@pytest.mark.parametrize("unit", ["\u0301", "a\u0301", "\u200d", "\u200b", "1\u0301\u0301 ", "½", "\x01", "   "])
@pytest.mark.parametrize("name", NAMES)
def test_time_is_linear(name: str, way: str, unit: str) -> None:
    _, encoder = encoder_of(name, way)
    text = "a" + unit * (200_000 // len(unit)) + "b"
    began = time.process_time()
    encoder.encode([text])
    assert time.process_time() - began < 5
