"""Linear-chain conditional random fields (Lafferty et al. 2001): partition, marginals, k best, in log space.

Everything is one loop over positions, vectorised over sentences and tags, in fp64 whatever the encoder gives: the sums
over 512 pieces would cost fp32 a percent of a probability, and the time goes into the loop, not the digits. A softmax
model is a chain whose tags do not depend on one another: one without transitions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


@dataclass(frozen=True, slots=True)
class Chain:
    """The log potentials of B sentences of at most T pieces over C tags (Wang et al. 2020, eq. 1).

    All scores are finite: what is to be impossible gets a large negative one, such as -1e4.

    :param emissions: (B, T, C).
    :param transitions: (C, C), (B, C, C), or (B, T - 1, C, C) where they differ from place to place; from the row's tag
        to the column's; None for none.
    :param start: (C,) or (B, C), of a sentence's first tag; `end` likewise of its last.
    :param mask: (B, T) bool, true on real pieces: the first ones of each row, at least one. None: all are real.
    """

    emissions: Tensor
    transitions: Tensor | None = None
    start: Tensor | None = None
    end: Tensor | None = None
    mask: Tensor | None = None

    @property
    def independent(self) -> bool:
        """Whether it has no transitions: the tags of a softmax model."""
        return self.transitions is None and self.start is None and self.end is None

    def exact(self) -> Chain:
        """The same scores in fp64, all there: transitions (B, 1 or T - 1, C, C)."""
        emissions = self.emissions.double()
        rows, _, tags = emissions.shape

        def filled(scores: Tensor | None, *shape: int) -> Tensor:
            return emissions.new_zeros(()).expand(shape) if scores is None else scores.double().expand(shape)

        moves = self.transitions
        if moves is None or moves.ndim < 4:
            moves = filled(moves, rows, tags, tags)[:, None]
        return Chain(
            emissions,
            moves.double(),
            filled(self.start, rows, tags),
            filled(self.end, rows, tags),
            self.mask,
        )

    def at(self, temperature: float) -> Chain:
        """Every score divided by the temperature: flatter above 1, for each potential alone (Wang et al. 2021)."""
        if temperature == 1.0:
            return self

        def flatter(scores: Tensor | None) -> Tensor | None:
            return None if scores is None else scores.double() / temperature

        emissions = self.emissions.double() / temperature
        return Chain(emissions, flatter(self.transitions), flatter(self.start), flatter(self.end), self.mask)

    def rows(self, chosen: Tensor) -> Chain:
        """The sentences of a mask (B,) or of indices."""

        def own(scores: Tensor | None, least: int) -> Tensor | None:
            return scores[chosen] if scores is not None and scores.ndim >= least else scores

        mask = None if self.mask is None else self.mask[chosen]
        return Chain(self.emissions[chosen], own(self.transitions, 3), own(self.start, 2), own(self.end, 2), mask)


def _forward(chain: Chain) -> Tensor:
    """(B, T, C) log alpha of an exact chain (eq. 11): of all paths that end in a tag, its own emission included.

    Behind a sentence's end they stay what they are there.
    """
    assert chain.transitions is not None and chain.start is not None
    alpha = chain.start + chain.emissions[:, 0]
    found = [alpha]
    for at in range(1, chain.emissions.shape[1]):
        moves = chain.transitions[:, _edge(chain.transitions, at)]
        further = torch.logsumexp(alpha[:, :, None] + moves, dim=1) + chain.emissions[:, at]
        alpha = further if chain.mask is None else torch.where(chain.mask[:, at, None], further, alpha)
        found.append(alpha)
    return torch.stack(found, dim=1)


def _edge(transitions: Tensor, at: int) -> int:
    """Which of the transitions (B, 1 or T - 1, C, C) lead to the piece `at`."""
    return at - 1 if transitions.shape[1] > 1 else 0


def _turned(values: Tensor, mask: Tensor | None) -> Tensor:
    """(B, T, ...) with each sentence from back to front, padding where it was."""
    if mask is None:
        return values.flip(1)
    places = torch.arange(values.shape[1], device=values.device)
    lengths = mask.sum(dim=1, keepdim=True)
    source = torch.where(places < lengths, lengths - 1 - places, places)
    return values.gather(1, source.reshape(*source.shape, *[1] * (values.ndim - 2)).expand_as(values))


def _reversed(chain: Chain) -> Chain:
    """The chain of the sentences read from back to front."""
    assert chain.transitions is not None
    moves = chain.transitions.transpose(2, 3)
    if moves.shape[1] > 1:
        moves = _turned(moves, None if chain.mask is None else chain.mask[:, 1:])
    return Chain(_turned(chain.emissions, chain.mask), moves, chain.end, chain.start, chain.mask)


def _both_ways(chain: Chain) -> tuple[Tensor, Tensor, Tensor]:
    """Log alpha and gamma (B, T, C), and log Z (B,), of an exact chain.

    Gamma is alpha of the sentences read from back to front: beta (eq. 12) and the emission. Both directions are one
    batch, so that the loop is as long as for one.
    """
    assert chain.transitions is not None and chain.start is not None and chain.end is not None
    back = _reversed(chain)
    assert back.transitions is not None
    both = Chain(
        torch.cat([chain.emissions, back.emissions]),
        torch.cat([chain.transitions, back.transitions]),
        torch.cat([chain.start, chain.end]),
        None,
        None if chain.mask is None else torch.cat([chain.mask, chain.mask]),
    )
    alpha, turned = _forward(both).chunk(2)
    return alpha, _turned(turned, chain.mask), torch.logsumexp(alpha[:, -1] + chain.end, dim=-1)


def _real(values: Tensor, mask: Tensor | None) -> Tensor:
    """Values (B, T, ...) with zeros behind the sentences' ends."""
    # Filled, not multiplied: behind a sentence's end there may be infinity.
    return values if mask is None else values.masked_fill(~mask.reshape(*mask.shape, *[1] * (values.ndim - 2)), 0.0)


