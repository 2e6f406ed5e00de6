from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill.dataset import Packed
from distill.vectors import piece_vectors

TOPICS = (range(3, 9), range(9, 15))


def two_topics() -> Packed:
    """Sentences whose pieces all come from one of two sets; the last example is a single piece."""
    source = np.random.default_rng(0)
    ids = np.concatenate([source.choice(list(TOPICS[at % 2]), 8) for at in range(600)] + [[17]]).astype(np.uint16)
    lengths = [8] * 600 + [1]
    return Packed(
        ids,
        np.full(len(ids), -1, dtype=np.int8),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.zeros(len(lengths), dtype=np.int16),
        ("en",),
    )


def vectors(cache: Path, **options: int) -> np.ndarray:
    settings = {"vocabulary": 20, "width": 12, "epochs": 120, "threads": 1, **options}
    return piece_vectors(two_topics(), cache=cache, **settings)  # type: ignore[arg-type]


def test_pieces_of_one_topic_come_to_lie_together(tmp_path: Path) -> None:
    made = vectors(tmp_path)
    assert made.shape == (20, 12) and made.dtype == np.float32
    unseen = [0, 1, 2, 15, 16, 17, 18, 19]
    assert not made[unseen].any(), "17 never had a neighbour"
    unit = made[3:15] / np.linalg.norm(made[3:15], axis=1, keepdims=True)
    alike = unit @ unit.T
    within = (alike[:6, :6].sum() + alike[6:, 6:].sum() - 12) / 60
    assert within > alike[:6, 6:].mean() + 0.3


def test_they_are_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = vectors(tmp_path, epochs=1)
    assert len(list(tmp_path.iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr("gensim.models.Word2Vec", None)
        assert np.array_equal(vectors(tmp_path, epochs=1), first)
    vectors(tmp_path, epochs=2)
    assert len(list(tmp_path.iterdir())) == 2
