from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from distill.sentences.evaluation import (
    embed_distinct,
    ranks,
    retrieval_figures,
    spearman,
    spread,
    sts_figures,
    sts_spearman,
    tatoeba_accuracy,
    unit,
)
from distill.sentences.splits import STS_LANGUAGES, ScoredPair, Translation
from tests.similarity import bag, write_similarity

Floats = NDArray[np.float32]


def by_table(table: dict[str, list[float]]) -> object:
    def embed(texts: Sequence[str]) -> Floats:
        return np.array([table[text] for text in texts], dtype=np.float32)

    return embed


def test_ranks_share_their_mean_where_values_are_equal() -> None:
    assert ranks(np.array([10, 20, 20, 5])).tolist() == [2, 3.5, 3.5, 1]
    assert ranks(np.array([1.0, 1.0, 1.0])).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 1000], 1),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1),
        # Ranks 1 2 3 4 5 and 2 1 4 3 5: 1 - 6 * 4 / (5 * 24).
        ([1, 2, 3, 4, 5], [2, 1, 4, 3, 5], 0.8),
        # Ranks 1 2.5 2.5 4 and 1 2 3 4: 4.5 / sqrt(4.5 * 5).
        ([1, 2, 2, 3], [1, 2, 3, 4], 4.5 / np.sqrt(22.5)),
        ([1, 1, 1], [1, 2, 3], 0),
    ],
)
def test_spearman_by_hand(first: list[float], second: list[float], expected: float) -> None:
    assert spearman(np.array(first), np.array(second)) == pytest.approx(expected)


def test_spearman_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 20, 300), rng.normal(size=300)
    assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)


def test_spearman_refuses_what_has_none() -> None:
    with pytest.raises(ValueError, match=r"2 at least: \(3,\) and \(2,\)"):
        spearman(np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match="finite"):
        spearman(np.array([1.0, np.nan]), np.array([1.0, 2.0]))


def test_zeros_stay_zeros() -> None:
    assert unit(np.array([[3, 4], [0, 0]], dtype=np.float32)).tolist() == pytest.approx(
        np.array([[0.6, 0.8], [0, 0]])
    )


def test_a_text_is_embedded_once() -> None:
    asked: list[str] = []

    def embed(texts: Sequence[str]) -> Floats:
        asked.extend(texts)
        return bag(texts)

    vectors = embed_distinct(embed, ["ab", "cd", "ab"])
    assert asked == ["ab", "cd"]
    assert vectors[0].tolist() == vectors[2].tolist() != vectors[1].tolist()
    with pytest.raises(ValueError, match="must give 2 vectors"):
        embed_distinct(lambda texts: np.zeros((1, 3), dtype=np.float32), ["a", "b"])


def test_across_languages_the_first_sentence_is_the_first_language_s() -> None:
    # Cosines within a language follow the scores; de's first with en's second runs against them.
    table = {
        "e1": [1.0, 0.0], "e2": [1.0, 0.0], "e1'": [1.0, 0.0], "e2'": [0.0, 1.0],
        "d1": [0.0, 1.0], "d2": [0.0, 1.0], "d1'": [0.0, 1.0], "d2'": [1.0, 0.0],
    }  # fmt: skip
    pairs = {name: [ScoredPair(f"{x}1", f"{x}1'", 5.0), ScoredPair(f"{x}2", f"{x}2'", 1.0)] for name, x in
             (("en", "e"), ("de", "d"))}  # fmt: skip
    figures = sts_figures(by_table(table), pairs)  # type: ignore[arg-type]
    assert figures["per_language"] == {"en": 100, "de": 100} and figures["mean"] == 100 and figures["std"] == 0
    assert figures["cross"]["pairs"] == {"en-de": -100, "de-en": -100}
    assert figures["cross"]["english"] == -100 and figures["cross"]["with_english"] == {"de": -100}
    assert figures["cross"]["worst"] == ["en-de", -100]


