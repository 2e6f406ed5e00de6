"""Batches of examples of equal length: no padding, hence no wasted arithmetic and no packing of RNN inputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.dataset import Packed


@dataclass(frozen=True, slots=True)
class Batch:
    """`index` (B,) says which examples; ids and tags are (B, T) int64, tags -1 where there is none.

    :param progress: share of the training that is done when the batch comes; 0 outside of training.
    """

    index: NDArray[np.int64]
    ids: Tensor
    tags: Tensor
    progress: float = 0.0

    @property
    def mask(self) -> Tensor:
        """(B, T) ones: every piece is real."""
        return torch.ones_like(self.ids)

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        return Batch(self.index, self.ids.to(device), self.tags.to(device), self.progress)


def epoch_batches(data: Packed, *, batch_tokens: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Example indices of every batch of one epoch, in an order fixed by (seed, epoch).

    Examples are shuffled, grouped by length, and cut into batches of at most `batch_tokens` pieces; then the batches
    are shuffled.
    """
    rng = np.random.default_rng([seed, epoch])
    lengths = data.lengths
    chosen = rng.permutation(np.flatnonzero(lengths > 0))
    chosen = chosen[np.argsort(lengths[chosen], kind="stable")]
    bounds = np.flatnonzero(np.diff(lengths[chosen])) + 1
    batches = []
    for group in np.split(chosen, bounds):
        if len(group):
            size = max(1, batch_tokens // int(lengths[group[0]]))
            batches += [group[low : low + size] for low in range(0, len(group), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def piece_positions(data: Packed, index: NDArray[np.int64]) -> NDArray[np.int64]:
    """(B, T) where the pieces of the examples of equal length named by `index` stand in `data`."""
    starts = data.offsets[index]
    length = int(data.offsets[index[0] + 1] - starts[0])
    return np.asarray(starts[:, None] + np.arange(length))


def gather(data: Packed, index: NDArray[np.int64]) -> Batch:
    """The batch of examples of equal length named by `index`."""
    positions = piece_positions(data, index)
    return Batch(
        index,
        torch.from_numpy(data.ids[positions].astype(np.int64)),
        torch.from_numpy(data.tags[positions].astype(np.int64)),
    )
