from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from distill.sentences.losses import contrastive_loss, cosines, matrix_loss, vector_loss

# Two English sentences, their translations, and the teacher's vectors; right angles and 45 degrees, so that every
# cosine can be written down.
ENGLISH = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
FOREIGN = torch.tensor([[3.0, 3.0], [0.0, 1.0]])
TEACHER = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
ROOT = math.sqrt(0.5)  # the cosine of 45 degrees


def value(loss: Tensor) -> float:
    return float(loss)


def test_vectors_by_mean_squared_error_over_rows_and_columns() -> None:
    assert value(vector_loss(ENGLISH, TEACHER)) == pytest.approx((1 + 0 + 1 + 1) / 4)


def test_cosines_know_no_lengths() -> None:
    expected = [[ROOT, 0.0], [ROOT, 1.0]]
    torch.testing.assert_close(cosines(ENGLISH, FOREIGN), torch.tensor(expected))
    torch.testing.assert_close(cosines(7 * ENGLISH, FOREIGN / 3), torch.tensor(expected))


def test_the_soft_target_is_the_teachers_own_matrix() -> None:
    # Found [[r, 0], [r, 1]], wanted [[1, r], [r, 1]].
    expected = ((ROOT - 1) ** 2 + ROOT**2 + 0 + 0) / 4
    assert value(matrix_loss(ENGLISH, FOREIGN, TEACHER, kind="soft")) == pytest.approx(expected)


def test_the_identity_wants_each_sentence_like_its_translation_alone() -> None:
    expected = ((ROOT - 1) ** 2 + 0 + ROOT**2 + 0) / 4
    assert value(matrix_loss(ENGLISH, FOREIGN, TEACHER, kind="identity")) == pytest.approx(expected)


def test_infonce_is_a_hundredth_of_the_cross_entropy_of_twenty_times_the_cosines() -> None:
    first = -math.log(math.exp(20 * ROOT) / (math.exp(20 * ROOT) + 1))
    second = -math.log(math.exp(20) / (math.exp(20 * ROOT) + math.exp(20)))
    found = matrix_loss(ENGLISH, FOREIGN, TEACHER, kind="infonce")
    assert value(found) == pytest.approx(0.01 * (first + second) / 2, rel=1e-5)


def test_no_matrix_leaves_the_vectors() -> None:
    assert value(matrix_loss(ENGLISH, FOREIGN, TEACHER, kind="none")) == 0
    whole = contrastive_loss(ENGLISH, FOREIGN, TEACHER, kind="none")
    assert value(whole) == pytest.approx(3 / 4 + (1 + 9 + 1 + 0) / 4)


def test_stage_four_is_the_matrix_and_both_sides() -> None:
    sides = contrastive_loss(ENGLISH, FOREIGN, TEACHER, kind="none")
    matrix = matrix_loss(ENGLISH, FOREIGN, TEACHER, kind="soft")
    whole = contrastive_loss(ENGLISH, FOREIGN, TEACHER, kind="soft", weight=3)
    assert value(whole) == pytest.approx(value(sides) + 3 * value(matrix))


def test_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="soft, identity, infonce or none, got 'hard'"):
        matrix_loss(ENGLISH, FOREIGN, TEACHER, kind="hard")  # type: ignore[arg-type]
