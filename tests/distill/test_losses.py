"""Losses against numbers worked out by hand, and gradients against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.losses import centred, hard_loss, imitation_loss, kl_loss, label_loss, logit_loss


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


def test_kl_loss_by_hand() -> None:
    student = torch.zeros(1, 1, 2)
    teacher = torch.tensor([[[float(np.log(3)), 0.0]]])  # 3/4 and 1/4
    expected = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    assert float(kl_loss(student, teacher)) == pytest.approx(expected)
    # At temperature 2 the teacher is sqrt(3) : 1.
    high = np.sqrt(3) / (1 + np.sqrt(3))
    expected = 4 * (high * np.log(high / 0.5) + (1 - high) * np.log((1 - high) / 0.5))
    assert float(kl_loss(student, teacher, temperature=2.0)) == pytest.approx(expected)
    assert float(kl_loss(teacher + 5, teacher)) == pytest.approx(0, abs=1e-6)


def test_hard_loss_by_hand() -> None:
    student = torch.tensor([[[0.0, 1.0], [2.0, 0.0]]])
    teacher = torch.tensor([[[0.1, 0.2], [-5.0, 9.0]]])
    expected = (np.log(1 + np.exp(-1)) + np.log(1 + np.exp(2))) / 2
    assert float(hard_loss(student, teacher)) == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["mse", "kl", "hard"])
def test_gradients(kind: str) -> None:
    generator = torch.Generator().manual_seed(3)
    student, teacher = (torch.randn(2, 3, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    student.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda own: imitation_loss(kind, own, teacher, temperature=1.7),  # type: ignore[arg-type]
        (student,),
    )


def test_wrong_settings_are_named() -> None:
    logits = torch.zeros(1, 1, 2)
    with pytest.raises(ValueError, match="must be mse, kl or hard, got 'cosine'"):
        imitation_loss("cosine", logits, logits)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        imitation_loss("kl", logits, logits, temperature=0)
