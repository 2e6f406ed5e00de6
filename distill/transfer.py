"""The objective of a stage: labels, the teacher's logits and its representation, each with its weight."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.alignment import Targets
from distill.batches import Batch
from distill.losses import Imitation, Representation, imitation_loss, label_loss, representation_loss
from distill.structure import STRUCTURAL, likelihood_loss, structural_loss, sum_of
from distill.students import Output
from distill.teacher_cache import TargetSource


@dataclass(frozen=True, slots=True)
class Objective:
    """Weights of eq. 7 (alpha, beta, gamma) and the kind of each part.

    :param layer: whose hidden states are the representation: 0 the embeddings' output, k the k-th layer's.
    :param best: of top-k and top-wk: how many of the teacher's best sequences.
    :param annealed: share of the training over which the weight moves from the teacher to the labels, linearly from
        all to none (Clark et al. 2019); 0: never, both keep their weights.
    """

    labels: float = 0.0
    representation: float = 0.0
    logits: float = 0.0
    imitation: Imitation = "mse"
    temperature: float = 1.0
    likeness: Representation = "mse"
    layer: int = -1
    best: int = 1
    annealed: float = 0.0

    def at(self, progress: float) -> Objective:
        """The weights at a share of the training."""
        if not self.annealed:
            return self
        taught = max(0.0, 1.0 - progress / self.annealed)
        return replace(
            self,
            labels=self.labels * (1 - taught),
            representation=self.representation * taught,
            logits=self.logits * taught,
        )


class JointLoss:
    """Weighted sum of label, representation and logit loss (XtremeDistil, eq. 7); a stage has some weights at zero.

    The labels' part is a mean over all pieces that have labels, for decoding reads every piece's scores. The teacher's
    parts are means over the chosen pieces that it has an opinion of, zero where there are none. Where whole sequences
    count (a CRF's labels, structural losses), it is the pieces of sentences without a gap.

    :param targets: the teacher's; may be None where only labels count.
    :param standard: (2, D) mean and standard deviation of the layer, for `mse`.
    :param chosen: (V,) on which pieces the teacher is imitated, None for all: those that begin a word, for teachers
        that label only these.
    """

    def __init__(
        self,
        objective: Objective,
        targets: TargetSource | None,
        *,
        standard: Tensor | None = None,
        chosen: Tensor | None = None,
    ) -> None:
        if targets is None and (objective.logits or objective.representation):
            raise ValueError("the teacher's targets are missing")
        self.objective, self.targets, self.standard, self.chosen = objective, targets, standard, chosen

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Loss of one batch."""
        own = self.objective.at(batch.progress)
        output: Output = model(batch.ids, batch.mask, full=True)
        # In several processes every parameter must have a gradient, also where a weight is 0 for a while.
        loss = sum_of(output.chain()) * 0.0
        if self.targets is not None and (own.representation or own.logits):
            targets = self.targets(batch)
            mask = self._imitated(batch, targets)
            if own.representation:
                hidden = targets.hidden[own.layer]
                if own.likeness == "mse" and self.standard is not None:
                    mean, deviation = self.standard.to(hidden.device)
                    hidden = (hidden - mean) / deviation
                part = representation_loss(own.likeness, output.states.float(), hidden, mask=mask)
                loss = loss + own.representation * part
            if own.logits:
                loss = loss + own.logits * self._imitation(own, output, targets, mask)
        if own.labels:
            if output.transitions is None:
                part = label_loss(output.logits.float(), batch.tags)
            else:
                part = likelihood_loss(output.chain(), batch.tags)
            loss = loss + own.labels * part
        return loss.float()

    def _imitation(self, own: Objective, output: Output, targets: Targets, mask: Tensor | None) -> Tensor:
        if own.imitation not in STRUCTURAL:
            logits = output.logits.float()
            return imitation_loss(own.imitation, logits, targets.logits, temperature=own.temperature, mask=mask)
        student, teacher = output.chain(), targets.chain
        if mask is not None:  # of a sentence with gaps there is no distribution
            whole = mask.all(dim=1)
            if not bool(whole.any()):
                return sum_of(student) * 0.0
            student, teacher = student.rows(whole), teacher.rows(whole)
        return structural_loss(own.imitation, student, teacher, temperature=own.temperature, count=own.best)

    def _imitated(self, batch: Batch, targets: Targets) -> Tensor | None:
        """(B, T) the pieces on which the teacher is imitated; None for all."""
        mask = targets.known
        if self.chosen is not None:
            mask = mask & self.chosen.to(mask.device)[batch.ids]
        return None if bool(mask.all()) else mask


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
