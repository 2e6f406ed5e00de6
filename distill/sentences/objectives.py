"""The losses of the stages, as the training loop wants them: functions of a model and a batch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distill.batches import Batch
from distill.dataset import Packed
from distill.sentences.drawing import Drawn
from distill.sentences.losses import Matrix, contrastive_loss, vector_loss


class Regression:
    """Stages 1 to 3: each sentence's vector is to be its target.

    `MSE(s(e), t(e)) + MSE(s(m), t(e))` is a sum over sentences: English ones and translations need not come in pairs.

    :param targets: (M, H) vectors.
    """

    def __init__(self, drawn: Drawn, targets: NDArray[np.floating]) -> None:
        self._rows, self._targets = drawn.rows, targets

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of one batch."""
        return vector_loss(model(batch.ids), rows_of(self._targets, self._rows[batch.index], like=batch.ids))


class Contrast:
    """Stage 4: the sentences of a batch, their English translations, and the teacher's vectors of these.

    :param table: the English sentences that the rows of `drawn` name.
    :param targets: (M, H) their vectors.
    :param longest: English sentences are cut there.
    """

    def __init__(
        self, drawn: Drawn, table: Packed, targets: NDArray[np.floating], *, kind: Matrix, weight: float, longest: int
    ) -> None:
        self._drawn, self._table, self._targets = drawn, table, targets
        self._kind, self._weight, self._longest = kind, weight, longest

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of one batch; an English sentence that comes several times is embedded once."""
        rows, places = np.unique(self._drawn.rows[batch.index], return_inverse=True)
        ids, mask = padded(self._table, rows, longest=self._longest)
        where = torch.from_numpy(places).to(batch.ids.device)
        english = model(ids.to(batch.ids.device), mask.to(batch.ids.device))[where]
        teacher = rows_of(self._targets, rows, like=batch.ids)[where]
        return contrastive_loss(english, model(batch.ids), teacher, kind=self._kind, weight=self._weight)


def rows_of(table: NDArray[np.floating], rows: NDArray[np.int64], *, like: Tensor) -> Tensor:
    """(B, H) rows as float32, on the device of `like`."""
    return torch.from_numpy(np.asarray(table[rows], dtype=np.float32)).to(like.device)


def padded(data: Packed, rows: NDArray[np.int64], *, longest: int) -> tuple[Tensor, Tensor]:
    """(B, T) ids and mask of examples of different lengths."""
    lengths = np.minimum(data.lengths[rows], longest)
    places = np.arange(int(lengths.max()))
    mask = places[None, :] < lengths[:, None]
    at = np.where(mask, data.offsets[rows][:, None] + places, 0)
    ids = np.where(mask, data.ids[at], 0).astype(np.int64)
    return torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64))
