from __future__ import annotations

from itertools import product

import pytest
import torch
from chains import all_sequences, chains, own_row, probabilities, random_chain
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distill.crf import (
    Chain,
    Crf,
    best,
    best_tags,
    expectations,
    log_likelihood,
    log_marginals,
    log_partition,
    score,
)

F, T = 0, 1


@pytest.fixture
def table_1() -> Chain:
    """The example of Wang et al. 2020, table 1: three pieces, tags F and T."""
    first = torch.tensor([[2.0, 0.5], [0.5, 2.0]], dtype=torch.float64)
    second = torch.tensor([[1 / 3, 3.0], [4.0, 1 / 4]], dtype=torch.float64)
    return Chain(torch.zeros(1, 3, 2, dtype=torch.float64), torch.stack([first, second])[None].log())


def test_the_papers_table_1(table_1: Chain) -> None:
    assert log_partition(table_1).exp().item() == pytest.approx(18.9583, abs=5e-5)
    expected = {
        (F, F, F): 0.0352, (F, F, T): 0.3165, (F, T, F): 0.1055, (F, T, T): 0.0066,
        (T, F, F): 0.0088, (T, F, T): 0.0791, (T, T, F): 0.4220, (T, T, T): 0.0264,
    }
    for tags, probability in expected.items():
        found = log_likelihood(table_1, torch.tensor([tags])).exp().item()
        assert found == pytest.approx(probability, abs=5e-5)
    assert sum(expected.values()) == pytest.approx(1.0, abs=2e-4)


def test_the_papers_alpha_and_beta(table_1: Chain) -> None:
    marginals = log_marginals(table_1).exp()[0]
    assert marginals[:, F].tolist() == pytest.approx([0.4637, 0.4396, 0.5714], abs=5e-5)
    # alpha(y_k) is Z of the sentence's first k pieces with the last tag given; beta(y_k) likewise of what follows.
    assert table_1.transitions is not None
    first, second = table_1.transitions[0].exp()
    alpha = [torch.ones(2, dtype=torch.float64) @ first]
    alpha.append(alpha[0] @ second)
    assert alpha[0].tolist() == pytest.approx([2.5, 2.5])
    assert alpha[1].tolist() == pytest.approx([10.8333, 8.125], abs=5e-5)
    for at, tags in product((1, 2), (F, T)):
        given_tag = table_1.emissions.clone()[:, : at + 1]
        given_tag[:, at, 1 - tags] = -1e4
        whole = log_partition(Chain(given_tag, table_1.transitions[:, :at])).exp().item()
        assert whole == pytest.approx(alpha[at - 1][tags].item())
    beta = torch.stack([first @ (second @ torch.ones(2, dtype=torch.float64)), second.sum(dim=1)])
    assert beta[0].tolist() == pytest.approx([8.7917, 10.1667], abs=5e-5)
    assert beta[1].tolist() == pytest.approx([3.3333, 4.25], abs=5e-5)
    for at, tags in product((0, 1), (F, T)):
        alone = torch.tensor([1.0, 1.0]) if at == 0 else alpha[0]
        q = alone[tags] * beta[at][tags] / 18.958333333
        assert marginals[at, tags].item() == pytest.approx(q.item(), abs=1e-6)


def test_the_papers_two_best(table_1: Chain) -> None:
    tags, scores = best(table_1, 2)
    assert tags.tolist() == [[[T, T, F], [F, F, T]]]
    assert scores.softmax(dim=1)[0].tolist() == pytest.approx([0.5714, 0.4286], abs=5e-5)


@given(chain=chains())
@settings(max_examples=60, deadline=None)
def test_partition_and_likelihood_are_those_of_all_sequences(chain: Chain) -> None:
    partition = log_partition(chain)
    for row in range(len(chain.emissions)):
        sequences, scores = all_sequences(chain, row)
        assert partition[row].item() == pytest.approx(torch.logsumexp(scores, dim=0).item(), abs=1e-9)
        padded = torch.zeros(len(sequences), chain.emissions.shape[1], dtype=torch.long)
        padded[:, : sequences.shape[1]] = sequences
        many = chain.rows(torch.full((len(sequences),), row))
        assert torch.allclose(score(many, padded), scores, atol=1e-9)


