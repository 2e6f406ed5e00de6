from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from toydata import write_conll

from distill.corpora import Sentence, as_text, read_split, token_spans
from distill.evaluation import Counts, LanguageScore, evaluate, evaluate_language, gold_spans, summarise
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
