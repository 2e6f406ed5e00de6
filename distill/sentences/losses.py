"""What the stages minimise (papers.md 4.1): mean squared errors between vectors, and between matrices of cosines."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Matrix = Literal["soft", "identity", "infonce", "none"]
# The weights that the paper's code gives the contrast with one right answer.
CONTRAST_SCALE, CONTRAST_WEIGHT = 20.0, 0.01


def vector_loss(own: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error of vectors (B, H), over rows and columns."""
    return F.mse_loss(own, wanted)


def cosines(left: Tensor, right: Tensor) -> Tensor:
    """(B, B') cosine of each row of `left` (B, H) with each of `right` (B', H)."""
    return F.normalize(left, dim=1) @ F.normalize(right, dim=1).T


def matrix_loss(english: Tensor, foreign: Tensor, teacher: Tensor, *, kind: Matrix) -> Tensor:
    """How far the cosines between English sentences and translations (B, H) are from what is wanted.

    `soft`: the teacher's own cosines between the English sentences are the target, so that two sentences that mean
    almost the same may be close (multilingual contrastive learning). The others are ablations: `identity`: a sentence
    is like its own translation and like no other; `infonce`: cross-entropy over the translations in the batch; `none`.

    :raises ValueError: for another kind.
    """
    found = cosines(english, foreign)
    match kind:
        case "soft":
            return F.mse_loss(found, cosines(teacher, teacher))
        case "identity":
            return F.mse_loss(found, torch.eye(len(found), dtype=found.dtype, device=found.device))
        case "infonce":
            right = torch.arange(len(found), device=found.device)
            return CONTRAST_WEIGHT * F.cross_entropy(CONTRAST_SCALE * found, right)
        case "none":
            return found.new_zeros(())
    raise ValueError(f"the matrix must be soft, identity, infonce or none, got {kind!r}")


def contrastive_loss(
    english: Tensor, foreign: Tensor, teacher: Tensor, *, kind: Matrix, weight: float = 1.0
) -> Tensor:
    """Stage 4: the matrix, and both sides' vectors against the teacher's of the English sentence.

    :param weight: of the matrix.
    """
    vectors = vector_loss(english, teacher) + vector_loss(foreign, teacher)
    return vectors + weight * matrix_loss(english, foreign, teacher, kind=kind)
