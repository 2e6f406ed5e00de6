from __future__ import annotations

from pathlib import Path

import pytest
from toydata import write_conll, write_text

from distill.corpora import (
    Sentence,
    as_text,
    data_root,
    languages_of,
    parse_conll,
    read_split,
    read_text,
    sources,
    text_languages,
    token_spans,
)


def parse(text: str) -> list[Sentence]:
    return list(parse_conll(iter(text.splitlines(keepends=True)), language="en", source="x"))


def test_sentences_are_split_at_blank_lines_and_the_last_needs_none() -> None:
    first, second = parse("Ada\tB-PER\nByron\tI-PER\n\n\n\nleft\tO")
    assert first == Sentence(("Ada", "Byron"), ("B-PER", "I-PER"), "en", "x")
    assert (second.tokens, second.tags) == (("left",), ("O",))


def test_the_last_tab_separates_the_tag() -> None:
    assert parse("a\tb\tB-LOC\n")[0].tokens == ("a\tb",)


def test_a_line_without_a_tab_is_named() -> None:
    with pytest.raises(ValueError, match="x/en line 2: no tab in 'oops'"):
        parse("Ada\tB-PER\noops\n")


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [
        ("B-MISC I-MISC O", "O O O"),
        ("B-MISC I-PER", "O B-PER"),
        ("I-PER I-PER", "B-PER I-PER"),
        ("B-PER I-LOC I-LOC", "B-PER B-LOC I-LOC"),
        ("O I-ORG B-ORG I-ORG", "O B-ORG B-ORG I-ORG"),
        ("B-DATE B-LOC", "O B-LOC"),
    ],
)
def test_tags_become_legal_iob2_over_three_types(given: str, cleaned: str) -> None:
    assert parse("".join(f"w\t{tag}\n" for tag in given.split()))[0].tags == tuple(cleaned.split())


def test_token_spans() -> None:
    tags = ("B-PER", "I-PER", "B-PER", "O", "B-LOC")
    assert token_spans(tags) == [(0, 2, "PER"), (2, 3, "PER"), (4, 5, "LOC")]
    assert token_spans(()) == []


def spans(sentence: Sentence, *, raw: bool) -> list[tuple[str, str]]:
    text, entities = as_text(sentence, raw=raw)
    return [(text[start:end], label) for start, end, label in entities]


def test_as_text_raw_and_joined() -> None:
    tokens = ("(", "Ada", "Byron", ")", ",", "of", "Brenholm", ".")
    tags = ("O", "B-PER", "I-PER", "O", "O", "O", "B-LOC", "O")
    sentence = Sentence(tokens, tags, "en", "x")
    assert as_text(sentence, raw=True)[0] == "(Ada Byron), of Brenholm."
    assert as_text(sentence, raw=False)[0] == "( Ada Byron ) , of Brenholm ."
    for raw in (True, False):
        assert spans(sentence, raw=raw) == [("Ada Byron", "PER"), ("Brenholm", "LOC")]


def test_as_text_of_characters_with_spaces_in_an_entity() -> None:
    sentence = Sentence(
        ("東", "#", "京", "で", "#", "#"), ("B-LOC", "I-LOC", "I-LOC", "O", "B-ORG", "I-ORG"), "ja", "x"
    )
    assert spans(sentence, raw=True) == [("東 京", "LOC")], "an entity of nothing but spaces vanishes"
    assert spans(Sentence(("東", "#"), ("B-LOC", "I-LOC"), "ja", "x"), raw=True) == [("東", "LOC")], "trimmed"


def test_the_key_ignores_the_tags() -> None:
    one, two = Sentence(("a",), ("O",), "en", "x"), Sentence(("a",), ("B-LOC",), "de", "y")
    assert one.key == two.key != Sentence(("A",), ("O",), "en", "x").key


def test_the_folder(own_data: Path) -> None:
    write_conll(own_data / "ner/one/en/train.conll.xz", [(["a", "\u2028", "b"], ["O", "O", "B-LOC"])])
    write_conll(own_data / "ner/one/de/dev.conll.xz", [(["c"], ["O"])])
    write_text(own_data / "text/en.txt.xz", ["first", "", "  second  ", "third"])
    assert data_root() == own_data
    assert sources() == ["one"]
    assert (languages_of("one", "train"), languages_of("one", "dev")) == (["en"], ["de"])
    assert read_split("one", "en", "train")[0].tokens == ("a", "\u2028", "b")
    assert read_split("one", "en", "test") == ()
    assert text_languages() == ["en"]
    assert list(read_text("en")) == ["first", "second", "third"]
    assert list(read_text("en", 3)) == ["first", "second"]
    assert list(read_text("fr")) == []


def test_a_missing_folder_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ONOMA_DATA", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="set ONOMA_DATA"):
        data_root()
