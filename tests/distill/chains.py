"""Small chains, and what they mean written out over all tag sequences."""

from __future__ import annotations

import itertools

import torch
from hypothesis import strategies as st
from torch import Tensor

from distill.crf import Chain


def random_chain(
    *,
    lengths: tuple[int, ...],
    tags: int,
    seed: int,
    shared: bool = True,
    spread: float = 2.0,
    dtype: torch.dtype = torch.float64,
) -> Chain:
    """Sentences of these lengths in one padded batch, with scores from a normal distribution."""
    source = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return (spread * torch.randn(shape, generator=source, dtype=torch.float64)).to(dtype)

    rows, longest = len(lengths), max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    front = () if shared else (rows,)
    return Chain(
        draw(rows, longest, tags),
        draw(*front, tags, tags),
        draw(*front, tags),
        draw(*front, tags),
        None if len(set(lengths)) == 1 else mask,
    )


def own_row(chain: Chain, row: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Emissions (T_b, C), transitions (T_b - 1, C, C), start and end (C,) of one sentence, without padding."""
    exact = chain.exact()
    assert exact.transitions is not None and exact.start is not None and exact.end is not None
    length = exact.emissions.shape[1] if chain.mask is None else int(chain.mask[row].sum())
    moves = exact.transitions[row]
    if len(moves) == 1:
        moves = moves.expand(max(0, length - 1), -1, -1)
    return exact.emissions[row, :length], moves[: length - 1], exact.start[row], exact.end[row]


def all_sequences(chain: Chain, row: int) -> tuple[Tensor, Tensor]:
    """Every tag sequence (C ** T_b, T_b) of one sentence, and its log potential, by eq. 1 alone."""
    emissions, transitions, start, end = own_row(chain, row)
    length, tags = emissions.shape
    sequences = torch.tensor(list(itertools.product(range(tags), repeat=length)))
    scores = start[sequences[:, 0]] + end[sequences[:, -1]]
    for at in range(length):
        scores = scores + emissions[at, sequences[:, at]]
        if at:
            scores = scores + transitions[at - 1, sequences[:, at - 1], sequences[:, at]]
    return sequences, scores


def probabilities(chain: Chain, row: int) -> tuple[Tensor, Tensor]:
    """Every tag sequence of one sentence, and its probability."""
    sequences, scores = all_sequences(chain, row)
    return sequences, scores.softmax(dim=0)


@st.composite
def chains(draw: st.DrawFn, *, same: bool = False) -> Chain:
    """A batch of up to three short sentences."""
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    return random_chain(
        lengths=tuple(lengths[:1] * len(lengths) if same else lengths),
        tags=draw(st.integers(1, 3)),
        seed=draw(st.integers(0, 10_000)),
        shared=draw(st.booleans()),
        spread=draw(st.sampled_from([0.0, 1.0, 5.0])),
    )
