"""Distillation of a student from a teacher's logits: the plain two-step version (XtremeDistil, eq. 2 and 4).

Step 1 imitates the teacher over labelled and unlabelled text. Step 2 trains on gold labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.batches import Batch
from distill.losses import Imitation, imitation_loss, label_loss
from distill.teacher_cache import TargetSource


class TransferLoss:
    """Weighted sum of the imitation of the teacher on everything and the label loss on what has labels."""

    def __init__(
        self,
        targets: TargetSource,
        *,
        imitation: float,
        labels: float,
        kind: Imitation = "mse",
        temperature: float = 1.0,
    ) -> None:
        self.targets, self.imitation, self.labels = targets, imitation, labels
        self.kind, self.temperature = kind, temperature

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Loss of one batch."""
        output = model(batch.ids, batch.mask)
        loss: Tensor = output.sum() * 0.0
        if self.imitation:
            teacher = self.targets(batch).logits
            own = imitation_loss(self.kind, output, teacher, temperature=self.temperature)
            loss = loss + self.imitation * own
        if self.labels:
            loss = loss + self.labels * label_loss(output, batch.tags)
        return loss


def supervised_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Cross-entropy on the labels alone."""
    return label_loss(model(batch.ids, batch.mask), batch.tags)


class TutoredLoss:
    """Cross-entropy of a Transformer on labels and on a smaller tutor's distribution (Furlanello et al. 2018, BAN).

    WikiANN's labels are noisy; the tutor says how sure they are. It runs along, in eval mode: a student is ten times
    faster than what it teaches.

    :param weight: of the tutor's part, 0..1; the labels have the rest.
    """

    def __init__(self, tutor: nn.Module, *, weight: float) -> None:
        if not 0 <= weight <= 1:
            raise ValueError(f"the tutor's weight must be in 0..1, got {weight}")
        self.tutor, self.weight = tutor.eval(), weight

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Loss of one batch."""
        self.tutor.to(batch.ids.device)
        logits = model(input_ids=batch.ids, attention_mask=batch.mask).logits.float()
        with torch.no_grad():
            target = self.tutor(batch.ids, batch.mask).float().softmax(dim=-1)
        soft = F.cross_entropy(logits.flatten(0, 1), target.flatten(0, 1))
        return self.weight * soft + (1 - self.weight) * label_loss(logits, batch.tags)
