"""Span F1 on packed examples: quick enough to be asked in every step of training."""

from __future__ import annotations

import statistics

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from distill.batches import epoch_batches, gather, piece_positions
from distill.crf import best_tags
from distill.dataset import LABELS, Packed
from distill.students import Output
from onoma.labels import LabelSet

Ints = NDArray[np.int64]


def spans(tags: NDArray[np.int8], offsets: Ints, *, labels: LabelSet = LABELS) -> Ints:
    """(K, 3) first piece, past the last, type of every span; an I- that continues nothing begins a span.

    :param tags: (sum T,) columns of `labels`; `offsets` (N + 1,) is where each example starts.
    """
    types = np.array([1 + labels.types.index(name) if name else 0 for name in labels.type_of])[tags]
    before = np.concatenate([[0], types[:-1]])
    starts = np.zeros(len(tags) + 1, dtype=np.bool_)
    starts[offsets[offsets < len(tags)]] = True
    begins = (types > 0) & (labels.begins[tags] | (before != types) | starts[:-1])
    after = np.concatenate([types[1:], [0]])
    follows = np.concatenate([begins[1:], [True]])
    ends = (types > 0) & (follows | (after != types) | starts[1:])
    first = np.flatnonzero(begins)
    return np.stack([first, np.flatnonzero(ends) + 1, types[first]], axis=1)


def f1_by_language(predicted: NDArray[np.int8], data: Packed, *, labels: LabelSet = LABELS) -> dict[str, float]:
    """Strict span F1 in percent of each language, of predicted tags (sum T,) against the data's own."""
    found, gold = (spans(tags, data.offsets, labels=labels) for tags in (predicted, data.tags))
    right = {tuple(span) for span in found.tolist()} & {tuple(span) for span in gold.tolist()}
    owner = np.repeat(data.language, data.lengths)
    counts = {name: np.zeros(3) for name in data.languages}
    for column, rows in enumerate((found.tolist(), gold.tolist(), right)):
        for first, _, _ in rows:
            counts[data.languages[owner[first]]][column] += 1
    return {name: float(200 * both / (one + two)) if one + two else 0.0 for name, (one, two, both) in counts.items()}


@torch.no_grad()
def macro_f1(model: nn.Module, data: Packed, *, labels: LabelSet = LABELS, batch_tokens: int = 8192) -> float:
    """Macro F1 over languages of a student's best tags, in percent."""
    device = next(model.parameters()).device
    predicted = np.zeros(data.pieces, dtype=np.int8)
    for index in epoch_batches(data, batch_tokens=batch_tokens, seed=0, epoch=0):
        batch = gather(data, index)
        output: Output = model(batch.ids.to(device), batch.mask.to(device), full=True)
        predicted[piece_positions(data, index)] = best_tags(output.chain()).cpu().numpy()
    return statistics.fmean(f1_by_language(predicted, data, labels=labels).values())
