"""What each encoder computes, against the plain formulas; masks, kinds and saving are tested with the students."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.encoders import BiLstmEncoder, ConvEncoder, GatedBlock, TransformerEncoder


def vectors(length: int, width: int = 4) -> Tensor:
    return torch.randn(2, length, width, generator=torch.Generator().manual_seed(length))


def ones(states: Tensor) -> Tensor:
    return torch.ones(states.shape[:2], dtype=torch.long)


def test_the_bilstm_is_two_lstms() -> None:
    torch.manual_seed(1)
    encoder = BiLstmEncoder(4, 3)
    own = dict(encoder.lstm.named_parameters())
    forward, backward = nn.LSTM(4, 3, batch_first=True), nn.LSTM(4, 3, batch_first=True)
    forward.load_state_dict({name: own[name] for name in dict(forward.named_parameters())})
    backward.load_state_dict({name: own[name + "_reverse"] for name in dict(backward.named_parameters())})
    inputs = vectors(6)
    want = torch.cat([forward(inputs)[0], backward(inputs.flip(1))[0].flip(1)], dim=-1)
    torch.testing.assert_close(encoder(inputs, ones(inputs)), want)
    assert encoder.width == want.shape[-1] == 6


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_a_gated_block_by_hand(dilation: int) -> None:
    torch.manual_seed(1)
    block = GatedBlock(4, 3, dilation, 0.0)
    states = vectors(7)
    got = block(states, torch.ones(2, 7, 1))
    for at in range(7):
        seen = torch.zeros(2, 4)
        for tap, other in enumerate((at - dilation, at, at + dilation)):
            if 0 <= other < 7:
                seen += block.taps[tap] * states[:, other]
        value, gate = (seen @ block.mix.weight.T + block.mix.bias).chunk(2, dim=-1)
        want = F.layer_norm(states[:, at] + value * gate.sigmoid(), (4,))
        torch.testing.assert_close(got[:, at], want, atol=1e-5, rtol=1e-5)


def test_convolutions_reach_as_far_as_their_dilations_say() -> None:
    torch.manual_seed(1)
    encoder = ConvEncoder(4, 6, layers=3, kernel=3, dropout=0.0).eval()  # reach 1 + 2 + 4
    inputs = vectors(31).requires_grad_()
    encoder(inputs, ones(inputs))[0, 15, 0].backward()
    assert inputs.grad is not None
    touched = inputs.grad[0].ne(0).any(dim=-1).nonzero().flatten().tolist()
    assert (touched[0], touched[-1]) == (15 - 7, 15 + 7) and not inputs.grad[1].any()
    five = ConvEncoder(4, 6, layers=5, kernel=3, dropout=0.0)
    assert [block.dilation for block in five.blocks] == [1, 2, 4, 8, 1]


def test_a_transformer_tells_places_apart_up_to_its_longest() -> None:
    torch.manual_seed(1)
    encoder = TransformerEncoder(4, 8, layers=1, heads=2, dropout=0.0, longest=9).eval()
    same = torch.ones(1, 9, 4)
    states = encoder(same, ones(same))
    assert not torch.allclose(states[0, 0], states[0, 1], atol=1e-4)
    with torch.no_grad():
        encoder.positions.zero_()
        states = encoder(same, ones(same))
    torch.testing.assert_close(states[0, 0], states[0, 8])