def test_figures_of_several_languages() -> None:
    table = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [1.0, 1.0]}
    good = [ScoredPair("a", "a", 5.0), ScoredPair("a", "c", 3.0), ScoredPair("a", "b", 0.0)]
    bad = [ScoredPair("a", "b", 5.0), ScoredPair("a", "c", 3.0), ScoredPair("a", "a", 0.0)]
    figures = sts_figures(by_table(table), {"fr": good, "de": bad})  # type: ignore[arg-type]
    assert figures["per_language"] == {"fr": 100, "de": -100}
    assert (figures["mean"], figures["std"], figures["worst"]) == (0, 100, ["de", -100])
    assert "english" not in figures["cross"]  # English is none of them
    assert sts_figures(by_table(table), {"de": bad})["cross"] == {}  # type: ignore[arg-type]


def test_rows_of_other_scores_are_refused() -> None:
    pairs = {"en": [ScoredPair("a", "b", 1.0)] * 2, "de": [ScoredPair("a", "b", 2.0)] * 2}
    with pytest.raises(ValueError, match="the rows of de are not those of en"):
        sts_figures(bag, pairs)
    with pytest.raises(ValueError, match="at least one language"):
        sts_figures(bag, {})


def test_sts_from_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONOMA_DATA", str(tmp_path))
    write_similarity(tmp_path)
    figures = sts_spearman(bag, split="test")
    assert tuple(figures["per_language"]) == STS_LANGUAGES and figures["rows"] == 40
    assert figures["per_language"]["en"] > 80
    assert len(figures["cross"]["pairs"]) == 110 and len(figures["cross"]["with_english"]) == 10
    assert sts_spearman(bag, split="test", languages=("de", "en"), limit=8)["rows"] == 8


def test_a_limit_spreads_over_all_rows() -> None:
    assert spread(range(10), 5) == [0, 2, 4, 6, 8]
    assert spread(range(5), 3) == [0, 1, 3]
    assert spread(range(3), None) == spread(range(3), 9) == [0, 1, 2]


def test_retrieval_both_ways() -> None:
    table = {"un": [1.0, 0.1], "deux": [0.1, 1.0], "trois": [0.9, 0.5], "one": [1.0, 0.0], "two": [0.0, 1.0],
             "three": [0.7, 0.7]}  # fmt: skip
    lines = [Translation("un", "one"), Translation("deux", "two"), Translation("trois", "three")]
    figures = retrieval_figures(by_table(table), {"fr": lines, "none": []})  # type: ignore[arg-type]
    own = figures["per_language"]["fr"]
    # By cosine, `trois` is nearest to `three`, and so is each other to its own.
    assert own == {"lines": 3, "to_english": 100, "from_english": 100, "accuracy": 100}
    table["trois"] = [1.0, 0.15]
    own = retrieval_figures(by_table(table), {"fr": lines})["per_language"]["fr"]  # type: ignore[arg-type]
    # `trois` now goes to `one`, but nothing is nearer to `three` than it.
    assert own == {"lines": 3, "to_english": 66.67, "from_english": 100, "accuracy": 83.33}


def test_a_translation_of_the_same_sentence_is_right() -> None:
    table = {"salut": [1.0, 0.0], "bonjour": [1.0, 0.1], "hello": [1.0, 0.1], "chat": [0.0, 1.0], "cat": [0.0, 1.0]}
    lines = [Translation("salut", "hello"), Translation("bonjour", "hello"), Translation("chat", "cat")]
    figures = retrieval_figures(by_table(table), {"fr": lines})  # type: ignore[arg-type]
    assert figures["mean"] == 100 and figures["worst"] == ["fr", 100]


def test_retrieval_from_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONOMA_DATA", str(tmp_path))
    write_similarity(tmp_path)
    figures = tatoeba_accuracy(bag)
    assert list(figures["per_language"]) == ["de", "eo", "fr"] and figures["part"] == "test"
    assert figures["mean"] > 50  # far above chance, one in a dozen or two
    assert list(tatoeba_accuracy(bag, part="dev", languages=["fr"], limit=3)["per_language"]) == ["fr"]
    with pytest.raises(ValueError, match="at least one line"):
        retrieval_figures(bag, {"fr": []})
