from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from chains import all_sequences, chains, own_row, probabilities, random_chain
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distill.crf import Chain
from distill.structure import COUNTED, STRUCTURAL, likelihood_loss, structural_loss

KINDS = pytest.mark.parametrize("kind", STRUCTURAL)


def other_of(chain: Chain, seed: int, *, independent: bool = False, spread: float = 2.0) -> Chain:
    """A chain of the same shape with other scores."""
    source = torch.Generator().manual_seed(seed)

    def draw(like: Tensor | None) -> Tensor | None:
        return None if like is None else spread * torch.randn(like.shape, generator=source, dtype=torch.float64)

    emissions = draw(chain.emissions)
    assert emissions is not None
    if independent:
        return Chain(emissions, mask=chain.mask)
    return Chain(emissions, draw(chain.transitions), draw(chain.start), draw(chain.end), chain.mask)


def pieces_of(chain: Chain) -> int:
    return chain.emissions[:, :, 0].numel() if chain.mask is None else int(chain.mask.sum())


def marginals(chain: Chain, row: int) -> Tensor:
    """(T_b, C) by the sum over all sequences."""
    sequences, weights = probabilities(chain, row)
    tags = torch.arange(chain.emissions.shape[2])
    return ((sequences[:, :, None] == tags).double() * weights[:, None, None]).sum(dim=0)


def flattened(chain: Chain, temperature: float) -> Chain:
    parts = (chain.emissions, chain.transitions, chain.start, chain.end)
    own = [None if part is None else part / temperature for part in parts]
    assert own[0] is not None
    return Chain(own[0], *own[1:], chain.mask)


def by_hand(kind: str, student: Chain, teacher: Chain, temperature: float, count: int) -> float:
    """The loss from its formula, with every sequence written out."""
    total = 0.0
    for row in range(len(student.emissions)):
        sequences, taught = all_sequences(teacher, row)
        own = all_sequences(student, row)[1].log_softmax(dim=0)
        if kind in ("top-k", "top-wk", "posterior+top-wk"):
            chosen = taught.argsort(descending=True)[:count]
            weights = torch.full((len(chosen),), 1 / len(chosen)) if kind == "top-k" else taught[chosen].softmax(dim=0)
            part = -float((weights * own[chosen]).sum())
            total += part / 2 if kind == "posterior+top-wk" else part
        if kind in ("posterior", "posterior+top-wk"):
            q = (marginals(teacher, row).log() / temperature).softmax(dim=-1)
            p = (marginals(student, row).log() / temperature).log_softmax(dim=-1)
            part = temperature**2 * float((q * (q.log() - p)).sum())
            total += part / 2 if kind == "posterior+top-wk" else part
        if kind == "structural":
            p = all_sequences(flattened(teacher, temperature), row)[1].log_softmax(dim=0)
            q = all_sequences(flattened(student, temperature), row)[1].log_softmax(dim=0)
            total += temperature**2 * float((p.exp() * (p - q)).sum())
        assert len(sequences) == len(own)
    return total / pieces_of(student)


@KINDS
@given(chain=chains(), seed=st.integers(0, 999), temperature=st.sampled_from([0.7, 1.0, 2.25]), count=st.integers(1, 5),
       independent=st.booleans(), untaught=st.booleans())
@settings(max_examples=40, deadline=None)
def test_losses_are_their_formulas_over_all_sequences(
    kind: str, chain: Chain, seed: int, temperature: float, count: int, independent: bool, untaught: bool
) -> None:
    """Student and teacher each with and without transitions: softmax models are chains too."""
    student = replace(chain, transitions=None, start=None, end=None) if independent else chain
    teacher = other_of(chain, seed, independent=untaught)
    found = structural_loss(kind, student, teacher, temperature=temperature, count=count)
    assert found.item() == pytest.approx(by_hand(kind, student, teacher, temperature, count), rel=1e-7, abs=1e-8)


@KINDS
@pytest.mark.parametrize("independent", [False, True])
def test_gradients_agree_with_numerical_ones(kind: str, independent: bool) -> None:
    chain = random_chain(lengths=(4, 1, 3), tags=3, seed=4)
    teacher = other_of(chain, 5)
    parts = [chain.emissions] if independent else [chain.emissions, chain.transitions, chain.start, chain.end]
    inputs = [part.requires_grad_() for part in parts if part is not None]

    def loss(*scores: Tensor) -> Tensor:
        return structural_loss(kind, Chain(*scores, mask=chain.mask), teacher, temperature=1.5, count=3)

    assert torch.autograd.gradcheck(loss, inputs)


