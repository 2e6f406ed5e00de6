from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
import pytest

from distill.sentences.dictionaries import Words
from distill.sentences.wordwise import (
    FUNCTION,
    counted,
    lemmas,
    make_lexicon,
    translated,
    wordwise_pairs,
)

WORDS = [
    Words("de", "Pferd", "en", "horse"),
    Words("de", "reiten", "en", "ride"),
    Words("de", "Mann", "en", "man"),
    Words("de", "Mann", "en", "husband"),
    Words("de", "Mensch", "en", "man"),
    Words("de", "auf dem Land", "en", "rural"),
    Words("en", "horse", "ja", "馬"),
    Words("en", "man", "ja", "男"),
]


@pytest.fixture
def dictionaries(tmp_path: Path) -> Path:
    return written(tmp_path / "words.tsv.xz", WORDS)


def written(path: Path, words: list[Words]) -> Path:
    with lzma.open(path, "wt", encoding="utf-8", newline="\n") as file:
        file.writelines("\t".join(pair) + "\n" for pair in words)
    return path


@pytest.mark.parametrize(
    ("word", "lemma"),
    [("horses", "horse"), ("stopped", "stop"), ("studies", "study"), ("riding", "ride"), ("men", "man")],
)
def test_an_english_form_leads_to_its_lemma(word: str, lemma: str) -> None:
    found = list(lemmas(word))
    assert found[0] == word and lemma in found


def test_words_of_a_language_without_spaces_are_runs_of_signs() -> None:
    assert counted(["馬馬", "馬"], "ja") == {"馬": 3, "馬馬": 1}
    assert counted(["Das Pferd, das"], "de") == {"das": 2, "pferd": 1, ",": 1}


def test_a_lexicon_has_the_forms_that_text_has(dictionaries: Path) -> None:
    text = ["die Pferde und das Pferd"] * 9 + ["er reitet", "sie ritten"] * 5 + ["der Mann"] * 4 + ["ein Mensch"]
    lexicon = make_lexicon(dictionaries, "de", text)
    forms, up_to = lexicon.forms["horse"]
    assert set(forms) == {"pferd", "pferde"} and up_to[-1] == pytest.approx(1)
    assert {"reiten", "reitet"} <= set(lexicon.forms["ride"][0])
    # `Mann` has two meanings and `Mensch` one; but it is more frequent.
    assert lexicon.forms["husband"][0] == ["mann"]
    forms, up_to = lexicon.forms["man"]
    shares = dict(zip(forms, np.diff([0, *up_to]), strict=True))
    assert shares["mann"] == pytest.approx(4.1**0.5 / 2 / (4.1**0.5 / 2 + 1.1**0.5))
    assert lexicon.find("Horses") == lexicon.forms["horse"]
    assert lexicon.find("cow") is None


def test_a_sentence_is_put_word_by_word(dictionaries: Path) -> None:
    rng = np.random.default_rng(1)
    german = make_lexicon(dictionaries, "de", ["Pferde"] * 500 + ["reiten"] * 500)
    assert "the" in FUNCTION
    assert translated("The horse, Mary!", german, rng) in ("pferde , Mary !", "pferd , Mary !")
    assert translated("Quite other words than those", german, rng) is None
    assert translated("horse horse horse unknown", german, rng) is not None  # three in four
    assert translated("horse horse unknown", german, rng) is None
    assert translated("12 !", german, rng) is None
    japanese = make_lexicon(dictionaries, "ja", [])
    assert translated("the man of the horse", japanese, rng) == "男馬"


def test_pairs_are_of_sentences_that_may_be_learnt(similarity: Path, dictionaries: Path, tmp_path: Path) -> None:
    sentences = ["a man rides a horse", "horse", "horse " * 31, "nothing known in here"]
    found = wordwise_pairs(sentences, "de", dictionaries)
    assert [pair.english for pair in found] == ["a man rides a horse"]
    assert found == wordwise_pairs(sentences, "de", dictionaries)  # chance has a seed
    assert wordwise_pairs(sentences, "en", dictionaries) == wordwise_pairs(sentences, "fr", dictionaries) == []
    # What is put word by word may be a sentence that is kept for judging.
    words = [Words("de", f"de{word}", "en", word) for word in ("cat", "sleeps", "soundly")]
    kept = written(tmp_path / "kept.tsv.xz", words)
    found = wordwise_pairs(["cat sleeps soundly"], "de", kept)
    assert [pair.sentence for pair in found] == ["decat desleeps desoundly"]
