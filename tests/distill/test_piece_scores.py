"""Spans and F1 on pieces, against loops over one piece after another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from toydata import random_packed

from distill.dataset import LABELS, Packed, concatenate
from distill.piece_scores import f1_by_language, macro_f1, spans
from distill.students import Output
from onoma.labels import LabelSet

TYPES = LabelSet(LABELS.tags).types


def packed(examples: list[str], language: str = "en") -> Packed:
    """Examples written as tags with spaces between."""
    tags = [[LABELS.index[tag] for tag in example.split()] for example in examples]
    sizes = [len(one) for one in tags]
    flat = np.array([tag for one in tags for tag in one], dtype=np.int8)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Packed(flat.astype(np.uint16) + 3, flat, offsets, np.zeros(len(sizes), dtype=np.int16), (language,))


def slowly(tags: NDArray[np.int8], offsets: NDArray[np.int64]) -> list[list[int]]:
    """What `spans` says, piece by piece."""
    found = []
    for low, high in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        before = ""
        for at in range(low, high):
            tag = LABELS.tags[tags[at]]
            if tag.startswith("B-") or (tag.startswith("I-") and before[2:] != tag[2:]):
                found.append([at, at + 1, 1 + TYPES.index(tag[2:])])
            elif tag.startswith("I-"):
                found[-1][1] = at + 1
            before = tag
    return found


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        ("O B-PER I-PER O", [("PER", 1, 3)]),
        ("B-PER B-PER I-PER", [("PER", 0, 1), ("PER", 1, 3)]),
        ("I-LOC I-LOC O I-ORG", [("LOC", 0, 2), ("ORG", 3, 4)]),
        ("B-LOC I-ORG I-ORG", [("LOC", 0, 1), ("ORG", 1, 3)]),
        ("O O", []),
    ],
)
def test_spans_by_hand(example: str, expected: list[tuple[str, int, int]]) -> None:
    data = packed([example])
    found = [(TYPES[kind - 1], low, high) for low, high, kind in spans(data.tags, data.offsets).tolist()]
    assert found == expected


def test_a_span_ends_where_its_example_ends() -> None:
    data = packed(["O B-PER", "I-PER O", "I-PER"])
    assert spans(data.tags, data.offsets)[:, :2].tolist() == [[1, 2], [2, 3], [4, 5]]


def test_spans_are_those_of_a_slow_loop() -> None:
    for seed in range(30):
        source = np.random.default_rng(seed)
        sizes = source.integers(0, 6, 40)
        sizes[-1] *= seed % 2  # the last example may be empty
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        tags = source.integers(0, 7, sizes.sum()).astype(np.int8)
        assert spans(tags, offsets).tolist() == slowly(tags, offsets)


def test_f1_of_each_language_by_hand() -> None:
    english = packed(["B-PER I-PER O B-LOC", "O B-ORG"], "en")
    german = packed(["B-PER O", "O O"], "de")
    data = concatenate([english, german])
    predicted = packed(["B-PER I-PER O B-ORG", "B-LOC B-ORG", "B-PER I-PER", "O O"]).tags
    # English: 2 of 3 gold spans right among 4 predicted; German: the one predicted is too long.
    assert f1_by_language(predicted, data) == {"de": 0.0, "en": pytest.approx(100 * 2 * 2 / (3 + 4))}
    assert f1_by_language(data.tags, data) == {"de": 100.0, "en": 100.0}
    nothing = np.zeros(data.pieces, dtype=np.int8)
    assert f1_by_language(nothing, data) == {"de": 0.0, "en": 0.0}
    empty = replace(data, tags=nothing)
    assert f1_by_language(nothing, empty) == {"de": 0.0, "en": 0.0}, "no spans anywhere is no F1"


class Oracle(nn.Module):
    """Says the tag that `random_packed` gives a piece, its id modulo 7, but for the pieces of `wrong`."""

    def __init__(self, *wrong: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.eye(7)[torch.arange(40) % 7])
        with torch.no_grad():
            self.table[list(wrong)] = torch.eye(7)[LABELS.outside] * 2

    def forward(self, ids: Tensor, mask: Tensor, *, full: bool) -> Output:
        assert full and bool(mask.all()) and not torch.is_grad_enabled()
        return Output(self.table[ids], self.table[ids])


@pytest.mark.parametrize("batch_tokens", [1, 16, 8192])
def test_macro_f1_is_the_mean_over_languages_of_what_the_model_says(batch_tokens: int) -> None:
    data = random_packed([3, 7, 1, 4, 4, 2, 9, 5], languages=("de", "en", "ru"))
    assert macro_f1(Oracle(), data, batch_tokens=batch_tokens) == 100
    wrong = (8, 9, 10, 11, 12, 22, 23)
    said = np.where(np.isin(data.ids, wrong), LABELS.outside, data.tags).astype(np.int8)
    want = f1_by_language(said, data)
    assert 0 < min(want.values()) < 100 and len(set(want.values())) > 1
    assert macro_f1(Oracle(*wrong), data, batch_tokens=batch_tokens) == pytest.approx(sum(want.values()) / 3)
