"""What stands between a student's embeddings and its head: three encoders of (B, T, E) into (B, T, S)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class BiLstmEncoder(nn.Module):
    """One bidirectional LSTM layer (XtremeDistil, section 3): S = 2H."""

    def __init__(self, embedding: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True, bidirectional=True)
        self.width = 2 * hidden

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """States (B, T, 2H) of right-padded vectors (B, T, E).

        Rows of equal length, as the training batches have, skip the packing, which costs a third of the time on CPU.
        """
        lengths = mask.sum(dim=1)
        if int(lengths.min()) == vectors.shape[1]:
            return self.lstm(vectors)[0]  # type: ignore[no-any-return]
        packed = pack_padded_sequence(vectors, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=vectors.shape[1])
        return states


class GatedBlock(nn.Module):
    """x <- norm(x + GLU(W depthwise(x))): a dilated depthwise convolution, then one gated mix of the channels.

    The gate is Dauphin et al.'s (2017), the dilation Strubell et al.'s (2017, iterated dilated convolutions for
    NER); the separable form keeps the arithmetic of a block at 2 H^2 + kH a piece.
    """

    def __init__(self, width: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.dilation = dilation
        self.taps = nn.Parameter(torch.randn(kernel, width) * kernel**-0.5)
        self.mix = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, keep: Tensor) -> Tensor:
        """(B, T, H) to (B, T, H); `keep` (B, T, 1) is 0 at padding, so that a row ends as the text ends."""
        kernel, width = self.taps.shape
        reach = self.dilation * (kernel // 2)
        seen = F.conv1d(
            (states * keep).transpose(1, 2), self.taps.T[:, None], padding=reach, dilation=self.dilation, groups=width
        )
        return self.norm(states + self.dropout(F.glu(self.mix(seen.transpose(1, 2)), dim=-1)))  # type: ignore[no-any-return]


class ConvEncoder(nn.Module):
    """Gated dilated convolutions: S = H. Every piece is computed at once, where an LSTM goes piece by piece."""

    DILATIONS = (1, 2, 4, 8)

    def __init__(self, embedding: int, hidden: int, *, layers: int, kernel: int, dropout: float) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"the kernel must be odd, got {kernel}")
        self.input = nn.Linear(embedding, hidden)
        dilations = [self.DILATIONS[layer % len(self.DILATIONS)] for layer in range(layers)]
        self.blocks = nn.ModuleList(GatedBlock(hidden, kernel, dilation, dropout) for dilation in dilations)
        self.width = hidden

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """States (B, T, H) of right-padded vectors (B, T, E)."""
        keep = mask[:, :, None].to(vectors.dtype)
        states: Tensor = self.input(vectors)
        for block in self.blocks:
            states = block(states, keep)
        return states


class TransformerEncoder(nn.Module):
    """A small Transformer with learned positions: S = H; feed-forward layers of 4H, pre-norm, ReLU.

    ReLU: on a CPU a GELU costs as much as a third of such a narrow layer.
    """

    def __init__(
        self, embedding: int, hidden: int, *, layers: int, heads: int, dropout: float, longest: int = 512
    ) -> None:
        super().__init__()
        self.input = nn.Linear(embedding, hidden)
        self.positions = nn.Parameter(torch.randn(longest, hidden) * 0.02)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(hidden, heads, 4 * hidden, dropout, F.relu, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(hidden)
        self.width = hidden

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """States (B, T, H) of right-padded vectors (B, T, E); T is at most 512."""
        states: Tensor = self.input(vectors) + self.positions[: vectors.shape[1]]
        padding = torch.zeros(mask.shape, dtype=states.dtype, device=states.device)
        padding = padding.masked_fill(mask == 0, torch.finfo(states.dtype).min)
        for block in self.blocks:
            states = block(states, src_key_padding_mask=padding)
        return self.norm(states)  # type: ignore[no-any-return]
