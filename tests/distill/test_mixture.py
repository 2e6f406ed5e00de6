from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toydata import NAMES

from distill.dataset import NO_TAG
from distill.mixture import Mixture, data_hashes, labelled, tokenizer_texts, unlabelled


def test_small_wikiann_languages_are_repeated_and_other_sources_not(
    data: Path, toy_tokenizer: Path, tmp_path: Path
) -> None:
    once = labelled(Mixture(wikiann=10, gold=7, balance=1, together=0), tokenizer_path=toy_tokenizer, cache=tmp_path)
    thrice = labelled(Mixture(wikiann=10, gold=7, balance=3, together=0), tokenizer_path=toy_tokenizer, cache=tmp_path)
    assert once.languages == thrice.languages == ("de", "en", "ru")
    # Each sentence is one example here.
    assert len(once) == 3 * 10 + 7 and len(thrice) == 3 * 3 * 10 + 7
    assert (once.tags != NO_TAG).all()
    forms = Mixture(wikiann=10, gold=7, balance=1, joined=("en",), together=0)
    both = labelled(forms, tokenizer_path=toy_tokenizer, cache=tmp_path)
    assert len(both) == 3 * 10 + 10 + 7
    without = labelled(Mixture(wikiann=10, gold=0, balance=1, together=0), tokenizer_path=toy_tokenizer, cache=tmp_path)
    assert len(without) == 3 * 10


def test_text(data: Path, toy_tokenizer: Path, tmp_path: Path) -> None:
    made = unlabelled(Mixture(text=5, together=0), tokenizer_path=toy_tokenizer, cache=tmp_path)
    assert len(made) >= 15 and (made.tags == NO_TAG).all() and made.languages == tuple(sorted(NAMES))


def test_a_share_of_the_examples_is_put_together(data: Path, toy_tokenizer: Path, tmp_path: Path) -> None:
    for make, size in ((labelled, {"wikiann": 10}), (unlabelled, {"text": 20})):
        apart = make(Mixture(**size, together=0), tokenizer_path=toy_tokenizer, cache=tmp_path)
        half = make(Mixture(**size, together=0.5), tokenizer_path=toy_tokenizer, cache=tmp_path)
        assert half.pieces == apart.pieces and 0.4 * len(apart) < len(half) < 0.9 * len(apart)
        assert sorted(half.ids.tolist()) == sorted(apart.ids.tolist())


def test_entities_of_a_share_of_the_examples_are_replaced(data: Path, toy_tokenizer: Path, tmp_path: Path) -> None:
    plain, changed = (
        labelled(Mixture(wikiann=40, mentions=share, together=0), tokenizer_path=toy_tokenizer, cache=tmp_path)
        for share in (0.0, 0.5)
    )
    assert len(plain) == len(changed) and (plain.language == changed.language).all()
    before, after = (np.split(one.ids, one.offsets[1:-1]) for one in (plain, changed))
    same = [one.tolist() == other.tolist() for one, other in zip(before, after, strict=True)]
    assert 0.3 * len(same) < sum(same) < 0.9 * len(same)


def test_a_gazetteer_that_would_be_ignored_is_refused() -> None:
    with pytest.raises(ValueError, match="gazetteer names.tsv has no effect without mentions above 0, got 0"):
        Mixture(gazetteer="names.tsv")


def test_no_data_is_said_plainly(own_data: Path, toy_tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no training data"):
        labelled(Mixture(), tokenizer_path=toy_tokenizer, cache=tmp_path)


def test_hashes_name_what_was_trained_on(data: Path) -> None:
    assert set(data_hashes(Mixture())) == {"wikiann", "goldsource"}


def test_texts_for_the_tokenizer(data: Path) -> None:
    texts = list(tokenizer_texts(main_bytes=200, other_bytes=0))
    assert sum(len(text.encode()) for text in texts[-20:]) > 0
    labelled_count = 3 * 160 + 30
    assert 3 <= len(texts) - labelled_count <= 3 * 200 / 20
    assert "Omar read Hamlet." in texts
