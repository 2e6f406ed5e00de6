"""A torch model behind onoma's Tagger, so that training looks at the same numbers the service will give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn

from distill.dataset import LABELS
from onoma.bundle import Calibration, TokenizerFacts
from onoma.encoding import Encoder
from onoma.tagger import Tagger


class TorchModel:
    """onoma's Model protocol over a student or a Hugging Face token classifier without special tokens."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._device = next(model.parameters()).device

    @torch.no_grad()
    def infer(self, inputs: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """Emissions (T_i, C) of each window (T_i,)."""
        if not inputs:
            return []
        width = max(len(ids) for ids in inputs)
        batch = torch.zeros((len(inputs), width), dtype=torch.long)
        mask = torch.zeros_like(batch)
        for row, ids in enumerate(inputs):
            batch[row, : len(ids)] = torch.from_numpy(ids)
            mask[row, : len(ids)] = 1
        output = self._model(batch.to(self._device), attention_mask=mask.to(self._device))
        logits = (output if isinstance(output, torch.Tensor) else output.logits).float().cpu().numpy()
        return [logits[row, : len(ids)] for row, ids in enumerate(inputs)]


def torch_tagger(model: nn.Module, tokenizer: Tokenizer, *, max_length: int = 256, overlap: int = 48) -> Tagger:
    """A Tagger over a torch model (put it in eval mode first) and the tokenizer it was trained with."""
    return Tagger(
        encoder=Encoder(tokenizer, facts=TokenizerFacts(pad_id=0), limit=max_length, overlap=overlap),
        model=TorchModel(model),
        labels=LABELS,
        calibration=Calibration(),
    )