class _LogPartition(torch.autograd.Function):
    """log Z by the forward algorithm; its gradients are the marginals, which one more loop gives without a graph."""

    @staticmethod
    def forward(
        ctx: Any,
        emissions: Tensor,
        transitions: Tensor,
        start: Tensor,
        end: Tensor,
        mask: Tensor | None,
    ) -> Tensor:
        chain = Chain(emissions, transitions, start, end, mask)
        alpha = _forward(chain)
        partition = torch.logsumexp(alpha[:, -1] + end, dim=-1)
        ctx.save_for_backward(emissions, transitions, start, end, alpha, partition)
        ctx.mask = mask
        return partition

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        emissions, transitions, start, end, alpha, partition = ctx.saved_tensors
        mask = ctx.mask
        chain = Chain(emissions, transitions, start, end, mask)
        gamma = _turned(_forward(_reversed(chain)), mask)
        nodes, edges = _expectations(chain, alpha, gamma, partition)
        nodes, edges = nodes * outer[:, None, None], edges * outer[:, None, None, None]
        if transitions.shape[1] != edges.shape[1]:
            edges = edges.sum(dim=1, keepdim=True)
        return nodes, edges, nodes[:, 0], last(nodes, mask), None


def _expectations(chain: Chain, alpha: Tensor, gamma: Tensor, partition: Tensor) -> tuple[Tensor, Tensor]:
    """Marginals (B, T, C) and pairwise marginals (B, T - 1, C, C); zeros behind the sentences' ends."""
    assert chain.transitions is not None
    nodes = _real((alpha + gamma - chain.emissions - partition[:, None, None]).exp(), chain.mask)
    both = alpha[:, :-1, :, None] + chain.transitions + gamma[:, 1:, None, :] - partition[:, None, None, None]
    return nodes, _real(both.exp(), None if chain.mask is None else chain.mask[:, 1:])


def last(values: Tensor, mask: Tensor | None) -> Tensor:
    """(B, C) the values (B, T, C) at each sentence's last piece."""
    if mask is None:
        return values[:, -1]
    return values[torch.arange(len(values), device=values.device), mask.sum(dim=1) - 1]


def log_partition(chain: Chain) -> Tensor:
    """(B,) log Z of each sentence."""
    if chain.independent:
        emissions = chain.exact().emissions
        return _real(torch.logsumexp(emissions, dim=-1), chain.mask).sum(dim=1)
    exact = chain.exact()
    partition: Tensor = _LogPartition.apply(
        exact.emissions, exact.transitions, exact.start, exact.end, exact.mask
    )  # type: ignore[no-untyped-call]
    return partition


