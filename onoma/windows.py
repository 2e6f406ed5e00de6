"""Segments and windows: how a text of any length becomes model inputs of bounded length.

A text is cut at sentence ends, where context matters least, so a sentence is tagged the same alone as inside a long
text. A sentence longer than the model's limit is covered by overlapping windows; each piece takes its emissions from
the window in which it stands farthest from an edge, and the whole sentence is decoded at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from onoma.text import is_unspaced

# A sentence ends after these marks and closing quotes or brackets. Marks of scripts with spaces need one after them;
# a Latin full stop needs more, see _is_sentence_end. Look-behinds and possessive quantifiers keep the search linear in
# texts made of nothing but marks.
_END = re.compile(
    r"""
      \n+                                               # a line break
    | [。！？｡．]+[”’」』）〉》】\])]*                     # CJK: no space needed
    | (?<![!?।॥؟۔։።፧၊။…‽])[!?।॥؟۔։።፧၊။…‽]++["'”’»)\]}]*+(?=\s)  # unambiguous marks
    | (?<!\.)\.++["'”’»)\]}]*+(?=\s)                   # full stop: checked below
    """,
    re.VERBOSE,
)
_LOW_QUOTE = re.compile(r"\s*+,,\w")  # two commas typed for a German „


@dataclass(frozen=True, slots=True)
class Window:
    """Pieces low..high of a segment go into the model together; it decides keep_low..keep_high of them."""

    low: int
    high: int
    keep_low: int
    keep_high: int


def _next_character(text: str, at: int) -> str:
    """The first non-space character from `at` on, or nothing."""
    while at < len(text) and text[at].isspace():
        at += 1
    return text[at : at + 1]


# Abbreviations that stand before a name and that their length does not give away.
_ABBREVIATIONS = frozenset(
    "prof capt mrs sgt gen col lieut messrs inc ltd corp sant insp rev hon maj cpl ing mag dipl "
    "st nr ca vs al ul no sv cf vol op bl fl jr sr dr mr ms bzw sog "
    "ул пр им св гр г см т д".split()
)
# In scripts without case, fewer letters than this before a full stop make an abbreviation: initials are spelled out
# there, as in Persian and Tamil names. Marks do not count. Korean has none. Longer initials and shorter verbs by name.
_CASELESS_LETTERS = 3
_SPELLED_INITIALS = frozenset("ایچ ایس ایم این ایل ایف آئی ایکس کیو دبلیو دابلیو ڈبلیو".split())
_SHORT_VERBS = frozenset("है हैं था थी थे थीं हो आहे आहेत होता होती होते नाही છે હતા હતી కాదు లేదు కాను వారు شد زد".split())


def _is_lower(char: str) -> bool:
    """Whether a letter is small in a script whose sentences start with capitals; Georgian's do not. False for ""."""
    return char.islower() and not "\u10d0" <= char <= "\u10ff"


def _is_sentence_end(text: str, begin: int, after: int) -> bool:
    """Whether the full stop at `begin` ends a sentence; `after` is the first position behind the mark.

    Not before a lower-case letter, not after an initial or an abbreviation (`J.`, `Dr.`, `St.`), not after a number of
    one or two digits (`24. Mai`), never in Thai, where the full stop only abbreviates.
    """
    following = _next_character(text, after)
    if following and (_is_lower(following) or following in ",;:)") and not _LOW_QUOTE.match(text, after):
        return False
    word_start = begin
    while word_start > 0 and not text[word_start - 1].isspace():
        word_start -= 1
    word = text[word_start:begin].lstrip("(\"'“«[")
    if not word:
        return word_start < begin  # after a quotation mark that stands alone
    last = word[-1]
    if last in ")]}\"'”’»%":
        return True
    if "." in word or is_unspaced(last):
        return False
    if last.isdigit():
        return len(word) > 2
    letters = sum(char.isalpha() for char in word)
    first = word[0]
    if "\uac00" <= last <= "\ud7a3":
        return True
    if not (first.isupper() or _is_lower(first)):
        return word in _SHORT_VERBS or (letters >= _CASELESS_LETTERS and word not in _SPELLED_INITIALS)
    return letters >= (3 if first.isupper() else 2) and word.lower() not in _ABBREVIATIONS


def segments(text: str) -> list[tuple[int, int]]:
    """Cut a text into sentences: half-open code-point spans that hold every non-space character, in order."""
    cuts = [0]
    for match in _END.finditer(text):
        begin, after = match.span()
        if text[begin] == "." and not _is_sentence_end(text, begin, after):
            continue
        if text[begin] == "…" and _is_lower(_next_character(text, after)):
            continue
        cuts.append(after)
    cuts.append(len(text))
    return [(low, high) for low, high in zip(cuts, cuts[1:], strict=False) if text[low:high].strip()]


def windows(length: int, limit: int, overlap: int) -> list[Window]:
    """Cover `length` pieces with windows of at most `limit`, neighbours sharing at least `overlap`.

    The kept ranges partition 0..length, cut in the middle of each overlap.
    """
    if length <= limit:
        return [Window(0, length, 0, length)]
    if not 0 <= overlap < limit:
        raise ValueError(f"overlap must be in 0..{limit - 1} (the limit is {limit}), got {overlap}")
    step = limit - overlap
    lows = [*range(0, length - limit, step), length - limit]
    result = []
    for at, low in enumerate(lows):
        keep_low = 0 if at == 0 else (low + lows[at - 1] + limit) // 2
        keep_high = length if at == len(lows) - 1 else (lows[at + 1] + low + limit) // 2
        result.append(Window(low, low + limit, keep_low, keep_high))
    return result
