from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models
from toydata import random_packed, sentences, write_conll, write_text

from distill.corpora import read_split
from distill.dataset import (
    LABELS,
    NO_TAG,
    Packed,
    concatenate,
    pack,
    packed_split,
    packed_text,
    sample,
    segment_tags,
    select,
    training_encoder,
    untagged,
)
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
    return (one.languages, one.texts) == (two.languages, two.texts) and all(
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


def pieces_of(data: Packed, tokenizer: Tokenizer) -> list[list[int]]:
    """Of each example's text, encoded again."""
    encoded = training_encoder(tokenizer).encode(data.texts or ())
    return [[int(piece) for ids in one.inputs for piece in ids] for one in encoded]


def test_kept_texts_give_the_same_pieces_alone(tokenizer: Tokenizer) -> None:
    content = [("Ada Byron works.  Tove left Brenholm.", [(0, 9, "PER")]), ("  ", None), ("река у\tСира 🇩🇪", None)]
    made = pack(iter(content), tokenizer=tokenizer, language="en", keep_texts=True)
    assert made.texts == ("Ada Byron works.", "Tove left Brenholm.", "река у\tСира 🇩🇪")
    assert pieces_of(made, tokenizer) == [one.tolist() for one in np.split(made.ids, made.offsets[1:-1])]
    assert same(made, replace(pack(iter(content), tokenizer=tokenizer, language="en"), texts=made.texts))


def test_a_window_that_begins_inside_a_word_is_left_out_with_its_text(tokenizer: Tokenizer) -> None:
    """Alone, its first piece would begin a word."""
    content = [("Ada", None), ("en" * 300, None), ("Tove", None)]
    whole = pack(iter(content), tokenizer=tokenizer, language="en")
    made = pack(iter(content), tokenizer=tokenizer, language="en", keep_texts=True)
    assert made.texts is not None and len(made.texts) == len(made) < len(whole)
    assert (made.texts[0], made.texts[-1]) == ("Ada", "Tove")
    assert made.offsets[-1] == made.pieces == len(made.tags) and len(made.language) == len(made)
    assert pieces_of(made, tokenizer) == [one.tolist() for one in np.split(made.ids, made.offsets[1:-1])]


def test_texts_saved_and_loaded(tmp_path: Path) -> None:
    texts = ("", "Köln", "東京\0", "x" * 5000, " a\n")
    made = replace(random_packed([1, 1, 1, 1, 1]), texts=texts)
    made.save(tmp_path / "x.npz")
    assert same(Packed.load(tmp_path / "x.npz"), made)
    many = replace(random_packed([1] * 1000), texts=("x" * 10_000, *["a"] * 999))
    many.save(tmp_path / "y.npz")
    assert same(Packed.load(tmp_path / "y.npz"), many)
    assert (tmp_path / "y.npz").stat().st_size < 100_000, "one long text does not lengthen the others"
    none = replace(random_packed([]), texts=())
    none.save(tmp_path / "z.npz")
    assert same(Packed.load(tmp_path / "z.npz"), none)


def test_texts_go_where_their_examples_go() -> None:
    one = replace(random_packed([2, 0, 3]), texts=("a", "b", "c"))
    two = replace(random_packed([1], seed=1), texts=("d",))
    assert concatenate([one, two]).texts == ("a", "b", "c", "d")
    assert concatenate([one, random_packed([1])]).texts is None
    assert concatenate([random_packed([1])]).texts is None
    assert select(one, slice(1, 3)).texts == ("b", "c")
    assert select(one, np.array([True, False, True])).texts == ("a", "c")
    assert select(random_packed([1, 2]), slice(0, 1)).texts is None
    assert untagged(one).texts == one.texts and (untagged(one).tags == NO_TAG).all()
    drawn = sample(one, 3, seed=2)
    assert [{"a": 2, "b": 0, "c": 3}[text] for text in drawn.texts or ()] == drawn.lengths.tolist()


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
    assert packed(limit=3, texts=True).texts and packed(limit=3).texts is None and files() == 4, "so are texts"
    write_conll(path, sentences("en", 10, seed=2))
    assert not same(packed(), first) and files() == 5, "so is the data"
    copied.write_text(copied.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    packed()
    assert files() == 6, "so is the tokenizer"


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
    texts = packed_text("en", tokenizer_path=toy_tokenizer, cache=tmp_path, limit=3, texts=True).texts
    assert texts == ("Ada left", "the river is old", "Omar")
