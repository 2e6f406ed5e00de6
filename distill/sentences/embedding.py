"""Many sentences to vectors, in batches of equal length."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from distill.batches import gather
from distill.console import follow
from distill.dataset import Packed
from distill.sentences.model import SentenceEncoder
from distill.sentences.pool import pack_sentences
from onoma.word_table import WordTable


@torch.no_grad()
def vectors_of(
    model: SentenceEncoder, data: Packed, *, batch_pieces: int = 8192, progress: str = ""
) -> NDArray[np.float32]:
    """(N, H) vectors of packed sentences; zeros where there are no pieces. What is too long for the model is cut.

    :param progress: what a progress bar is called; none if empty.
    """
    device = next(model.parameters()).device
    before = model.training
    model.eval()
    found = np.zeros((len(data), model.config.hidden), dtype=np.float32)
    batches = _batches(data.lengths, batch_pieces)
    for index in follow(batches, progress) if progress else batches:
        ids = gather(data, index).ids[:, : model.config.max_length - (model.first_id is not None)].to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            own = model(ids)
        found[index] = own.float().cpu().numpy()
    model.train(before)
    return found


def _batches(lengths: NDArray[np.int64], pieces: int) -> list[NDArray[np.int64]]:
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    groups = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1) if len(order) else []
    batches = []
    for group in groups:
        size = max(1, pieces // int(lengths[group[0]]))
        batches += [group[low : low + size] for low in range(0, len(group), size)]
    return batches


def embedder(
    model: SentenceEncoder, tokenizer: Tokenizer | WordTable
) -> Callable[[Sequence[str]], NDArray[np.float32]]:
    """The model as distill.sentences.evaluation wants it: texts to vectors."""

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        return vectors_of(model, pack_sentences(texts, tokenizer=tokenizer, language="en"))

    return embed
