"""Piece vectors: continuous bag of words (Mikolov et al. 2013) over word-pieces, a cheap start for embeddings.

On a CPU an encoder sees too few pieces for masked-language pretraining to teach the rare ones anything; gensim's CBOW
sees a hundred times as many in the same time.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill.dataset import Packed
from distill.files import write_array

log = logging.getLogger(__name__)


class _Sentences:
    """Examples as lists of piece names, in one fixed random order; can be walked again for each epoch."""

    def __init__(self, data: Packed, *, vocabulary: int, seed: int) -> None:
        self._data = data
        self._names = [str(piece) for piece in range(vocabulary)]
        self._order = np.random.default_rng(seed).permutation(len(data))

    def __iter__(self) -> Iterator[list[str]]:
        names = self._names
        for index in self._order:
            ids = self._data.ids[self._data.offsets[index] : self._data.offsets[index + 1]]
            if len(ids) > 1:
                yield [names[piece] for piece in ids.tolist()]


def piece_vectors(
    data: Packed,
    *,
    vocabulary: int,
    width: int,
    epochs: int,
    cache: Path,
    seed: int = 1,
    threads: int = 2,
    skip_gram: bool = False,
    window: int = 4,
) -> NDArray[np.float32]:
    """(V, D) vectors; zero rows for pieces that do not occur. From the cache if data and settings are the same.

    :param skip_gram: predict each neighbour from the piece: slower, and better where pieces are rare.
    """
    other = f" {skip_gram} {window}" if (skip_gram, window) != (False, 4) else ""
    digest = hashlib.sha256(f"{vocabulary} {width} {epochs} {seed}{other}".encode())
    for array in (data.ids, data.offsets):
        digest.update(array.tobytes())
    target = cache / f"vectors-{digest.hexdigest()[:20]}.npy"
    if target.exists():
        return np.asarray(np.load(target))
    from gensim.models import Word2Vec

    sentences = _Sentences(data, vocabulary=vocabulary, seed=seed)
    model = Word2Vec(
        vector_size=width,
        window=window,
        min_count=1,
        workers=threads,
        sg=int(skip_gram),
        negative=8,
        sample=1e-4,
        epochs=epochs,
        seed=seed,
    )
    model.build_vocab(sentences)
    log.info("piece vectors: %d pieces, %d epochs", data.pieces, epochs)
    model.train(sentences, total_examples=model.corpus_count, epochs=epochs)
    vectors = np.zeros((vocabulary, width), dtype=np.float32)
    for name, row in model.wv.key_to_index.items():
        vectors[int(name)] = model.wv.vectors[row]
    write_array(target, vectors)
    return vectors
