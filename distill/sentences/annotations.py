"""Names and keywords of emoji in many languages, from Unicode's CLDR: the everyday things that other sources lack.

News and assistants hardly speak of guitars, onions or horses; CLDR names each in every language. The data is the npm
packages cldr-annotations-full and cldr-annotations-derived-full (Unicode licence), unpacked into one folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

# What CLDR calls languages that have another code here, or several scripts.
_CODES = {"tl": ("fil",), "zh": ("zh", "zh-Hant"), "sr": ("sr", "sr-Latn"), "es": ("es", "es-419")}
_SKIN = range(0x1F3FB, 0x1F400)


def annotation_paths(folder: Path, language: str) -> list[Path]:
    """The files of a language, by its code here.

    :raises FileNotFoundError: if the folder has no annotations at all.
    """
    if not (folder / "annotations/en/annotations.json").is_file():
        packages = "cldr-annotations-full cldr-annotations-derived-full"
        raise FileNotFoundError(f"no annotations/en/annotations.json in {folder}: unpack `npm pack {packages}` there")
    named = [
        folder / part / code / "annotations.json"
        for code in _CODES.get(language, (language,))
        for part in ("annotations", "annotationsDerived")
    ]
    return [path for path in named if path.is_file()]


@lru_cache(maxsize=4)
def _entries(path: Path) -> dict[str, tuple[str, str]]:
    """Name and keywords of each character or sequence; of those that differ in skin only, the plain one."""
    content = json.loads(path.read_text(encoding="utf-8"))
    own = content[path.parent.parent.name]["annotations"]
    return {
        sign: (entry["tts"][0], ", ".join(entry.get("default", ())))
        for sign, entry in own.items()
        if entry.get("tts") and not any(ord(character) in _SKIN for character in sign)
    }


def annotation_pairs(path: Path) -> Iterator[tuple[str, str]]:
    """Names with the English ones, and lists of keywords with the English ones, of one language's file."""
    english = _entries(path.parents[1] / "en" / path.name)
    for sign, (name, keywords) in _entries(path).items():
        if sign in english:
            yield name, english[sign][0]
            if keywords and english[sign][1]:
                yield keywords, english[sign][1]