@given(chain=chains())
@settings(max_examples=60, deadline=None)
def test_marginals_are_those_of_all_sequences(chain: Chain) -> None:
    nodes, edges, partition = expectations(chain)
    logs = log_marginals(chain)
    assert torch.allclose(partition, log_partition(chain))
    for row in range(len(chain.emissions)):
        sequences, weights = probabilities(chain, row)
        length, tags = sequences.shape[1], chain.emissions.shape[2]
        for at, tag in product(range(length), range(tags)):
            wanted = weights[sequences[:, at] == tag].sum().item()
            assert nodes[row, at, tag].item() == pytest.approx(wanted, abs=1e-9)
            assert logs[row, at, tag].exp().item() == pytest.approx(wanted, abs=1e-9)
        for at, one, two in product(range(length - 1), range(tags), range(tags)):
            both = (sequences[:, at] == one) & (sequences[:, at + 1] == two)
            assert edges[row, at, one, two].item() == pytest.approx(weights[both].sum().item(), abs=1e-9)
        assert not nodes[row, length:].any() and not logs[row, length:].any() and not edges[row, length - 1 :].any()


@given(chain=chains(), count=st.integers(1, 9))
@settings(max_examples=80, deadline=None)
def test_the_best_are_exactly_the_best_of_all_sequences(chain: Chain, count: int) -> None:
    tags, scores = best(chain, count)
    for row in range(len(chain.emissions)):
        sequences, all_scores = all_sequences(chain, row)
        there = min(count, len(sequences))
        wanted = all_scores.sort(descending=True).values[:there]
        assert scores[row, :there].tolist() == pytest.approx(wanted.tolist(), abs=1e-9)
        assert (scores[row, there:] == -torch.inf).all()
        length = sequences.shape[1]
        found = [tuple(one) for one in tags[row, :there, :length].tolist()]
        assert len(set(found)) == there  # none twice, also where all scores are equal
        own = dict(zip(map(tuple, sequences.tolist()), all_scores.tolist(), strict=True))
        assert [own[one] for one in found] == pytest.approx(wanted.tolist(), abs=1e-9)
        assert not tags[row, :, length:].any()


def test_a_chain_without_transitions_is_a_softmax_model() -> None:
    logits = random_chain(lengths=(5, 5), tags=4, seed=1).emissions
    chain, same = Chain(logits), Chain(logits, torch.zeros(4, 4))
    assert chain.independent and not same.independent
    for own in (chain, same):
        assert torch.allclose(log_marginals(own), logits.log_softmax(dim=-1))
        assert torch.allclose(log_partition(own), logits.logsumexp(dim=-1).sum(dim=1))
        assert torch.equal(best_tags(own), logits.argmax(dim=-1))


@pytest.mark.parametrize("shared", [True, False])
def test_gradients_of_the_partition_are_autograds(shared: bool) -> None:
    chain = random_chain(lengths=(4, 1, 3), tags=3, seed=2, shared=shared)
    scores = (chain.emissions, chain.transitions, chain.start, chain.end)
    parts = [part.requires_grad_() for part in scores if part is not None]

    def partition(*scores: Tensor) -> Tensor:
        return log_partition(Chain(*scores, chain.mask))

    def likelihood(*scores: Tensor) -> Tensor:
        return log_likelihood(Chain(*scores, chain.mask), torch.tensor([[0, 1, 2, 2], [1, 0, 0, 0], [2, 0, 1, 0]]))

    def marginals(*scores: Tensor) -> Tensor:
        return log_marginals(Chain(*scores, chain.mask))

    for function in (partition, likelihood, marginals):
        assert torch.autograd.gradcheck(function, parts)


