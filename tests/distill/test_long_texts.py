"""What long texts lose, with a tagger whose answers are known."""

from __future__ import annotations

import json
import lzma
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from distill.long_texts import Loss, join, last_sentences, long_text_loss, tag_alone
from distill.measuring_commands import evaluate_long
from onoma.tagger import Tagger


class Names:
    """Finds capitalised words; with `blind`, not in texts longer than so many characters."""

    def __init__(self, blind: int | None = None) -> None:
        self.blind = blind

    def tag_batch(self, texts: Sequence[str]) -> list[Any]:
        return [SimpleNamespace(entities=tuple(self._find(text))) for text in texts]

    def _find(self, text: str) -> list[Any]:
        found, at = [], 0
        for word in text.replace("\n", " ").split(" "):
            seen = self.blind is None or at < self.blind
            if word[:1].isupper() and seen:
                found.append(SimpleNamespace(start=at, end=at + len(word), label="PER"))
            at += len(word) + 1
        return found


def tagger(blind: int | None = None) -> Tagger:
    return cast(Tagger, Names(blind))


def measure(own: Tagger, separator: str, *, characters: int = 20_000) -> Loss:
    return long_text_loss(own, SENTENCES, tag_alone(own, SENTENCES), separator, characters=characters)


SENTENCES = ["Ada met Omar.", "nobody was there.", "Then Tove left.", "Lin came."]


def test_nothing_is_lost_where_context_does_not_count() -> None:
    for separator in (" ", "\n"):
        for characters in (10, 30, 1_000):
            loss = measure(tagger(), separator, characters=characters)
            assert (loss.alone, loss.lost, loss.added, loss.share) == (5, 0, 0, 0)


def test_what_a_long_text_lacks_is_counted() -> None:
    # Behind character 32 stands `Then Tove left. Lin came.`: Then begins at 32.
    assert " ".join(SENTENCES).index("Then") == 32
    loss = measure(tagger(blind=32), " ")
    assert (loss.alone, loss.lost, loss.added) == (5, 3, 0)
    assert loss.share == pytest.approx(60)
    apart = measure(tagger(blind=32), " ", characters=32)
    assert (apart.alone, apart.lost) == (5, 0), "two texts, each short enough"


def test_join_keeps_to_the_size_and_knows_where_sentences_start() -> None:
    texts = list(join(SENTENCES, " ", characters=31))
    assert [text for text, _ in texts] == ["Ada met Omar. nobody was there.", "Then Tove left. Lin came."]
    for text, starts in texts:
        assert all(any(text[start:].startswith(sentence) for sentence in SENTENCES) for start in starts)
    assert [text for text, _ in join(SENTENCES, " ", characters=1)] == SENTENCES
    assert list(join([], " ", characters=5)) == []


def write(root: Path, language: str, lines: Sequence[str]) -> None:
    with lzma.open(root / "text" / f"{language}.txt.xz", "wt", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def test_lines_with_a_final_mark_are_chosen_from_the_end(own_data: Path) -> None:
    write(own_data, "en", ["first one.", "A headline", "said “second!”", "third?", "no mark"])
    assert last_sentences("en", characters=100) == ["first one.", "said “second!”", "third?"]
    assert last_sentences("en", characters=22) == ["said “second!”", "third?"]
    write(own_data, "th", ["กขค งจ"] * 20 + ["๑."])
    assert len(last_sentences("th", characters=1_000)) == 21
    assert last_sentences("xx", characters=100) == []


def test_a_language_without_text_is_named(own_data: Path) -> None:
    arguments = SimpleNamespace(
        bundle=[Path("models/student")], languages=["xx"], characters=100, texts=1, threads=1, json=None
    )
    with pytest.raises(ValueError, match="no unlabelled text in: xx"):
        evaluate_long.run(cast(Any, arguments))


def test_the_bundled_student_is_measured(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = SimpleNamespace(
        bundle=[Path("models/student")], languages=["de", "en"], characters=2_000, texts=2, threads=1,
        json=tmp_path / "long.json",
    )
    assert evaluate_long.run(cast(Any, arguments)) == 0
    figures = json.loads((tmp_path / "long.json").read_text(encoding="utf-8"))["bundles"]["models/student"]
    assert set(figures) == {"de", "en"}
    for own in figures.values():
        assert own["line break"]["alone"] > 10 and own["line break"]["lost"] == 0, "a line break ends a sentence"
    assert "line break: lost, %" in capsys.readouterr().out
