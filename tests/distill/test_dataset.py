from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models
from toydata import random_packed, sentences, write_conll, write_text

from distill.corpora import read_split
from distill.dataset import LABELS, NO_TAG, Packed, concatenate, pack, packed_split, packed_text, segment_tags
from onoma.encoding import Segment


def segment(*spans: tuple[int, int]) -> Segment:
    """Pieces at the given character offsets."""
    return Segment(
        ids=np.zeros(len(spans), dtype=np.int64),
        starts=np.array([low for low, _ in spans], dtype=np.int64),
        ends=np.array([high for _, high in spans], dtype=np.int64),
        continues=np.zeros(len(spans), dtype=np.bool_),
        windows=(),
    )


def names(tags: np.ndarray) -> list[str]:
    return [LABELS.tags[tag] for tag in tags.tolist()]


def same(one: Packed, two: Packed) -> bool:
    arrays = ("ids", "tags", "offsets", "language")
    return one.languages == two.languages and all(
        np.array_equal(getattr(one, name), getattr(two, name)) and getattr(one, name).dtype == getattr(two, name).dtype
        for name in arrays
    )


def test_the_first_piece_begins_an_entity() -> None:
    cut = segment((0, 3), (3, 6), (7, 9), (10, 12), (12, 13))
    assert names(segment_tags(cut, [(0, 6, "PER"), (10, 12, "LOC")])) == ["B-PER", "I-PER", "O", "B-LOC", "O"]
    assert names(segment_tags(cut, [])) == ["O"] * 5


def test_neighbours_and_pieces_that_overlap_in_part() -> None:
    cut = segment((0, 4), (4, 8))
    assert names(segment_tags(cut, [(0, 4, "PER"), (4, 8, "PER")])) == ["B-PER", "B-PER"]
    assert names(segment_tags(cut, [(2, 5, "ORG")])) == ["B-ORG", "I-ORG"]
    assert names(segment_tags(cut, [(90, 95, "ORG")])) == ["O", "O"], "an entity of another segment"
    assert names(segment_tags(segment((20, 24)), [(18, 24, "ORG")])) == ["B-ORG"], "an entity cut by a segment's edge"


def test_packed_texts_are_segmented_windowed_and_tagged(tokenizer: Tokenizer) -> None:
    text = "Ada Byron works. Tove left Brenholm."
    entities = [(0, 9, "PER"), (17, 21, "PER"), (27, 35, "LOC")]
    made = pack(iter([(text, entities), (text, None), ("   ", [])]), tokenizer=tokenizer, language="en")
    assert len(made) == 4, "two sentences, twice; nothing of a blank text"
    assert made.offsets[-1] == made.pieces == made.lengths.sum()
    low, middle, high = made.offsets[0], made.offsets[1], made.offsets[2]
    first, second = (names(made.tags[a:b]) for a, b in ((low, middle), (middle, high)))
    assert (first[0], second[0]) == ("B-PER", "B-PER")
    assert (first.count("B-PER"), second.count("B-PER"), second.count("B-LOC")) == (1, 1, 1)
    assert (made.tags[high:] == NO_TAG).all() and np.array_equal(made.ids[:high], made.ids[high:])
    assert made.languages == ("en",) and (made.language == 0).all()


def test_a_long_sentence_is_cut_into_windows(tokenizer: Tokenizer) -> None:
    made = pack(iter([("river " * 500, None)]), tokenizer=tokenizer, language="en")
    assert len(made) > 2 and made.lengths.max() == 192


def test_nothing_packs_to_nothing(tokenizer: Tokenizer) -> None:
    made = pack(iter([]), tokenizer=tokenizer, language="en")
    assert (len(made), made.pieces, made.offsets.tolist()) == (0, 0, [0])


def test_a_vocabulary_that_does_not_fit_is_refused() -> None:
    large = Tokenizer(models.WordLevel({str(at): at for at in range(65_537)}, unk_token="0"))
    with pytest.raises(ValueError, match="room for 65536 pieces, the tokenizer has 65537"):
        pack(iter([]), tokenizer=large, language="en")


def test_saved_and_loaded(tmp_path: Path) -> None:
    made = random_packed([3, 1, 4], languages=("de", "en"))
    made.save(tmp_path / "deep" / "x.npz")
    assert same(Packed.load(tmp_path / "deep" / "x.npz"), made)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.npz"]


def test_concatenate_keeps_the_order_and_merges_languages() -> None:
    one = random_packed([2, 3], languages=("ru", "de"))
    two = random_packed([1, 2], seed=1, languages=("en", "de"))
    both = concatenate([one, two])
    assert both.languages == ("de", "en", "ru")
    assert [both.languages[at] for at in both.language] == ["ru", "de", "en", "de"]
    assert both.lengths.tolist() == [2, 3, 1, 2]
    assert np.array_equal(both.ids, np.concatenate([one.ids, two.ids]))
    assert np.array_equal(both.tags, np.concatenate([one.tags, two.tags]))
    assert both.ids.dtype == np.uint16 and both.tags.dtype == np.int8 and both.language.dtype == np.int16
    with pytest.raises(ValueError, match="no training data"):
        concatenate([])


def test_a_split_is_cached_until_something_changes(own_data: Path, toy_tokenizer: Path, tmp_path: Path) -> None:
    path = own_data / "ner/one/en/train.conll.xz"
    cache = tmp_path / "cache"
    copied = tmp_path / "tokenizer.json"
    copied.write_bytes(toy_tokenizer.read_bytes())

    def packed(**options: object) -> Packed:
        read_split.cache_clear()
        options = {"raw": True, **options}
        return packed_split("one", "en", "train", tokenizer_path=copied, cache=cache, **options)  # type: ignore[arg-type]

    def files() -> int:
        return len(list(cache.iterdir()))

    write_conll(path, sentences("en", 10, seed=1))
    first = packed()
    before = {file: file.stat().st_mtime_ns for file in cache.iterdir()}
    assert same(packed(), first) and {file: file.stat().st_mtime_ns for file in cache.iterdir()} == before
    packed(raw=False)
    packed(limit=3)
    assert files() == 3, "the form and the limit are part of the key"
    write_conll(path, sentences("en", 10, seed=2))
    assert not same(packed(), first) and files() == 4, "so is the data"
    copied.write_text(copied.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    packed()
    assert files() == 5, "so is the tokenizer"


def test_raw_and_joined_forms_differ_only_in_their_spaces(data: Path, toy_tokenizer: Path, tmp_path: Path) -> None:
    raw, joined = (
        packed_split("wikiann", "en", "dev", tokenizer_path=toy_tokenizer, cache=tmp_path, raw=raw)
        for raw in (True, False)
    )
    assert np.array_equal(raw.ids, joined.ids) and np.array_equal(raw.tags, joined.tags)


def test_text_is_packed_without_tags(own_data: Path, toy_tokenizer: Path, tmp_path: Path) -> None:
    write_text(own_data / "text/en.txt.xz", ["Ada left", "the river is old", "Omar"])
    made = packed_text("en", tokenizer_path=toy_tokenizer, cache=tmp_path, limit=2)
    assert len(made) == 2 and (made.tags == NO_TAG).all()
    assert same(packed_text("en", tokenizer_path=toy_tokenizer, cache=tmp_path, limit=2), made)
    assert len(packed_text("en", tokenizer_path=toy_tokenizer, cache=tmp_path, limit=3)) == 3
