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
from distill.teacher_cache import Targets
from distill.transfer import (
    TransferLoss,
    TutoredLoss,
    centred,
    label_loss,
    logit_loss,
    supervised_loss,
)

DATA = random_packed([3, 5, 3, 2, 5, 4])


def test_logit_loss_by_hand() -> None:
    student = torch.tensor([[[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]])
    teacher = torch.tensor([[[3.0, 2.0, 1.0], [9.0, 9.0, 9.0]]])
    # Centred: (-1, 0, 1) and (1, 0, -1) differ by (2, 0, 2); the second piece, a constant, not at all.
    assert float(logit_loss(student, teacher)) == pytest.approx(0.5 * (4 + 0 + 4) / 2)
    assert float(logit_loss(teacher + 7, teacher)) == pytest.approx(0, abs=1e-9)
    assert centred(student)[0, 0].tolist() == [-1, 0, 1]


def test_label_loss_by_hand_leaves_out_the_unlabelled() -> None:
    student = torch.tensor([[[0.0, 0.0], [1.0, 3.0], [50.0, -50.0]]])
    expected = (np.log(2) + np.log(1 + np.exp(-2))) / 2
    assert float(label_loss(student, torch.tensor([[0, 1, -1]]))) == pytest.approx(expected)
    student.requires_grad_()
    nothing = label_loss(student, torch.tensor([[-1, -1, -1]]))
    nothing.backward()
    assert float(nothing.detach()) == 0 and student.grad is not None and not student.grad.any()


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
        both = TransferLoss(teacher, logits=2.0, labels=0.5)(student, batch)
        output = student(batch.ids, batch.mask)
        by_hand = 2 * logit_loss(output, teacher.table[batch.ids]) + 0.5 * label_loss(output, batch.tags)
        torch.testing.assert_close(both, by_hand)
        alone = TransferLoss(teacher, logits=0.0, labels=1.0)(student, batch)
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
