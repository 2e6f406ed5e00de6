"""Losses against numbers worked out by hand, and gradients against finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from distill.losses import (
    centred,
    hard_loss,
    imitation_loss,
    kl_loss,
    label_loss,
    logit_loss,
    masked_mean,
    representation_loss,
)

Loss = Callable[..., Tensor]
TAGS = torch.tensor([[2, 0, -1], [3, 1, 0]])
# Every loss as a function of student and teacher (B, T, 4); the labels' has no teacher.
LOSSES: dict[str, Loss] = {
    "labels": lambda own, teacher, mask=None: label_loss(own, TAGS, mask=mask),
    "mse": lambda own, teacher, mask=None: imitation_loss("mse", own, teacher, mask=mask),
    "kl": lambda own, teacher, mask=None: imitation_loss("kl", own, teacher, temperature=1.7, mask=mask),
    "hard": lambda own, teacher, mask=None: imitation_loss("hard", own, teacher, mask=mask),
    "representation mse": lambda own, teacher, mask=None: representation_loss("mse", own, teacher, mask=mask),
    "representation kld": lambda own, teacher, mask=None: representation_loss("kld", own, teacher, mask=mask),
}
PARTIAL = torch.tensor([[True, False, False], [False, True, True]])
MASKS = {"all": None, "partial": PARTIAL, "ones": PARTIAL | True, "none": PARTIAL & False}


def pair() -> tuple[Tensor, Tensor]:
    """Student and teacher (2, 3, 4), fp64; some values below 0 and above 1, none where a loss has a corner."""
    generator = torch.Generator().manual_seed(3)
    student, teacher = (torch.randn(2, 3, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    return student.requires_grad_(), teacher


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


def test_token_and_emission_are_names_for_it() -> None:
    student, teacher = pair()
    for kind in ("token", "emission"):
        found = imitation_loss(kind, student, teacher, temperature=1.7, mask=PARTIAL)
        assert torch.equal(found, kl_loss(student, teacher, temperature=1.7, mask=PARTIAL))


def test_hard_loss_by_hand() -> None:
    student = torch.tensor([[[0.0, 1.0], [2.0, 0.0]]])
    teacher = torch.tensor([[[0.1, 0.2], [-5.0, 9.0]]])
    expected = (np.log(1 + np.exp(-1)) + np.log(1 + np.exp(2))) / 2
    assert float(hard_loss(student, teacher)) == pytest.approx(expected)


def test_representation_loss_by_hand() -> None:
    student = torch.tensor([[[1.0, 2.0], [0.0, 4.0]]])
    teacher = torch.tensor([[[0.0, 4.0], [3.0, 4.0]]])
    assert float(representation_loss("mse", student, teacher)) == pytest.approx(((1 + 4) / 2 + (9 + 0) / 2) / 2)
    assert float(representation_loss("mse", student, teacher, mask=torch.tensor([[0, 1]]))) == pytest.approx(9 / 2)


def test_the_divergence_is_that_of_keras() -> None:
    student = torch.tensor([[[0.5, 0.25, -2.0, 7.0]]])
    teacher = torch.tensor([[[0.25, 0.5, 0.5, 3.0]]])
    # Clipped to 1e-7..1: -2 becomes 1e-7, 7 and 3 become 1, whose part is 1 log(1 / 1) = 0.
    expected = 0.25 * np.log(0.25 / 0.5) + 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 1e-7)
    assert float(representation_loss("kld", student, teacher)) == pytest.approx(expected, rel=1e-6)
    assert float(representation_loss("kld", teacher, student)) == pytest.approx(
        0.5 * np.log(0.5 / 0.25) + 0.25 * np.log(0.25 / 0.5) + 1e-7 * np.log(1e-7 / 0.5), rel=1e-5
    )
    assert float(representation_loss("kld", student, student)) == 0


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_finite_differences(name: str, mask: str) -> None:
    student, teacher = pair()
    assert torch.autograd.gradcheck(lambda own: LOSSES[name](own, teacher, mask=MASKS[mask]), (student,))
    if name != "representation kld":  # its clipping leaves no gradient in some places
        chosen = PARTIAL | True if MASKS[mask] is None else MASKS[mask]
        (gradient,) = torch.autograd.grad(LOSSES[name](student, teacher, mask=MASKS[mask]), student)
        counts = chosen & (TAGS >= 0) if name == "labels" else chosen
        assert torch.equal(gradient.ne(0).all(dim=-1), counts), "every chosen place has a gradient, and no other"


@pytest.mark.parametrize("name", LOSSES)
def test_a_masked_loss_is_the_mean_over_the_chosen_pieces(name: str) -> None:
    student, teacher = pair()
    loss = LOSSES[name]
    masked = loss(student, teacher, mask=PARTIAL)
    if name == "labels":
        alone = label_loss(student[PARTIAL][None], TAGS[PARTIAL][None])
    else:
        alone = loss(student[PARTIAL][None], teacher[PARTIAL][None])
    torch.testing.assert_close(masked, alone)
    torch.testing.assert_close(loss(student, teacher, mask=MASKS["ones"]), loss(student, teacher))
    assert not torch.isclose(masked, loss(student, teacher))


@pytest.mark.parametrize("name", LOSSES)
def test_where_nothing_is_chosen_loss_and_gradient_are_zero(name: str) -> None:
    student, teacher = pair()
    loss = LOSSES[name](student, teacher, mask=MASKS["none"])
    loss.backward()
    assert float(loss.detach()) == 0 and student.grad is not None and not student.grad.any()


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", LOSSES)
def test_infinite_values_where_nothing_is_chosen_do_no_harm(name: str, bad: float) -> None:
    student, teacher = pair()
    want = LOSSES[name](student, teacher, mask=PARTIAL)
    (gradient,) = torch.autograd.grad(want, student)
    for spoil in ("teacher", "student"):
        own, other = student.detach().clone(), teacher.clone()
        (own if spoil == "student" else other)[~PARTIAL] = bad
        own.requires_grad_()
        got = LOSSES[name](own, other, mask=PARTIAL)
        got.backward()
        assert torch.equal(got, want)
        assert own.grad is not None and torch.equal(own.grad, gradient), f"{spoil} is {bad} where nothing is chosen"


def test_masked_mean_by_hand() -> None:
    values = torch.tensor([[1.0, 2.0], [4.0, float("inf")]])
    assert float(masked_mean(values, torch.tensor([[1, 0], [1, 0]]))) == 2.5
    assert float(masked_mean(values, torch.zeros(2, 2))) == 0
    assert float(masked_mean(values[:1])) == 1.5


def test_wrong_settings_are_named() -> None:
    logits = torch.zeros(1, 1, 2)
    with pytest.raises(ValueError, match="must be one of mse, kl, token, emission, hard, got 'cosine'"):
        imitation_loss("cosine", logits, logits)
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        imitation_loss("kl", logits, logits, temperature=0)
    with pytest.raises(ValueError, match="must be mse or kld, got 'cosine'"):
        representation_loss("cosine", logits, logits)  # type: ignore[arg-type]