def score(chain: Chain, tags: Tensor) -> Tensor:
    """(B,) log potential of each sentence's tags (B, T); those behind its end may be anything in 0..C-1."""
    exact = chain.exact()
    assert exact.transitions is not None and exact.start is not None and exact.end is not None
    rows = torch.arange(len(tags), device=tags.device)
    found = _real(exact.emissions.gather(2, tags[:, :, None])[:, :, 0], chain.mask).sum(dim=1)
    edges = torch.arange(tags.shape[1] - 1, device=tags.device) if exact.transitions.shape[1] > 1 else 0
    moves = exact.transitions[rows[:, None], edges, tags[:, :-1], tags[:, 1:]]
    found = found + _real(moves, None if chain.mask is None else chain.mask[:, 1:]).sum(dim=1)
    return found + exact.start[rows, tags[:, 0]] + exact.end[rows, last(tags[:, :, None], chain.mask)[:, 0]]


def log_likelihood(chain: Chain, tags: Tensor) -> Tensor:
    """(B,) log p(tags | x) of each sentence (eq. 2)."""
    return score(chain, tags) - log_partition(chain)


def log_marginals(chain: Chain) -> Tensor:
    """(B, T, C) log q(y_k | x) (eq. 10); zeros behind the sentences' ends."""
    exact = chain.exact()
    if chain.independent:
        return _real(exact.emissions.log_softmax(dim=-1), chain.mask)
    alpha, gamma, partition = _both_ways(exact)
    return _real(alpha + gamma - exact.emissions - partition[:, None, None], chain.mask)


def expectations(chain: Chain) -> tuple[Tensor, Tensor, Tensor]:
    """What the gradients of log Z are: the marginals of tags and of pairs of neighbouring tags, and log Z itself.

    :return: p(y_k | x) (B, T, C) and p(y_k, y_k+1 | x) (B, T - 1, C, C), zeros behind the sentences' ends; log Z (B,).
    """
    exact = chain.exact()
    alpha, gamma, partition = _both_ways(exact)
    return *_expectations(exact, alpha, gamma, partition), partition


@torch.no_grad()
def best(chain: Chain, count: int) -> tuple[Tensor, Tensor]:
    """The `count` best tag sequences of each sentence, exactly (Viterbi with a list of the best for each tag).

    :return: tags (B, count, T), best first, zeros behind a sentence's end; their log potentials (B, count), -inf where
        a sentence has fewer sequences than that.
    :raises ValueError: if `count` is under 1.
    """
    if count < 1:
        raise ValueError(f"at least one sequence must be asked for, got {count}")
    exact = chain.exact()
    assert exact.transitions is not None and exact.start is not None and exact.end is not None
    rows, length, tags = exact.emissions.shape
    # (B, C, K): of the paths that end in a tag the K best; a path is one of the K of a tag before, so none is twice.
    paths = exact.emissions.new_full((rows, tags, count), -torch.inf)
    paths[:, :, 0] = exact.start + exact.emissions[:, 0]
    same = torch.arange(tags * count, device=paths.device).reshape(1, tags, count).expand(rows, -1, -1)
    origins = []
    for at in range(1, length):
        moves = exact.transitions[:, _edge(exact.transitions, at)]
        further = (paths[:, :, :, None] + moves[:, :, None, :]).flatten(1, 2)  # (B, C * K, C)
        values, origin = further.topk(count, dim=1)
        values, origin = values.transpose(1, 2) + exact.emissions[:, at, :, None], origin.transpose(1, 2)
        if chain.mask is not None:
            real = chain.mask[:, at, None, None]
            values, origin = torch.where(real, values, paths), torch.where(real, origin, same)
        paths = values
        origins.append(origin.flatten(1))
    scores, place = (paths + exact.end[:, :, None]).flatten(1).topk(count, dim=1)
    found = [place // count]
    for origin in reversed(origins):
        place = origin.gather(1, place)
        found.append(place // count)
    sequences = torch.stack(found[::-1], dim=2)
    return (sequences if chain.mask is None else sequences * chain.mask[:, None]), scores


def best_tags(chain: Chain) -> Tensor:
    """(B, T) the best tag sequence of each sentence."""
    return chain.emissions.argmax(dim=-1) if chain.independent else best(chain, 1)[0][:, 0]


class Crf(nn.Module):
    """Transitions of C tags, learned with the emissions; at first there are none, so all are 0."""

    def __init__(self, tags: int) -> None:
        super().__init__()
        self.transitions = nn.Parameter(torch.zeros(tags, tags))
        self.start = nn.Parameter(torch.zeros(tags))
        self.end = nn.Parameter(torch.zeros(tags))

    def forward(self) -> tuple[Tensor, Tensor, Tensor]:
        """Transitions (C, C), start and end (C,).

        As views: DistributedDataParallel takes a parameter that comes out of a model as it is for an unused one.
        """
        return self.transitions.view_as(self.transitions), self.start.view_as(self.start), self.end.view_as(self.end)