@given(chain=chains(), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_structural_gradients_are_differences_of_expectations(chain: Chain, seed: int) -> None:
    """d loss / d potential = p_student - p_teacher (2021, eq. 3), for tags and for pairs of tags."""
    teacher = other_of(chain, seed)
    emissions = chain.emissions.clone().requires_grad_()
    moves = chain.transitions
    assert moves is not None
    moves = moves.clone().requires_grad_()
    structural_loss("structural", replace(chain, emissions=emissions, transitions=moves), teacher).backward()
    wanted = torch.zeros_like(moves)
    for row in range(len(emissions)):
        gap = marginals(chain, row) - marginals(teacher, row)
        assert emissions.grad is not None
        assert torch.allclose(emissions.grad[row, : len(gap)], gap / pieces_of(chain), atol=1e-9)
        assert not emissions.grad[row, len(gap) :].any()
        for of, sign in ((chain, 1), (teacher, -1)):
            sequences, weights = probabilities(of, row)
            for at in range(sequences.shape[1] - 1):
                place = wanted if wanted.ndim == 2 else wanted[row]
                place.index_put_((sequences[:, at], sequences[:, at + 1]), sign * weights, accumulate=True)
    assert moves.grad is not None
    assert torch.allclose(moves.grad, wanted / pieces_of(chain), atol=1e-9)


@pytest.mark.parametrize("kind", ["posterior", "structural"])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_who_agrees_with_the_teacher_has_no_loss_and_no_gradient(kind: str, temperature: float) -> None:
    teacher = random_chain(lengths=(5, 2), tags=4, seed=6)
    emissions = teacher.emissions.clone().requires_grad_()
    loss = structural_loss(kind, replace(teacher, emissions=emissions), teacher, temperature=temperature)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-9)
    assert emissions.grad is not None and emissions.grad.abs().max() < 1e-9


def test_a_softmax_student_learns_the_marginals_of_a_crf() -> None:
    """2021, case 2a: the same gradient as cross-entropy on the marginals, which need no Viterbi when served."""
    teacher = random_chain(lengths=(4, 3), tags=3, seed=7)
    logits = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    structural_loss("structural", Chain(logits, mask=teacher.mask), teacher).backward()
    for row, length in enumerate((4, 3)):
        gap = logits.detach()[row, :length].softmax(dim=-1) - marginals(teacher, row)
        assert logits.grad is not None
        assert torch.allclose(logits.grad[row, :length], gap / 7, atol=1e-9)


def test_all_best_sequences_by_weight_are_the_whole_distribution() -> None:
    """Top-WK with every sequence is the exact loss, up to the teacher's entropy, which has no gradient."""
    chain = random_chain(lengths=(3, 3), tags=2, seed=8)
    teacher = other_of(chain, 9)
    gradients = []
    for kind in ("top-wk", "structural"):
        emissions = chain.emissions.clone().requires_grad_()
        structural_loss(kind, replace(chain, emissions=emissions), teacher, count=8).backward()
        gradients.append(emissions.grad)
    assert gradients[0] is not None and gradients[1] is not None
    assert torch.allclose(gradients[0], gradients[1], atol=1e-9)


@KINDS
def test_equal_scores_are_no_trouble(kind: str) -> None:
    even = Chain(torch.zeros(2, 1, 3), torch.zeros(3, 3))
    likelihood = math.log(3)  # of one of three equal tags
    wanted = {"posterior": 0.0, "structural": 0.0, "posterior+top-wk": likelihood / 2}.get(kind, likelihood)
    assert structural_loss(kind, even, even, count=5).item() == pytest.approx(wanted)


def test_likelihood_counts_whole_sentences_only() -> None:
    chain = random_chain(lengths=(3, 2, 3), tags=3, seed=10)
    tags = torch.tensor([[0, 1, 2], [2, 2, -1], [1, -1, 0]])  # the second ends there, the third has a gap
    total = 0.0
    for row, own in ((0, [0, 1, 2]), (1, [2, 2])):
        sequences, weights = probabilities(chain, row)
        total -= float(weights[sequences.tolist().index(own)].log())
    assert likelihood_loss(chain, tags).item() == pytest.approx(total / 5)
    emissions = chain.emissions.clone().requires_grad_()
    nothing = likelihood_loss(replace(chain, emissions=emissions), torch.full((3, 3), -1))
    nothing.backward()
    assert nothing.item() == 0 and emissions.grad is not None and not emissions.grad.any()
    assert own_row(chain, 1)[0].shape == (2, 3)


def test_wrong_values_are_named() -> None:
    even = Chain(torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match="must be one of top-k, .*, got 'mse'"):
        structural_loss("mse", even, even)
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        structural_loss("posterior", even, even, temperature=0)
    for kind in COUNTED:
        with pytest.raises(ValueError, match="at least one sequence must be asked for, got 0"):
            structural_loss(kind, even, even, count=0)
