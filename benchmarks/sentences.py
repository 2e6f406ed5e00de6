"""Sentences with names in them, in twelve scripts, drawn with a seed: the service's benchmark has eight of them."""

from __future__ import annotations

import random

from benchmarks.service import texts

# Written for this benchmark, as those of `benchmarks.service.texts`.
NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "hebrew": {
        "person": ("דנה לוי", "מיכל אברהם", "נועה פרץ", "רות שפירא"),
        "place": ("חיפה", "ירושלים", "אילת", "נצרת"),
        "org": ("בנק לאומי", "אל על", "הטכניון", "חברת החשמל"),
    },
    "kana": {
        "person": ("佐藤健二", "鈴木花子", "高橋ゆかり", "田中さくら"),
        "place": ("札幌", "神戸", "名古屋", "仙台"),
        "org": ("トヨタ自動車", "ソニー", "東京大学", "日本銀行"),
    },
    "tamil": {
        "person": ("கவிதா ராஜன்", "முருகன் செல்வம்", "மீனா சுந்தரம்", "அருண் குமார்"),
        "place": ("மதுரை", "கோயம்புத்தூர்", "திருச்சி", "சேலம்"),
        "org": ("இந்தியன் வங்கி", "அண்ணா பல்கலைக்கழகம்", "தெற்கு ரயில்வே", "டாடா மோட்டார்ஸ்"),
    },
    "georgian": {
        "person": ("ნინო ბერიძე", "გიორგი კაპანაძე", "მარიამ ლომიძე", "დავით გელაშვილი"),
        "place": ("ბათუმი", "ქუთაისი", "თელავი", "გორი"),
        "org": ("საქართველოს ბანკი", "თბილისის უნივერსიტეტი", "საქართველოს რკინიგზა", "მაგთიკომი"),
    },
}
SENTENCES: dict[str, tuple[str, ...]] = {
    "hebrew": (
        "אתמול ביקרה {person} במשרדים של {org} בעיר {place}.",
        "לדברי {person}, סניף חדש של {org} ייפתח בקיץ בעיר {place}.",
    ),
    "kana": (
        "{person}さんは去年{place}に引っ越して、今は{org}で働いている。",
        "{org}は来月{place}に新しい研究所を開くと{person}さんが話した。",
    ),
    "tamil": (
        "கடந்த ஆண்டு {person} {place} நகருக்குச் சென்று {org} நிறுவனத்தில் வேலைக்குச் சேர்ந்தார்.",
        "{person} நேற்று {place} நகரில் {org} பற்றிப் பேசினார்.",
    ),
    "georgian": (
        "{person} გუშინ ესტუმრა ქალაქს, სადაც {org} მუშაობს: {place}.",
        "{person} ამბობს, რომ {org} ახალ ოფისს ხსნის, ხოლო {place} სტუმრებს ელოდება.",
    ),
}
SCRIPTS = (*texts.NAMES, *NAMES)


def sentences(each: int, *, seed: int = 0) -> list[str]:
    """So many sentences of each script, script by script."""
    rng = random.Random(f"sentences {seed}")
    return [_sentence(script, rng) for script in SCRIPTS for _ in range(each)]


def _sentence(script: str, rng: random.Random) -> str:
    if script not in NAMES:
        return texts.sentence(rng, script)
    return rng.choice(SENTENCES[script]).format(**{slot: rng.choice(names) for slot, names in NAMES[script].items()})
