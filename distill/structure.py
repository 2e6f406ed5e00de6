"""Structure-level losses: the student imitates a teacher's distribution over whole tag sequences.

Wang et al. 2020 (Structure-Level Knowledge Distillation for Multilingual Sequence Labeling) and Wang et al. 2021
(Structural Knowledge Distillation). The losses of sentences are summed and divided by the number of their pieces, which
gives them the scale of those in distill.losses. Divergences leave out the teacher's own entropy, which no student can
change, so they are 0 where both agree.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from distill.crf import (
    Chain,
    best,
    expectations,
    last,
    log_likelihood,
    log_marginals,
    log_partition,
    score,
)

Structural = Literal["top-k", "top-wk", "posterior", "posterior+top-wk", "structural"]
STRUCTURAL: tuple[str, ...] = get_args(Structural)
COUNTED = ("top-k", "top-wk", "posterior+top-wk")  # those that ask for the teacher's best sequences
TEMPERED = ("posterior", "posterior+top-wk", "structural")


def _mean(sentences: Tensor, chain: Chain) -> Tensor:
    """The sum of (B,) losses of sentences, for each piece."""
    pieces = chain.emissions.shape[0] * chain.emissions.shape[1] if chain.mask is None else chain.mask.sum()
    return sentences.sum() / max(1, int(pieces))


def likelihood_loss(student: Chain, tags: Tensor) -> Tensor:
    """Negative log likelihood of the tags (B, T) (2020, eq. 3), of the sentences in which every piece has one.

    :param tags: -1 is no label; anything behind a sentence's end.
    """
    real = tags >= 0 if student.mask is None else (tags >= 0) | ~student.mask
    whole = real.all(dim=1)
    if not bool(whole.any()):
        return sum_of(student) * 0.0
    chosen = student.rows(whole)
    return _mean(-log_likelihood(chosen, tags[whole].clamp_min(0)), chosen)


def sum_of(chain: Chain) -> Tensor:
    """The sum of all its scores: times 0, a loss of 0 that every parameter takes part in."""
    parts = (chain.emissions, chain.transitions, chain.start, chain.end)
    return torch.stack([part.float().sum() for part in parts if part is not None]).sum()


def best_loss(student: Chain, teacher: Chain, *, count: int, weighted: bool) -> Tensor:
    """Cross-entropy on the teacher's best sequences: equally (2020, eq. 8) or by their probability (eq. 9)."""
    paths, scores = best(teacher, count)
    if weighted:
        weights = scores.softmax(dim=1)
    else:
        weights = scores.isfinite().to(scores.dtype)
        weights = weights / weights.sum(dim=1, keepdim=True)
    many = student.rows(torch.arange(len(paths), device=paths.device).repeat_interleave(count))
    scored = score(many, paths.flatten(0, 1)).reshape(len(paths), count)
    return _mean(log_partition(student) - (weights * scored).sum(dim=1), student)


def posterior_loss(student: Chain, teacher: Chain, *, temperature: float = 1.0) -> Tensor:
    """T^2 KL of each piece's marginals (2020, eq. 13); at temperature T of softmax(log q / T), as in their code."""
    target = (log_marginals(teacher) / temperature).log_softmax(dim=-1)
    own = (log_marginals(student) / temperature).log_softmax(dim=-1)
    pieces = (target.exp() * (target - own)).sum(dim=-1)
    if student.mask is not None:
        pieces = pieces.masked_fill(~student.mask, 0.0)
    return temperature**2 * _mean(pieces.sum(dim=1), student)


def sequence_loss(student: Chain, teacher: Chain, *, temperature: float = 1.0) -> Tensor:
    """T^2 KL(teacher || student) of the distributions over all tag sequences, exactly (2021, case 1a; 2a without CRF).

    Both factorise over pairs of neighbouring tags, so the teacher's marginals of pairs are all that is needed. The
    temperature is local: it divides every potential.
    """
    flatter = student.at(temperature)  # which may still be a softmax model, whose log Z is cheaper
    own, other = flatter.exact(), teacher.at(temperature).exact()
    with torch.no_grad():
        nodes, edges, partition = expectations(other)
        first, final = nodes[:, 0], last(nodes, other.mask)

    def expected(chain: Chain) -> Tensor:
        """(B,) the chain's log potential, expected under the teacher."""
        assert chain.transitions is not None and chain.start is not None and chain.end is not None
        inner = (nodes * chain.emissions).sum(dim=(1, 2)) + (edges * chain.transitions).sum(dim=(1, 2, 3))
        return inner + (first * chain.start + final * chain.end).sum(dim=1)

    whole = log_partition(flatter) - expected(own) - (partition - expected(other))
    return temperature**2 * _mean(whole, student)


def structural_loss(
    kind: str, student: Chain, teacher: Chain, *, temperature: float = 1.0, count: int = 1
) -> Tensor:
    """The loss of the given kind; the teacher's chain must have no gradients, and the student's mask.

    :param temperature: of posterior and structural.
    :param count: how many of the teacher's best sequences top-k and top-wk look at.
    :raises ValueError: for another kind, a temperature that is not positive, or a count under 1.
    """
    if temperature <= 0:
        raise ValueError(f"the temperature must be positive, got {temperature}")
    match kind:
        case "top-k" | "top-wk":
            return best_loss(student, teacher, count=count, weighted=kind == "top-wk")
        case "posterior":
            return posterior_loss(student, teacher, temperature=temperature)
        case "posterior+top-wk":
            weighted = best_loss(student, teacher, count=count, weighted=True)
            return (weighted + posterior_loss(student, teacher, temperature=temperature)) / 2
        case "structural":
            return sequence_loss(student, teacher, temperature=temperature)
    raise ValueError(f"the structural loss must be one of {', '.join(STRUCTURAL)}, got {kind!r}")
