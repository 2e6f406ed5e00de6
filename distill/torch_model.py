"""A torch model behind onoma's Tagger, so that training looks at the same numbers the service will give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn

from distill.crf import Crf
from distill.dataset import LABELS
from distill.students import Student
from onoma.bundle import Calibration, TokenizerFacts, Transitions
from onoma.encoding import Encoder
from onoma.labels import LabelSet
from onoma.model import padded
from onoma.tagger import Tagger


class TorchModel:
    """onoma's Model protocol over a student or a Hugging Face token classifier.

    :param facts: the pieces around a window, which get no emissions.
    :param columns: (C,) which of the model's columns each label is; None where they agree.
    """

    def __init__(self, model: nn.Module, *, facts: TokenizerFacts, columns: torch.Tensor | None = None) -> None:
        self._model, self._facts, self._columns = model, facts, columns
        self._device = next(model.parameters()).device

    @torch.no_grad()
    def infer(self, inputs: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """Emissions (T_i, C) of each window (T_i,)."""
        if not inputs:
            return []
        ids, mask, places = padded(inputs, self._facts)
        batch = torch.from_numpy(ids).to(self._device)
        output = self._model(batch, attention_mask=torch.from_numpy(mask).to(self._device))
        logits = (output if isinstance(output, torch.Tensor) else output.logits).float().cpu()
        if self._columns is not None:
            logits = logits[..., self._columns]
        return [rows[place] for rows, place in zip(logits.numpy(), places, strict=True)]


def transitions_of(crf: Crf) -> Transitions:
    """The transitions of a student as onoma's decoder takes them."""
    return Transitions.model_validate({name: value.tolist() for name, value in crf.state_dict().items()})


def torch_tagger(
    model: nn.Module,
    tokenizer: Tokenizer,
    *,
    labels: LabelSet = LABELS,
    facts: TokenizerFacts | None = None,
    columns: torch.Tensor | None = None,
    max_length: int = 256,
    overlap: int = 48,
) -> Tagger:
    """A Tagger over a torch model (put it in eval mode first) and the tokenizer it was trained with.

    :param labels: what it tags; a student knows its own.
    :param facts: the pieces its tokenizer puts around a text (none).
    :param columns: (C,) which of the model's columns each label is; None where they agree.
    :param max_length: most pieces that go in at once, those around the text included.
    """
    crf = None
    if isinstance(model, Student):
        labels, crf = LabelSet(model.config.labels), model.crf
    facts = facts or TokenizerFacts(pad_id=0)
    limit = max_length - len(facts.prefix_ids) - len(facts.suffix_ids)
    return Tagger(
        encoder=Encoder(tokenizer, facts=facts, limit=limit, overlap=min(overlap, limit // 4)),
        model=TorchModel(model, facts=facts, columns=columns),
        labels=labels,
        calibration=Calibration(),
        transitions=None if crf is None else transitions_of(crf),
    )
