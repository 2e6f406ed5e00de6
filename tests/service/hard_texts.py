"""Texts that strain offsets: every plane of Unicode, and names that a tagger finds among them.

NUL and lone surrogates are left out: the service refuses them.
"""

from __future__ import annotations

import unicodedata
from itertools import chain, repeat

from families import HARD
from hypothesis import strategies as st

FAKE_NAMES = ("Angela Merkel", "Siemens", "München", "Ohio", "Merkel", "maybe", "likely")
NAMES = (
    *FAKE_NAMES, "Barack Obama", "New York", "Łódź", "Владимир Путин", "Санкт-Петербург", "Αθήνα", "القاهرة",
    "ירושלים", "दिल्ली", "香港", "東京", "夏目漱石", "서울", "กรุงเทพ", "தமிழ்நாடு", "O'Brien", "U.S.", "A.B. C.",
)  # fmt: skip

ODD = (
    *HARD,
    "\U00020000\U0002a6df𠮷野家", "\U00030000",  # CJK extensions
    "\U0001f1e9\U0001f1ea", "🏴\U000e0067\U000e0062\U000e007f",  # flags, one of them made of tags
    "\U000f0000", "\U0010fffd", "\uf8ff", "\ufffe", "\uffff", "\ufdd0", "\U0001ffff",  # private use, noncharacters
    "\ufe0e", "\ufe0f", "\u180b", "\U000e0100", "☎\ufe0e", "葛\U000e0100",  # variation selectors
    "\u200f", "\u202a", "\u202c", "\u2066", "\u2069", "\u061c", "\u0600", "\u06dd",  # directions, prefixed signs
    "ᄀ", "ᅡ", "ᆨ", "\u1160", "\ua960", "\ud7b0", "각",  # jamo
    "\u00a0", "\u2000", "\u2009", "\u202f", "\u205f", "\u3000", "\u1680", "\u2029", "\x0b", "\x0c", "\x1d",  # spaces
    "\x02", "\x1b[0m", "\x7f", "\x9f", "\ufffc", "\ufffd", "\U0001d173", "\u034f", "\u115f", "\u3164",  # unseen
    "👩\u200d❤\ufe0f\u200d💋\u200d👨", "👨🏿\u200d🦰", "1\ufe0f\u20e3", "\U0001f3fb",  # emoji sequences
    "ﷺ", "ﬃ", "㍿", "Ⅷ", "½", "\u1e9b\u0323", "\u0344", "\u0958", "\ufb1d", "\U0001d15e", "\U0002f800",  # normalised
    "ŉ", "ß", "İ", "ΐ", "և", "ẞ", "Σ", "ς",  # case
)  # fmt: skip

GLUE = ("", " ", " ", "  ", "\n", ". ", ", ", "。", "\u00a0", "\u3000", "\u200b", "\u200d", "\u2028", "-", "\t", "…")

_STYLES = {"bold": 0x1D400, "fraktur": 0x1D56C, "sans": 0x1D5A0, "monospace": 0x1D670, "full width": 0xFF21}


def styled(word: str, style: str) -> str:
    """A word in letters that NFKC makes ASCII of: mathematical ones, two UTF-16 units each, or full-width ones."""
    first, small = _STYLES[style], 32 if style == "full width" else 26
    upper = {ord("A") + at: first + at for at in range(26)}
    lower = {ord("a") + at: first + small + at for at in range(26)}
    return word.translate(upper | lower)


def _threaded(word: str, mark: str) -> str:
    return "".join(chain.from_iterable(zip(word, repeat(mark), strict=False)))


_names = st.sampled_from(NAMES)
_planes = st.one_of(
    [
        st.characters(
            min_codepoint=plane << 16,
            max_codepoint=(plane << 16) + 0xFFFF,
            exclude_categories=("Cs",),
            exclude_characters="\0",
        )
        for plane in range(17)
    ]
)
_parts = st.one_of(
    _names,
    _names,
    _planes,
    st.sampled_from(ODD),
    st.text(_planes, max_size=6),
    st.builds(styled, _names, st.sampled_from(sorted(_STYLES))),
    st.builds(lambda form, name: unicodedata.normalize(form, name), st.sampled_from(["NFD", "NFKD"]), _names),
    st.builds(_threaded, _names, st.sampled_from(["\u0301", "\u200d", "\ufe0f", "\u00ad", "\u200b", "\U000e0100"])),
    st.builds(lambda part, times: part * times, st.sampled_from((*ODD, "a", "Ab", "東", "é")), st.integers(2, 120)),
)


@st.composite
def texts(draw: st.DrawFn, *, max_parts: int = 10) -> str:
    """Names and odd characters, joined by all that can stand between words, or by nothing."""
    parts = draw(st.lists(_parts, max_size=max_parts))
    glue = draw(st.lists(st.sampled_from(GLUE), min_size=len(parts), max_size=len(parts)))
    return "".join(chain.from_iterable(zip(parts, glue, strict=True)))


tokens = st.lists(st.one_of(_names, _names.map(lambda name: name.split()[0]), _parts, st.just("")), max_size=10)
"""One sentence as given tokens, some of them empty or with spaces inside."""
