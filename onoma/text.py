"""Text and offsets: joining tokens into text, detokenising, and offset units.

Offsets inside onoma are half-open Unicode code-point offsets into the text exactly as it was given.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

OffsetUnit = Literal["codepoint", "utf16", "utf8"]

# Scripts written without spaces between words: (first, last) code point of each block.
_UNSPACED_RANGES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x0F00, 0x0FFF),  # Tibetan
    (0x2E80, 0x303F),  # CJK radicals and punctuation
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3100, 0x312F),  # Bopomofo
    (0x31F0, 0x31FF),  # Katakana extensions
    (0x3400, 0x4DBF),  # CJK extension A
    (0x4E00, 0x9FFF),  # CJK
    (0xF900, 0xFAFF),  # CJK compatibility
    (0xFF00, 0xFFEF),  # half- and full-width forms
    (0x20000, 0x323AF),  # CJK extensions B to H
)
_STARTS = [first for first, _ in _UNSPACED_RANGES]
_ORDER = sorted(range(len(_STARTS)), key=_STARTS.__getitem__)
_SORTED = [_UNSPACED_RANGES[i] for i in _ORDER]
_SORTED_STARTS = [first for first, _ in _SORTED]


@lru_cache(maxsize=65536)
def is_unspaced(char: str) -> bool:
    """Whether `char` belongs to a script (or its punctuation) that is written without spaces."""
    code = ord(char)
    if code < 0x0E00:
        return False
    at = bisect_right(_SORTED_STARTS, code) - 1
    return at >= 0 and code <= _SORTED[at][1]


def _is_character_tokenised(tokens: Sequence[str]) -> bool:
    """Whether the tokens are single characters of a text in a script without spaces (ja, zh, th data)."""
    single = sum(len(token) == 1 for token in tokens)
    unspaced = sum(is_unspaced(token[0]) for token in tokens if token)
    return len(tokens) > 1 and single >= 0.9 * len(tokens) and unspaced > 0


def join_tokens(tokens: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Join given tokens into one text, the way `tokens` requests are tagged.

    Tokens are joined by one space, but by nothing between characters of scripts written without spaces, and by
    nothing throughout when the tokens are characters.

    Returns the text and, for each token, its half-open code-point span in it.
    """
    glue_all = _is_character_tokenised(tokens)
    parts: list[str] = []
    spans: list[tuple[int, int]] = []
    at = 0
    before = ""
    for token in tokens:
        if before and token and not glue_all and not (is_unspaced(before) and is_unspaced(token[0])):
            parts.append(" ")
            at += 1
        parts.append(token)
        spans.append((at, at + len(token)))
        at += len(token)
        if token:
            before = token[-1]
    return "".join(parts), spans


_CLOSING = set(",.;:!?)]}%…»”،؛؟।॥။၊։՝՜՞።፣፤፥·")
_OPENING = set("([{«“„¿¡")


def detokenise(tokens: Sequence[str], language: str) -> tuple[str, list[tuple[int, int]]]:
    """Undo the tokenisation of a data set by the language's writing habits.

    Closing punctuation goes to the word before, opening punctuation to the word after, straight quotes pair up,
    clitics join their word, and characters of ja, zh and th are joined, where `#` stands for a space in ja and zh data.

    Returns the raw text and, for each token, its half-open code-point span in it (empty for a `#` space).
    """
    characters = _is_character_tokenised(tokens)
    parts: list[str] = []
    spans: list[tuple[int, int]] = []
    at = 0
    before = ""
    glue = True  # no space before the first token
    open_quotes: set[str] = set()
    for token in tokens:
        if characters and token == "#" and language in ("ja", "zh", "th"):
            parts.append(" ")
            spans.append((at, at))
            at += 1
            glue = True
            continue
        quote = token in ('"', "''", "'", "``")
        closes = quote and token in open_quotes
        attach_left = (
            glue
            or characters
            or closes
            or (bool(token) and token[0] in _CLOSING and len(token) <= 3)
            or (token[:1] in ("'", "’") and 1 < len(token) <= 4)
            or (language == "en" and token == "n't")
            or (bool(before) and bool(token) and is_unspaced(before) and is_unspaced(token[0]))
        )
        if not attach_left:
            parts.append(" ")
            at += 1
        parts.append(token)
        spans.append((at, at + len(token)))
        at += len(token)
        glue = token in _OPENING or (
            language in ("fr", "it", "ca") and len(token) > 1 and token[-1] in ("'", "’") and token[0].isalpha()
        )
        if quote:
            if closes:
                open_quotes.discard(token)
            else:
                open_quotes.add(token)
                glue = True
        before = token[-1:] or before
    return "".join(parts), spans


def lone_surrogate_at(text: str) -> int | None:
    """Index of the first lone surrogate in `text`, or None. Such text has no UTF-8 form."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return error.start
    return None


def convert_offsets(text: str, offsets: Sequence[int], unit: OffsetUnit) -> list[int]:
    """Convert code-point offsets into `text` to another unit; one pass over the text.

    `offsets` may come in any order; each must lie in 0..len(text).
    """
    if unit == "codepoint" or text.isascii():
        return list(offsets)
    encoding, width = ("utf-16-le", 2) if unit == "utf16" else ("utf-8", 1)
    converted: dict[int, int] = {}
    done = 0
    units = 0
    for offset in sorted(set(offsets)):
        units += len(text[done:offset].encode(encoding)) // width
        converted[offset] = units
        done = offset
    return [converted[offset] for offset in offsets]
