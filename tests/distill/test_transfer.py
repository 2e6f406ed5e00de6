from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toydata import random_packed

from distill.batches import Batch, gather
from distill.dataset import Packed, concatenate
from distill.losses import hard_loss, kl_loss, label_loss, logit_loss
from distill.teacher_cache import Targets
from distill.transfer import TransferLoss, TutoredLoss, supervised_loss

DATA = random_packed([3, 5, 3, 2, 5, 4])


class Table(nn.Module):
    """A student that looks at nothing but the piece."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(8)
        self.table = nn.Embedding(40, 7)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        assert bool(mask.all())
        return self.table(ids)  # type: ignore[no-any-return]


def batch_of(data: Packed, *index: int) -> Batch:
    return gather(data, np.array(index))


class Fixed:
    """Logits that depend on the piece alone."""

    def __init__(self) -> None:
        torch.manual_seed(4)
        self.table = torch.randn(40, 7)

    def __call__(self, batch: Batch) -> Targets:
        return Targets(self.table[batch.ids])


def test_transfer_loss_is_the_weighted_sum() -> None:
    data = concatenate([DATA, Packed(DATA.ids, DATA.tags * 0 - 1, DATA.offsets, DATA.language, DATA.languages)])
    teacher, student = Fixed(), Table()
    for index in ((1, 4), (0, 8), (6,)):  # labelled, mixed, unlabelled
        batch = batch_of(data, *index)
        both = TransferLoss(teacher, imitation=2.0, labels=0.5)(student, batch)
        output = student(batch.ids, batch.mask)
        by_hand = 2 * logit_loss(output, teacher.table[batch.ids]) + 0.5 * label_loss(output, batch.tags)
        torch.testing.assert_close(both, by_hand)
        target = teacher.table[batch.ids]
        soft = TransferLoss(teacher, imitation=1.0, labels=0.0, kind="kl", temperature=2.0)(student, batch)
        torch.testing.assert_close(soft, kl_loss(output, target, temperature=2.0))
        hard = TransferLoss(teacher, imitation=1.0, labels=0.0, kind="hard")(student, batch)
        torch.testing.assert_close(hard, hard_loss(output, target))
        alone = TransferLoss(teacher, imitation=0.0, labels=1.0)(student, batch)
        torch.testing.assert_close(alone, supervised_loss(student, batch))


def test_tutored_loss_by_hand() -> None:
    batch = gather(DATA, np.array([0]))
    table = torch.randn(40, 7, generator=torch.Generator().manual_seed(4))

    class Teacher(nn.Module):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
            return SimpleNamespace(logits=table[input_ids])

    model = Teacher()

    class Tutor(nn.Module):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            assert not self.training and not torch.is_grad_enabled()
            return torch.arange(7.0).expand(*input_ids.shape, 7)

    logs = model(batch.ids, batch.mask).logits.log_softmax(dim=-1)[0]
    soft = -(logs * torch.arange(7.0).softmax(0)).sum(-1).mean()
    hard = -logs[torch.arange(len(logs)), batch.tags[0]].mean()
    for weight in (0.0, 0.25, 1.0):
        loss = TutoredLoss(Tutor(), weight=weight)(model, batch)
        torch.testing.assert_close(loss, weight * soft + (1 - weight) * hard)
    with pytest.raises(ValueError, match=r"must be in 0\.\.1, got 1\.5"):
        TutoredLoss(Tutor(), weight=1.5)
