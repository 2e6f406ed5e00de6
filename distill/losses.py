"""What a student is told to imitate: gold labels, the teacher's logits, its distribution, its tags, its representation.

Every loss is a mean over the pieces that `mask` (B, T) chooses (None: all of them), zero where it chooses none.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor
from torch.nn import functional as F

from distill.structure import Structural

Token = Literal["mse", "kl", "token", "emission", "hard"]
Imitation = Token | Structural
SOFT = ("kl", "token", "emission")  # the temperature is theirs
Representation = Literal["mse", "kld"]

_KERAS_EPSILON = 1e-7


def masked_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of (B, T) values where the mask is true; zero, with zero gradients, if that is nowhere."""
    if mask is None:
        return values.mean()
    total: Tensor = values.masked_fill(~mask.bool(), 0.0).sum() / mask.to(values.dtype).sum().clamp_min(1.0)
    return total


def blanked(values: Tensor, mask: Tensor | None) -> Tensor:
    """(B, T, C) values with zeros where the mask is false.

    What is not chosen may be infinite: masking the loss alone would leave NaN in the gradients.
    """
    return values if mask is None else values.masked_fill(~mask.bool()[..., None], 0.0)


def centred(logits: Tensor) -> Tensor:
    """Logits without their mean over tags: a softmax ignores it, so the student need not match it."""
    return logits - logits.mean(dim=-1, keepdim=True)


def label_loss(student: Tensor, tags: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Cross-entropy over labelled pieces (XtremeDistil, eq. 2); tag -1 is no label."""
    if mask is not None:
        student, tags = blanked(student, mask), tags.masked_fill(~mask.bool(), -1)
    if not bool((tags >= 0).any()):
        return student.sum() * 0.0
    return F.cross_entropy(student.flatten(0, 1), tags.flatten(), ignore_index=-1)


def logit_loss(student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Half the squared distance of the logits, summed over tags (XtremeDistil, eq. 4)."""
    student, teacher = blanked(student, mask), blanked(teacher, mask)
    return masked_mean(0.5 * (centred(student) - centred(teacher)).pow(2).sum(dim=-1), mask)


def kl_loss(student: Tensor, teacher: Tensor, *, temperature: float = 1.0, mask: Tensor | None = None) -> Tensor:
    """T^2 KL(teacher || student) of the softmaxes at temperature T (Hinton et al. 2015)."""
    student, teacher = blanked(student, mask), blanked(teacher, mask)
    target = (teacher / temperature).log_softmax(dim=-1)
    own = (student / temperature).log_softmax(dim=-1)
    return temperature**2 * masked_mean((target.exp() * (target - own)).sum(dim=-1), mask)


def hard_loss(student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Cross-entropy on the teacher's best tag: all that a black box tells (Mukherjee & Awadallah 2019)."""
    return label_loss(student, teacher.argmax(dim=-1), mask=mask)


def imitation_loss(
    kind: str, student: Tensor, teacher: Tensor, *, temperature: float = 1.0, mask: Tensor | None = None
) -> Tensor:
    """The loss of the given kind (Token) on logits (B, T, C); the temperature is for those in SOFT.

    `token` and `emission` are `kl` by the names that Wang et al. (2020, eq. 4 and 5) give it: for softmax models, and
    for the emissions of CRFs. What looks at whole sequences is in distill.structure.

    :raises ValueError: for another kind, or a temperature that is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"the temperature must be positive, got {temperature}")
    match kind:
        case "mse":
            return logit_loss(student, teacher, mask=mask)
        case "kl" | "token" | "emission":
            return kl_loss(student, teacher, temperature=temperature, mask=mask)
        case "hard":
            return hard_loss(student, teacher, mask=mask)
    raise ValueError(f"the transfer loss must be one of {', '.join(get_args(Token))}, got {kind!r}")


def representation_loss(
    kind: Representation, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None
) -> Tensor:
    """How far the student's representation (B, T, D) is from the teacher's.

    `mse`: mean squared distance per dimension; give it standardised targets. `kld` (XtremeDistil, eq. 6, as its
    first code release computes it): Keras' divergence of the values themselves, clipped to 1e-7..1; it sees neither
    negative values nor those above 1.

    :raises ValueError: for another kind.
    """
    student, teacher = blanked(student, mask), blanked(teacher, mask)
    if kind == "mse":
        return masked_mean((student - teacher).pow(2).mean(dim=-1), mask)
    if kind != "kld":
        raise ValueError(f"the representation loss must be mse or kld, got {kind!r}")
    target, own = teacher.clamp(_KERAS_EPSILON, 1.0), student.clamp(_KERAS_EPSILON, 1.0)
    return masked_mean((target * (target / own).log()).sum(dim=-1), mask)
