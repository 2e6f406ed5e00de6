from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toydata import random_packed

import distill.transfer
from distill.batches import Batch, gather
from distill.dataset import Packed, concatenate
from distill.transfer import (
    TransferLoss,
    TutoredLoss,
    centred,
    label_loss,
    logit_loss,
    supervised_loss,
    teacher_logits,
)

CPU = torch.device("cpu")
DATA = random_packed([3, 5, 3, 2, 5, 4])


class Teacher(nn.Module):
    """Logits that depend on the piece alone; counts its calls."""

    def __init__(self, columns: int = 7) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.table = nn.Embedding(40, columns)
        self.config = SimpleNamespace(num_labels=columns)
        self.calls = 0

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        self.calls += 1
        return SimpleNamespace(logits=self.table(input_ids))


def logits(teacher: Teacher, cache: Path, data: Packed = DATA, fingerprint: str = "a") -> np.ndarray:
    return np.asarray(teacher_logits(teacher, data, cache=cache, fingerprint=fingerprint, device=CPU, batch_tokens=6))  # type: ignore[arg-type]


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


def test_the_cache_holds_the_logits_of_every_piece(tmp_path: Path) -> None:
    teacher = Teacher()
    rows = logits(teacher, tmp_path)
    assert rows.dtype == np.float16 and rows.shape == (DATA.pieces, 7)
    want = teacher.table.weight.detach().numpy()[DATA.ids.astype(np.int64)]
    np.testing.assert_allclose(rows, want, atol=2e-3)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


def test_the_cache_is_used_until_teacher_or_data_change(tmp_path: Path) -> None:
    teacher = Teacher()
    first = logits(teacher, tmp_path)
    calls = teacher.calls
    assert np.array_equal(logits(teacher, tmp_path), first) and teacher.calls == calls
    other_tags = Packed(DATA.ids, np.full_like(DATA.tags, -1), DATA.offsets, DATA.language, DATA.languages)
    logits(teacher, tmp_path, other_tags)
    assert teacher.calls == calls, "labels are nothing to the teacher"
    logits(teacher, tmp_path, fingerprint="b")
    assert teacher.calls == 2 * calls
    logits(teacher, tmp_path, random_packed([3, 5, 3, 2, 5, 4], seed=9))
    assert teacher.calls == 3 * calls
    logits(teacher, tmp_path, random_packed([5, 3, 3, 2, 5, 4]))
    assert teacher.calls == 4 * calls
    assert len(list(tmp_path.iterdir())) == 4


def test_a_half_written_cache_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(Exception):
        pass

    def killed(items: list[Any], _: str) -> Any:
        yield items[0]
        raise Killed

    teacher = Teacher()
    with monkeypatch.context() as patch:
        patch.setattr(distill.transfer, "follow", killed)
        with pytest.raises(Killed):
            logits(teacher, tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".tmp"]
    calls = teacher.calls
    rows = logits(teacher, tmp_path)
    assert teacher.calls > calls + 1 and rows.any(axis=1).all()
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


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


def test_transfer_loss_is_the_weighted_sum(tmp_path: Path) -> None:
    data = concatenate([DATA, Packed(DATA.ids, DATA.tags * 0 - 1, DATA.offsets, DATA.language, DATA.languages)])
    teacher, student = Teacher(), Table()
    rows = logits(teacher, tmp_path, data)
    for index in ((1, 4), (0, 8), (6,)):  # labelled, mixed, unlabelled
        batch = batch_of(data, *index)
        both = TransferLoss(data, rows, logits=2.0, labels=0.5)(student, batch)
        output = student(batch.ids, batch.mask)
        by_hand = 2 * logit_loss(output, teacher.table(batch.ids)) + 0.5 * label_loss(output, batch.tags)
        torch.testing.assert_close(both, by_hand, atol=1e-2, rtol=1e-2)
        alone = TransferLoss(data, rows, logits=0.0, labels=1.0)(student, batch)
        torch.testing.assert_close(alone, supervised_loss(student, batch))


def test_the_student_gets_the_rows_of_its_own_examples(tmp_path: Path) -> None:
    student = Table()
    rows = logits(student_as_teacher(student), tmp_path)
    for index in ((0, 2), (4, 1), (3,), (5,)):
        loss = TransferLoss(DATA, rows, logits=1.0, labels=0.0)(student, batch_of(DATA, *index))
        assert float(loss.detach()) < 1e-5, "it agrees with itself to fp16"


def student_as_teacher(student: Table) -> Teacher:
    teacher = Teacher()
    teacher.table = student.table
    return teacher


def test_tutored_loss_by_hand() -> None:
    batch = gather(DATA, np.array([0]))
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
