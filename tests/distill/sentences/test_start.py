from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models

from distill.dataset import NO_TAG, Packed
from distill.sentences.pool import Pool
from distill.sentences.start import Way, anchors, by_words, mapped, spread_out
from tests.distill.sentences.toy_recipe import write_lines

PIECES = ["<pad>", "<unk>", "<mask>", "▁cat", "▁die", "s", "▁katze", "▁zzz"]


def packed(rows: list[list[int]], languages: tuple[str, ...], language: list[int]) -> Packed:
    ids = np.array([piece for row in rows for piece in row], dtype=np.uint16)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    tags = np.full(len(ids), NO_TAG, dtype=np.int8)
    return Packed(ids, tags, offsets, np.array(language, dtype=np.int16), languages)


def test_anchors_are_whole_words_that_are_english_more_than_anything_else() -> None:
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in PIECES], unk_id=1))
    english = packed([[3, 5, 4] * 20], ("en",), [0])
    german = packed([[4] * 19_000 + [6] * 1000], ("de",), [0])
    nothing = np.zeros(1, dtype=np.int32)
    pool = Pool(german, nothing, nothing.astype(np.int8), english, ("cats die",), packed([], (), []))
    words = {"cat": 70, "die": 71, "##s": 72, "katze": 73, "<unk>": 1}
    # "die" is 19 of 20 German pieces, but a third of the English ones; katze is no English word here.
    assert anchors(pool, tokenizer, words) == {3: 70, 5: 72}
    assert anchors(pool, tokenizer, words, minimum=21) == {}


@pytest.mark.parametrize("way", ["neighbours", "linear"])
def test_a_piece_starts_among_the_words_that_it_is_next_to(way: Way) -> None:
    generator = torch.Generator().manual_seed(1)
    # The embeddings are a linear function of the vectors; pieces 50..59 lie where 0..9 lie, and 60 nowhere.
    vectors = torch.nn.functional.normalize(torch.randn(50, 6, generator=generator), dim=1)
    matrix = vectors @ torch.randn(6, 12, generator=generator) + 0.5
    own = torch.cat([vectors, vectors[:10] * 3, torch.zeros(1, 6)])
    known = {at: at for at in range(50)}
    found = mapped(own.numpy(), known, matrix, way=way)
    assert found.shape == (61, 12)
    torch.testing.assert_close(found[:50], matrix)  # known pieces are what they are
    centre = matrix.mean(dim=0)
    torch.testing.assert_close(found[60], centre)
    near = torch.nn.functional.normalize(found[50:60] - centre, dim=1)
    alike = near @ torch.nn.functional.normalize(matrix - centre, dim=1).T
    assert (alike.argmax(dim=1) == torch.arange(10)).float().mean() >= 0.8
    assert (found[50:60] - centre).norm(dim=1).mean() == pytest.approx(
        float((matrix - centre).norm(dim=1).mean()), rel=0.35
    )


def test_words_start_where_the_teacher_has_their_translations(tmp_path: Path) -> None:
    dictionaries = tmp_path / "words.tsv.xz"
    lines = ["de\tMann\ten\tman", "de\tMann\ten\thusband", "en\tman\tfr\thomme", "de\tUhu\tfr\thibou"]
    write_lines(dictionaries, lines)
    vectors = {"man": torch.tensor([1.0, 0.0]), "husband": torch.tensor([0.0, 3.0]), "##s": torch.tensor([5.0, 6.0])}
    names = ["", "en man", "de mann", "fr homme", "de uhu", " ##s", " ▁xyz", "sv man"]
    found, many = by_words(names, dictionaries, lambda word: vectors.get(word, torch.zeros(2)))
    assert many == 4
    centre = torch.tensor([1 + 0.5 + 1 + 5, 1.5 + 6]) / 4
    wanted = [centre, vectors["man"], torch.tensor([0.5, 1.5]), vectors["man"], centre, vectors["##s"], centre, centre]
    torch.testing.assert_close(found, torch.stack(wanted))


def test_nothing_to_start_from_is_an_error() -> None:
    with pytest.raises(ValueError, match="no piece of the vocabulary is a word of the teacher"):
        mapped(np.ones((3, 2), dtype=np.float32), {}, torch.ones(3, 4), way="neighbours")


def test_what_is_rarely_seen_goes_where_its_neighbours_are() -> None:
    generator = torch.Generator().manual_seed(3)
    vectors = torch.nn.functional.normalize(torch.randn(40, 5, generator=generator), dim=1)
    vectors[30:35] = vectors[:5] * 2  # neighbours of 0..4, hardly trained
    vectors[35] = 0  # never seen by skip-gram
    matrix = torch.randn(40, 7, generator=generator)
    counts = np.full(40, 400)
    counts[30:40] = [0, 0, 0, 0, 10, 0, 20, 79, 80, 81]
    found = spread_out(vectors.numpy(), matrix, counts, rare=20)
    kept = [*range(30), 35, 38, 39]
    torch.testing.assert_close(found[kept], matrix[kept])
    centre = matrix[[*range(30), 38, 39]].mean(dim=0)
    alike = torch.nn.functional.cosine_similarity(found[30:34] - centre, matrix[:4] - centre)
    assert (alike > 0.5).all()
    # Seen half as often as `rare`, it keeps a third of its own place.
    share = 10 / 30
    moved = (found[34] - share * matrix[34]) / (1 - share)
    assert torch.nn.functional.cosine_similarity(moved - centre, matrix[4] - centre, dim=0) > 0.5
    with pytest.raises(ValueError, match="start.rare is 500, but no piece was seen 2000 times"):
        spread_out(vectors.numpy(), matrix, counts, rare=500)
