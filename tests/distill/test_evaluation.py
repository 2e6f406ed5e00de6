from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from toydata import write_conll

from distill.corpora import WIKIANN_45, Sentence, as_text, read_split, token_spans
from distill.evaluation import (
    Counts,
    LanguageScore,
    evaluate,
    evaluate_language,
    evaluate_rows,
    gold_spans,
    groups_of,
    retention,
    summarise,
)
from onoma.labels import Entity
from onoma.tagger import Tagged, Tagger
from onoma.text import join_tokens

TRAIN = [(["Omar", "left", "Brenholm", "."], ["B-PER", "O", "B-LOC", "O"])]
TEST = [
    *TRAIN,
    (["Tove", ",", "Lin", "Mara", "left"], ["B-PER", "O", "B-PER", "I-PER", "O"]),
    (["rain", "."], ["O", "O"]),
]


class Oracle(Tagger):
    """Knows the answers of one split, and gives them `shift` characters or tokens too late."""

    def __init__(self, sentences: Sequence[Sentence], *, shift: int = 0) -> None:
        self.shift = shift
        self.by_text = {as_text(one, raw=True)[0]: as_text(one, raw=True)[1] for one in sentences}
        self.by_tokens = {join_tokens(one.tokens)[0]: token_spans(one.tags) for one in sentences}

    def _tagged(self, spans: Sequence[tuple[int, int, str]]) -> Tagged:
        return Tagged(tuple(Entity(a + self.shift, b + self.shift, label, 0.9) for a, b, label in spans), 0.9, 1)

    def tag_batch(self, texts: Sequence[str], *, batch_tokens: int = 2048) -> list[Tagged]:
        return [self._tagged(self.by_text[text]) for text in texts]

    def tag_tokens(self, sentences: Sequence[Sequence[str]]) -> list[Tagged]:
        return [self._tagged(self.by_tokens[join_tokens(tokens)[0]]) for tokens in sentences]


@pytest.fixture
def small(own_data: Path) -> Path:
    write_conll(own_data / "ner/wikiann/en/train.conll.xz", TRAIN)
    write_conll(own_data / "ner/wikiann/en/test.conll.xz", TEST)
    write_conll(own_data / "ner/wikiann/de/test.conll.xz", [(["Regen"], ["O"])])
    return own_data


def test_counts() -> None:
    counts = Counts()
    assert (counts.precision, counts.recall, counts.f1) == (0, 0, 0)
    counts.add([(0, 2, "PER"), (3, 4, "LOC"), (5, 6, "ORG")], [(0, 2, "PER"), (3, 4, "ORG")])
    counts.add([], [(7, 8, "LOC")])
    assert (counts.right, counts.predicted, counts.gold) == (1, 3, 3)
    assert counts.precision == pytest.approx(100 / 3) and counts.recall == pytest.approx(100 / 3)
    counts.add([(0, 1, "PER")], [(0, 1, "PER"), (1, 2, "PER")])
    assert counts.f1 == pytest.approx(100 * 2 * 2 / (4 + 5))


def test_gold_spans() -> None:
    sentence = Sentence(("(", "Lin", "Mara", ")"), ("O", "B-PER", "I-PER", "O"), "en", "x")
    assert gold_spans(sentence, raw=False) == [(1, 3, "PER")]
    assert gold_spans(sentence, raw=True) == [(1, 9, "PER")]


@pytest.mark.parametrize("raw", [True, False])
def test_gold_scores_100_and_shifted_gold_nothing(small: Path, raw: bool) -> None:
    sentences = read_split("wikiann", "en", "test")
    right = evaluate_language(Oracle(sentences), "wikiann", "en", "test", raw=raw)
    assert (right.all.f1, right.all.gold, right.all.predicted) == (100, 4, 4)
    assert (right.unseen.f1, right.unseen.gold) == (100, 2), "the first sentence stands in train"
    wrong = evaluate_language(Oracle(sentences, shift=1), "wikiann", "en", "test", raw=raw)
    assert (wrong.all.f1, wrong.all.predicted, wrong.all.right) == (0, 4, 0)


def test_limit_and_train(small: Path) -> None:
    oracle = Oracle(read_split("wikiann", "en", "test"))
    assert evaluate_language(oracle, "wikiann", "en", "test", raw=True, limit=1).all.gold == 2
    on_train = evaluate_language(oracle, "wikiann", "en", "train", raw=True)
    assert on_train.all.gold == on_train.unseen.gold == 2, "train is not compared with itself"


def test_languages_without_entities_do_not_count(small: Path) -> None:
    oracle = Oracle([*read_split("wikiann", "en", "test"), *read_split("wikiann", "de", "test")])
    heard: list[str] = []
    result = evaluate(
        oracle, source="wikiann", languages=["en", "de"], split="test", raw=True,
        progress=lambda language, score: heard.append(f"{language} {score.all.f1:.0f}"),
    )  # fmt: skip
    assert heard == ["en 100", "de 0"]
    assert result["all"] == {"macro_f1": 100, "std": 0, "worst": ["en", 100], "f1": {"en": 100, "de": 0}}


