"""What a student is told to imitate: gold labels, the teacher's logits, its distribution, or its hard labels."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

Imitation = Literal["mse", "kl", "hard"]


def centred(logits: Tensor) -> Tensor:
    """Logits without their mean over tags: a softmax ignores it, so the student need not match it."""
    return logits - logits.mean(dim=-1, keepdim=True)


def label_loss(student: Tensor, tags: Tensor) -> Tensor:
    """Cross-entropy over labelled pieces (XtremeDistil, eq. 2); zero if the batch has none (tag -1)."""
    if not bool((tags >= 0).any()):
        return student.sum() * 0.0
    return F.cross_entropy(student.flatten(0, 1), tags.flatten(), ignore_index=-1)


def logit_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the squared distance of the logits, summed over tags, mean over pieces (XtremeDistil, eq. 4)."""
    return 0.5 * (centred(student) - centred(teacher)).pow(2).sum(dim=-1).mean()


def kl_loss(student: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """T^2 KL(teacher || student) of the softmaxes at temperature T, mean over pieces (Hinton et al. 2015)."""
    target = (teacher / temperature).log_softmax(dim=-1)
    own = (student / temperature).log_softmax(dim=-1)
    distance: Tensor = (target.exp() * (target - own)).sum(dim=-1).mean()
    return temperature**2 * distance


def hard_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy on the teacher's best tag: all that a black box tells."""
    return F.cross_entropy(student.flatten(0, 1), teacher.argmax(dim=-1).flatten())


def imitation_loss(kind: Imitation, student: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """The loss of the given kind; the temperature is for `kl` alone.

    :raises ValueError: for another kind, or a temperature that is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"the temperature must be positive, got {temperature}")
    match kind:
        case "mse":
            return logit_loss(student, teacher)
        case "kl":
            return kl_loss(student, teacher, temperature=temperature)
        case "hard":
            return hard_loss(student, teacher)
    raise ValueError(f"the transfer loss must be mse, kl or hard, got {kind!r}")