def test_gradients_where_transitions_differ_from_place_to_place(table_1: Chain) -> None:
    moves = table_1.transitions
    assert moves is not None
    parts = (table_1.emissions.requires_grad_(), moves.requires_grad_())
    assert torch.autograd.gradcheck(lambda e, t: log_partition(Chain(e, t)), parts)
    padded = Chain(torch.randn(2, 3, 2, dtype=torch.float64), torch.randn(2, 2, 2, 2, dtype=torch.float64),
                   mask=torch.tensor([[True, True, True], [True, True, False]]))
    emissions, transitions, start, end = own_row(padded, 1)
    alone = Chain(emissions[None], transitions[None], start[None], end[None])
    assert torch.allclose(log_marginals(padded)[1, :2], log_marginals(alone)[0])
    assert torch.allclose(log_partition(padded)[1], log_partition(alone)[0])


@given(chain=chains(), more=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_padding_changes_nothing(chain: Chain, more: int) -> None:
    rows, length, tags = chain.emissions.shape
    mask = torch.ones(rows, length, dtype=torch.bool) if chain.mask is None else chain.mask
    noise = torch.full((rows, more, tags), 77.0, dtype=torch.float64)
    longer = Chain(
        torch.cat([chain.emissions, noise], dim=1), chain.transitions, chain.start, chain.end,
        torch.cat([mask, torch.zeros(rows, more, dtype=torch.bool)], dim=1),
    )
    assert torch.allclose(log_partition(chain), log_partition(longer), atol=1e-9)
    assert torch.allclose(log_marginals(chain), log_marginals(longer)[:, :length], atol=1e-9)
    (tags, scores), (padded, same) = best(chain, 2), best(longer, 2)
    assert torch.allclose(scores, same, atol=1e-9) and not padded[:, :, length:].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_512_pieces_in_few_digits(dtype: torch.dtype) -> None:
    chain = random_chain(lengths=(512, 500), tags=7, seed=5, dtype=dtype)
    parts = (chain.emissions, chain.transitions, chain.start, chain.end)
    rounded = Chain(*(part.double() for part in parts if part is not None), chain.mask)
    found = log_marginals(chain).exp()
    assert torch.allclose(found[0].sum(dim=-1), torch.ones(512, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(found, log_marginals(rounded).exp(), atol=1e-9)
    assert torch.allclose(log_partition(chain), log_partition(rounded), atol=1e-9)
    assert torch.equal(best(chain, 3)[0], best(rounded, 3)[0])
    own = [part.detach().requires_grad_() for part in parts if part is not None]
    log_partition(Chain(*own, chain.mask)).sum().backward()
    for part in own:
        assert part.grad is not None and part.grad.dtype == dtype and torch.isfinite(part.grad).all()


def test_moves_that_are_as_good_as_forbidden() -> None:
    chain = random_chain(lengths=(6, 4), tags=3, seed=3, dtype=torch.float32)
    moves, start = chain.transitions, chain.start
    assert moves is not None and start is not None
    moves[0, 2], start[2] = -1e4, -1e4  # a log potential, as if a probability of exactly 0
    moves.requires_grad_()
    tags = best_tags(chain)
    assert (tags[:, 0] != 2).all()
    assert not ((tags[:, :-1] == 0) & (tags[:, 1:] == 2)).any()
    assert log_marginals(chain)[:, 0, 2].exp().abs().max() == 0
    log_partition(chain).sum().backward()
    assert moves.grad is not None and torch.isfinite(moves.grad).all() and moves.grad[0, 2] == 0


def test_a_new_crf_has_no_preferences_and_learns_some() -> None:
    crf = Crf(3)
    emissions = torch.zeros(1, 4, 3)
    assert log_likelihood(Chain(emissions, *crf()), torch.tensor([[0, 1, 0, 1]])).exp().item() == pytest.approx(3**-4)
    optimizer = torch.optim.Adam(crf.parameters(), lr=0.3)
    for _ in range(60):
        optimizer.zero_grad()
        (-log_likelihood(Chain(emissions, *crf()), torch.tensor([[0, 1, 0, 1]])).sum()).backward()
        optimizer.step()
    assert best_tags(Chain(emissions, *crf())).tolist() == [[0, 1, 0, 1]]


def test_what_is_not_a_number_of_sequences() -> None:
    with pytest.raises(ValueError, match="at least one sequence must be asked for, got 0"):
        best(Chain(torch.zeros(1, 2, 2)), 0)
