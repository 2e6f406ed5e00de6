from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from distill.dataset import Packed
from distill.sentences.drawing import Drawn, draw_anything, draw_pairs, draw_sentences, pair_weights
from distill.sentences.parallel import SOURCES
from distill.sentences.pool import Pool, draw, load_pool, make_pool, pack_sentences, spread, take
from distill.sentences.recipe import Data
from distill.sentences.start import interleaved

DATA = Data(
    languages=("de", "en", "fr"), english_lines=20, text_lines=30, focus_lines=30, focus=("de",), focus_weight=4
)  # fmt: skip


@pytest.fixture
def tokenizer(toy_recipe: dict[str, Any]) -> Tokenizer:
    return Tokenizer.from_file(toy_recipe["tokenizer"])


@pytest.fixture
def pool(toy_recipe: dict[str, Any], tmp_path: Path) -> Pool:
    folder = tmp_path / "pool"
    folder.mkdir()
    tokenizer = Path(toy_recipe["tokenizer"])
    make_pool(folder, tokenizer=tokenizer, languages=DATA.languages, english_lines=20, text_lines=DATA.lines)
    return load_pool(folder)


def ids(data: Packed, row: int) -> list[int]:
    return data.ids[data.offsets[row] : data.offsets[row + 1]].tolist()


def test_a_pool_keeps_every_pair_with_its_english(pool: Pool, tokenizer: Tokenizer) -> None:
    assert len(pool.pairs) == len(pool.english) == len(pool.source)
    assert len(set(pool.originals)) == len(pool.originals) == len(pool.table)
    for row in (0, len(pool.pairs) - 1):
        english = pool.originals[pool.english[row]]
        assert ids(pool.table, pool.english[row]) == tokenizer.encode(english).ids
        # The words of the made-up languages are English ones with a prefix.
        text = str(tokenizer.decode(ids(pool.pairs, row)))
        assert text.replace("▁", "").replace(" ", "").endswith(english.replace(" ", "")[-3:])
    assert pool.text.languages == ("de", "en", "fr") and len(pool.text) == 90


def test_english_text_is_not_twice_there(pool: Pool) -> None:
    alone = {tuple(ids(pool.table, row)) for row in range(len(pool.table) - 20, len(pool.table))}
    language = pool.text.languages.index("en")
    texts = {tuple(ids(pool.text, row)) for row in np.flatnonzero(pool.text.language == language)}
    assert not alone & texts


def test_lines_are_spread_over_their_file() -> None:
    lines = [str(at) for at in range(10)]
    assert spread(lines, 3) == ["0", "3", "6"] and spread(lines, 10) == spread(lines, 99) == lines


def test_weights_are_shares(pool: Pool) -> None:
    weights = np.array([1.0, 3.0, 0.0, 1.0])
    rows = draw(weights, np.array([2, 2, 2, 4]), pieces=12_000, seed=1)
    counts = np.bincount(rows, minlength=4)
    assert counts[2] == 0 and counts[1] == 3 * counts[0] == 3 * counts[3]
    assert abs(np.array([2, 2, 2, 4])[rows].sum() - 12_000) < 20
    with pytest.raises(ValueError, match="nothing to draw from"):
        draw(np.zeros(4), np.ones(4, dtype=np.int64), pieces=10, seed=1)


def test_a_row_comes_about_as_often_as_it_should() -> None:
    rows = draw(np.ones(1000), np.ones(1000, dtype=np.int64), pieces=2500, seed=3)
    counts = np.bincount(rows, minlength=1000)
    assert set(counts) == {2, 3} and abs(len(rows) - 2500) < 100
    assert not np.array_equal(rows, draw(np.ones(1000), np.ones(1000, dtype=np.int64), pieces=2500, seed=4))


def test_small_sources_and_languages_of_focus_come_more_often(pool: Pool) -> None:
    weights = pair_weights(pool, DATA)
    german = pool.pairs.language == pool.pairs.languages.index("de")
    french = pool.pairs.language == pool.pairs.languages.index("fr")
    for number, name in enumerate(SOURCES[:3]):
        of_source = pool.source == number
        assert set(weights[german & of_source]) == {4 * getattr(DATA, name)}
        assert set(weights[french & of_source]) == {getattr(DATA, name)}
    short = DATA.model_copy(update={"max_pieces": 3})
    assert set(pair_weights(pool, short)[pool.pairs.lengths > 3]) == {0.0}


def test_drawn_sentences_have_the_english_as_their_target(pool: Pool) -> None:
    drawn = draw_sentences(pool, DATA, pieces=4000, seed=1)
    english = np.array([name == "en" for name in drawn.data.languages])[drawn.data.language]
    alone = [row for row in range(len(drawn.data)) if ids(drawn.data, row) == ids(pool.table, int(drawn.rows[row]))]
    assert english[alone].all() and abs(drawn.data.lengths[alone].sum() / 4000 - DATA.english) < 0.03
    assert same(draw_sentences(pool, DATA, pieces=4000, seed=1), drawn)
    pairs = draw_pairs(pool, DATA, pieces=1000, seed=1)
    known = {(tuple(ids(pool.pairs, row)), int(pool.english[row])) for row in range(len(pool.pairs))}
    assert {(tuple(ids(pairs.data, row)), int(pairs.rows[row])) for row in range(len(pairs.data))} <= known


def same(one: Drawn, other: Drawn) -> bool:
    return np.array_equal(one.data.ids, other.data.ids) and np.array_equal(one.rows, other.rows)


def test_anything_is_answered_once_however_often_it_is_drawn(pool: Pool) -> None:
    different, drawn = draw_anything(pool, DATA, text=0.5, pieces=6000, seed=2)
    assert len(different) < len(drawn.data)
    assert len(set(drawn.rows.tolist())) == len(different)
    for row in range(0, len(drawn.data), 50):
        assert ids(drawn.data, row) == ids(different, int(drawn.rows[row]))
    assert draw_anything(pool, DATA, text=0.0, pieces=500, seed=2)[0].pieces > 0


def test_a_pair_as_one_line_keeps_both_orders(pool: Pool, tokenizer: Tokenizer) -> None:
    rows = np.array([0, 5])
    lines = interleaved(pool, rows)
    for line, row in enumerate(rows):
        own, english = ids(pool.pairs, int(row)), ids(pool.table, int(pool.english[row]))
        mixed = ids(lines, line)
        assert sorted(mixed) == sorted(own + english) and mixed not in (own + english, english + own)
        for part in (own, english):
            left = iter(mixed)
            assert all(piece in left for piece in part)  # in its own order


def test_packed_sentences_are_whole(tokenizer: Tokenizer) -> None:
    packed = pack_sentences(["the cat", "", "the dog sleeps"], tokenizer=tokenizer, language="en")
    assert packed.lengths[1] == 0 and ids(packed, 2) == tokenizer.encode("the dog sleeps").ids
    again = take(packed, np.array([2, 0, 2]))
    assert ids(again, 0) == ids(again, 2) == ids(packed, 2) and ids(again, 1) == ids(packed, 0)