def test_summary() -> None:
    scores = {
        "aa": LanguageScore(Counts(1, 2, 2), Counts(0, 1, 1)),
        "bb": LanguageScore(Counts(3, 3, 3), Counts()),
    }
    summary = summarise(scores)
    assert summary["all"] == {"macro_f1": 75, "std": 25, "worst": ["aa", 50], "f1": {"aa": 50, "bb": 100}}
    assert summary["unseen"] == {"macro_f1": 0, "std": 0, "worst": ["aa", 0], "f1": {"aa": 0, "bb": 0}}
    assert summarise({})["all"] == {"macro_f1": 0, "std": 0, "worst": None, "f1": {}}


@pytest.fixture
def many(own_data: Path) -> Path:
    """WikiANN in its 45 languages, two gold sources, of which one also has a language without test, and massive_ner."""
    nothing = [(["rain"], ["O"])]
    for language in WIKIANN_45:
        write_conll(own_data / f"ner/wikiann/{language}/test.conll.xz", nothing)
    for row in ("nchlt/zu/test", "nchlt/af/test", "nchlt/ve/train", "alpha/af/test"):
        write_conll(own_data / f"ner/{row}.conll.xz", nothing)
    for locale in ("af", "zh_TW"):
        write_conll(own_data / f"ner/massive_ner/{locale}/test.conll.xz", nothing)
    return own_data


def test_one_source_is_one_group(many: Path) -> None:
    assert groups_of("nchlt", [], "test") == {"nchlt": {"af": ("nchlt", "af"), "zu": ("nchlt", "zu")}}
    assert groups_of("nchlt", ["zu"], "test") == {"nchlt": {"zu": ("nchlt", "zu")}}
    assert list(groups_of("massive_ner", [], "test")["massive_ner"]) == ["af", "zh_TW"]
    write_conll(many / "ner/wikiann/qq/test.conll.xz", [])
    assert list(groups_of("wikiann", [], "test")["wikiann"]) == WIKIANN_45, "others only when asked for"
    assert list(groups_of("wikiann", ["qq"], "test")["wikiann"]) == ["qq"]


def test_gold_is_all_but_wikiann_with_massive_apart(many: Path) -> None:
    gold = {"alpha/af": ("alpha", "af"), "nchlt/af": ("nchlt", "af"), "nchlt/zu": ("nchlt", "zu")}
    apart = {"af": ("massive_ner", "af"), "zh_TW": ("massive_ner", "zh_TW")}
    assert groups_of("gold", [], "test") == {"gold": gold, "massive_ner": apart}
    everything = groups_of("all", [], "test")
    assert list(everything) == ["wikiann", "gold", "massive_ner"] and list(everything["wikiann"]) == WIKIANN_45
    assert everything["gold"] == gold and everything["massive_ner"] == apart
    assert groups_of("gold", [], "train") == {"gold": {"nchlt/ve": ("nchlt", "ve")}}
    zulu = {"gold": {"nchlt/zu": ("nchlt", "zu")}}
    assert groups_of("all", ["zu"], "test") == zulu, "a group without the language is left out"


def test_rows_that_are_not_there(many: Path) -> None:
    with pytest.raises(ValueError, match="^gold has no test split in: ve, xx$"):
        groups_of("gold", ["af", "xx", "ve"], "test")
    with pytest.raises(ValueError, match="^nope has no test split$"):
        groups_of("nope", [], "test")
    with pytest.raises(ValueError, match="^gold has no dev split$"):
        groups_of("gold", [], "dev")
    (many / "ner/wikiann/yo").mkdir()
    (many / "ner/wikiann/sw/test.conll.xz").unlink()
    (many / "ner/wikiann/tl/test.conll.xz").unlink()
    for source in ("wikiann", "all"):
        with pytest.raises(ValueError, match="^wikiann has no test split in: sw, tl$"):
            groups_of(source, [], "test")


def test_rows_of_several_sources(small: Path) -> None:
    write_conll(small / "ner/nchlt/en/test.conll.xz", TEST[:2])
    write_conll(small / "ner/nchlt/en/train.conll.xz", TEST[1:2])
    oracle = Oracle(read_split("wikiann", "en", "test"))
    rows = {"one": ("wikiann", "en"), "two": ("nchlt", "en")}
    scores = evaluate_rows(oracle, rows, split="test", raw=True)
    assert scores["all"]["f1"] == {"one": 100, "two": 100}
    alone = evaluate_language(oracle, "nchlt", "en", "test", raw=True)
    assert (alone.all.gold, alone.unseen.gold) == (4, 2), "unseen is what this source's own train lacks"
    assert evaluate_rows(oracle, rows, split="test", raw=True, limit=1)["unseen"]["f1"] == {"one": 0, "two": 100}


def test_retention() -> None:
    teacher = {"macro_f1": 40.0, "f1": {"a": 50.0, "b": 30.0, "c": 0.0}}
    student = {"macro_f1": 34.0, "f1": {"a": 40.0, "b": 28.0, "c": 9.0}}
    assert retention(student, teacher) == {"macro": 85.0, "least": ["a", 80.0]}
    assert retention(teacher, student) == {"macro": 117.65, "least": ["c", 0.0]}
    assert retention(student, {"macro_f1": 0.0, "f1": {"a": 0.0}}) is None
