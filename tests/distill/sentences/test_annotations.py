from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill.sentences.annotations import annotation_pairs, annotation_paths
from distill.sentences.parallel import encoder_texts, parallel_hashes, read_pairs


def write(folder: Path, code: str, entries: dict[str, Any], *, derived: bool = False) -> None:
    part = "annotationsDerived" if derived else "annotations"
    (folder / part / code).mkdir(parents=True)
    content = json.dumps({part: {"identity": {}, "annotations": entries}}, ensure_ascii=False)
    (folder / part / code / "annotations.json").write_text(content, encoding="utf-8")


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """Two languages: a name and keywords, a sign without name, and skin colours."""
    folder = tmp_path / "cldr"
    english = {"🐕": {"tts": ["dog"], "default": ["dog", "pet"]}, "🎸": {"tts": ["guitar"]}, "a": {"default": ["x"]}}
    write(folder, "en", english)
    write(folder, "de", {"🐕": {"tts": ["Hund"], "default": ["Haustier", "Hund"]}, "🎹": {"tts": ["Klaviatur"]}})
    write(folder, "fil", {"🎸": {"tts": ["gitara"], "default": ["musika"]}})
    derived = {"👩‍🚀": {"tts": ["woman astronaut"]}, "👩🏽‍🚀": {"tts": ["woman astronaut: medium skin tone"]}}
    write(folder, "en", derived, derived=True)
    write(folder, "de", {sign: {"tts": ["Astronautin"]} for sign in derived}, derived=True)
    return folder


def test_names_and_keywords_meet_their_english(names: Path) -> None:
    plain, derived = annotation_paths(names, "de")
    assert list(annotation_pairs(plain)) == [("Hund", "dog"), ("Haustier, Hund", "dog, pet")]
    assert list(annotation_pairs(derived)) == [("Astronautin", "woman astronaut")]
    assert [list(annotation_pairs(path)) for path in annotation_paths(names, "tl")] == [[("gitara", "guitar")]]
    assert annotation_paths(names, "fr") == []


def test_they_are_pairs_where_they_have_been_fetched(names: Path, similarity: Path) -> None:
    assert read_pairs("cldr", "de", annotations=names)[0] == ("Hund", "dog")
    assert read_pairs("cldr", "en", annotations=names) == read_pairs("cldr", "de") == []
    assert "cldr" in parallel_hashes(("de", "en"), annotations=names)
    assert "cldr" not in parallel_hashes(("de", "en"))
    texts = list(encoder_texts(languages=("de",), text_bytes=1, other_bytes=1, annotations=names))
    assert "Astronautin" in texts


def test_another_folder_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="unpack `npm pack cldr-annotations-full cldr-annot"):
        annotation_paths(tmp_path, "de")
