from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from toyteachers import bert_pieces

from distill.corpora import as_text, read_split, read_text
from distill.dataset import concatenate, packed_split, packed_text
from distill.materials import Materials
from distill.recipe import load_recipe
from distill.store import Store
from distill.tokenizer import MARK, SPECIALS, UNK, build_tokenizer
from distill.vocabulary import coverage, piece_counts, trim

from toydata import NAMES, Toy, random_packed  # isort: skip


def texts() -> list[str]:
    """All training texts of the small data folder, labelled and not."""
    found = [as_text(one, raw=True)[0] for name in NAMES for one in read_split("wikiann", name, "train")]
    return found + [line for name in NAMES for line in read_text(name)]


def counted(tokenizer: Path, cache: Path) -> np.ndarray:
    options = {"tokenizer_path": tokenizer, "cache": cache}
    parts = [packed_split("wikiann", name, "train", raw=True, **options) for name in NAMES]
    parts += [packed_text(name, limit=1000, **options) for name in NAMES]
    return piece_counts(concatenate(parts), Tokenizer.from_file(str(tokenizer)).get_vocab_size())


def pieces(tokenizer: Tokenizer, lines: list[str]) -> list[list[str]]:
    return [one.tokens for one in tokenizer.encode_batch(lines, add_special_tokens=False)]


def test_piece_counts_by_hand() -> None:
    data = random_packed([4, 3], vocabulary=9)
    counts = piece_counts(data, 12)
    assert len(counts) == 12 and counts.sum() == 7
    assert all(counts[piece] == (data.ids == piece).sum() for piece in range(12))


def test_text_that_was_counted_is_cut_as_before(data: Path, toy_tokenizer: Path, tmp_path: Path) -> None:
    whole = Tokenizer.from_file(str(toy_tokenizer))
    counts = counted(toy_tokenizer, tmp_path)
    smaller = trim(whole, counts, minimum=1)
    assert smaller.get_vocab_size() < whole.get_vocab_size()
    lines = texts()
    assert len(lines) > 500 and pieces(smaller, lines) == pieces(whole, lines)
    before, after = (tokenizer.encode_batch(lines) for tokenizer in (whole, smaller))
    assert [one.offsets for one in before] == [one.offsets for one in after]


def test_ids_are_dense_and_specials_stay_first(data: Path, toy_tokenizer: Path, tmp_path: Path) -> None:
    whole = Tokenizer.from_file(str(toy_tokenizer))
    counts = counted(toy_tokenizer, tmp_path)
    kept = set(whole.get_vocab())
    for minimum in (1, 5, 50, 10**6):
        smaller = trim(whole, counts, minimum=minimum)
        vocabulary = smaller.get_vocab()
        assert sorted(vocabulary.values()) == list(range(smaller.get_vocab_size()))
        assert [smaller.id_to_token(at) for at in range(3)] == list(SPECIALS)
        assert smaller.token_to_id(UNK) == smaller.encode("\u2603", add_special_tokens=False).ids[-1]
        assert set(vocabulary) <= kept
        kept = set(vocabulary)
        short = {piece for piece in whole.get_vocab() if len(piece.removeprefix(MARK)) <= 1}
        often = {piece for piece, at in whole.get_vocab().items() if counts[at] >= minimum}
        assert kept == short | often | set(SPECIALS)
    assert all(len(piece.removeprefix(MARK)) <= 1 for piece in kept - set(SPECIALS)), "a million times is never"


def test_every_word_can_still_be_spelled(data: Path, toy_tokenizer: Path) -> None:
    whole = Tokenizer.from_file(str(toy_tokenizer))
    spelled = trim(whole, np.zeros(whole.get_vocab_size(), dtype=np.int64), minimum=1)
    for before, after in zip(pieces(whole, texts()), pieces(spelled, texts()), strict=True):
        assert "".join(before) == "".join(after)


def test_coverage_by_hand() -> None:
    scores = [(MARK + "ab", -1.0), ("c", -2.0), (MARK + "a", -3.0), ("b", -3.0), (MARK, -9.0), (MARK + "abc", -1.5)]
    whole = build_tokenizer([*((name, 0.0) for name in SPECIALS), *scores])
    smaller = trim(whole, np.array([0, 0, 0, 0, 9, 9, 9, 9, 9]), minimum=1)
    lines = ["ab", "abc abc", "ab x"]
    assert pieces(whole, lines) == [[MARK + "ab"], [MARK + "abc"] * 2, [MARK + "ab", MARK, "x"]]
    assert pieces(smaller, lines) == [[MARK + "a", "b"], [MARK + "abc"] * 2, [MARK + "a", "b", MARK, "x"]]
    found = coverage(whole, smaller, {"xx": iter(lines), "yy": []})
    # 8 pieces for 6, one unknown in both; of the 4 different pieces, that unknown one included, `▁ab` is gone.
    assert found["xx"] == {"longer": 33.333, "unknown_before": 16.667, "unknown": 12.5, "kept": 75.0}
    assert set(found["yy"].values()) == {0.0}


def test_a_recipe_that_drops_unseen_pieces_has_the_same_pieces_in_its_data(toy: Toy) -> None:
    def made(minimum: int) -> Materials:
        recipe = load_recipe(toy.write({"student.minimum_count": minimum}))
        return Materials(recipe, store=Store(toy.place.store), cache=toy.place.cache, device=torch.device("cpu"))

    whole, smaller, tiny = made(0), made(1), made(10**6)
    for name in ("labelled", "unlabelled", "everything"):
        before, after = whole.of(name), smaller.of(name)  # type: ignore[arg-type]
        assert before.pieces > 500 and before.offsets.tolist() == after.offsets.tolist()
        assert before.tags.tolist() == after.tags.tolist()
        pieces = [[one.tokenizer.id_to_token(int(at)) for at in data.ids]
                  for one, data in ((whole, before), (smaller, after))]  # fmt: skip
        assert pieces[0] == pieces[1]
    sizes = [one.tokenizer.get_vocab_size() for one in (whole, smaller, tiny)]
    assert sizes[0] > sizes[1] > sizes[2]
    assert set(np.concatenate([smaller.labelled.ids, smaller.unlabelled.ids])) <= set(range(sizes[1]))
    assert whole.coverage is None and smaller.coverage is not None and tiny.coverage is not None
    assert set(smaller.coverage) == {"de", "en"}
    assert smaller.coverage["de"]["longer"] < tiny.coverage["de"]["longer"] > 20
    assert smaller.coverage["de"]["kept"] > tiny.coverage["de"]["kept"]


def test_the_pieces_that_begin_a_word_can_be_chosen(toy: Toy) -> None:
    recipe = load_recipe(toy.write({"loss.pieces": "first"}))
    own = Materials(recipe, store=Store(toy.place.store), cache=toy.place.cache, device=torch.device("cpu"))
    assert own.chosen is not None and own.chosen.shape == (own.tokenizer.get_vocab_size(),)
    encoded = own.tokenizer.encode("Karla Voss , Nordbank", add_special_tokens=False)
    words = [piece.startswith(MARK) for piece in encoded.tokens]
    assert own.chosen[torch.tensor(encoded.ids)].tolist() == words and sum(words) == 4 < len(words)


def test_only_unigram_vocabularies_are_trimmed() -> None:
    with pytest.raises(ValueError, match="only Unigram vocabularies can be trimmed, this one is WordPiece"):
        trim(bert_pieces(), np.ones(99, dtype=np.int64), minimum=1)
