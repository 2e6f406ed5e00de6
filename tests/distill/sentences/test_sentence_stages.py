from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distill.batches import gather
from distill.dataset import NO_TAG, Packed
from distill.sentences.drawing import Drawn
from distill.sentences.losses import contrastive_loss
from distill.sentences.model import EncoderConfig, SentenceEncoder
from distill.sentences.objectives import Contrast, Regression, padded
from distill.sentences.stages import factorised, stacked, truncated, without_layers
from tests.encoders import random_encoder

IDS = torch.tensor([[3, 4, 5, 6], [7, 8, 9, 4]])


def packed(rows: list[list[int]]) -> Packed:
    ids = np.array([piece for row in rows for piece in row], dtype=np.uint16)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Packed(ids, np.full(len(ids), NO_TAG, dtype=np.int8), offsets, np.zeros(len(rows), dtype=np.int16), ("de",))


def test_the_truncated_product_is_the_nearest_of_its_rank() -> None:
    torch.manual_seed(1)
    matrix = torch.randn(30, 8) @ torch.diag(torch.tensor([9.0, 7, 5, 3, 2, 1, 0.5, 0.1]))
    values = torch.linalg.svdvals(matrix)
    for rank in (1, 3, 8):
        table, directions = truncated(matrix, rank)
        assert (table.shape, directions.shape) == ((30, rank), (8, rank))
        error = (matrix - table @ directions.T).norm()
        assert float(error) == pytest.approx(float(values[rank:].norm()), abs=1e-3)
        # Both factors are of a like size by column, so that one learning rate suits both.
        ratio = table.square().mean(dim=0).sqrt() / directions.square().mean(dim=0).sqrt()
        assert float(ratio.max() / ratio.min()) < 12


@torch.no_grad()
def test_a_bottleneck_as_wide_as_the_table_changes_nothing() -> None:
    bare = without_layers(random_encoder("whole"))
    narrow = factorised(bare, 48)
    assert narrow.config.embedding == 48 and narrow.expand is not None
    torch.testing.assert_close(narrow(IDS), bare(IDS), atol=1e-3, rtol=1e-3)
    assert (factorised(bare, 4)(IDS) - bare(IDS)).abs().max() > 1e-2
    with pytest.raises(ValueError, match="at most 48 and replaces a full table, got 49"):
        factorised(bare, 49)
    with pytest.raises(ValueError, match="replaces a full table, got 10"):
        factorised(narrow, 10)


@torch.no_grad()
def test_without_layers_is_what_the_first_layer_gets() -> None:
    model = random_encoder("bottleneck")
    bare = without_layers(model)
    assert (bare.config.layers, bare.config.repeats) == (0, 1)
    torch.testing.assert_close(bare(IDS), model.embedded(IDS).mean(dim=1))


@torch.no_grad()
def test_the_stack_has_the_layers_that_were_asked_for() -> None:
    assistant = random_encoder("whole", layers=4)
    bare = factorised(without_layers(assistant), 40)
    model = stacked(bare, assistant, layers=(0, 3), repeats=2)
    assert (model.config.layers, model.config.repeats, model.config.embedding) == (2, 2, 40)
    states = bare.embedded(IDS)
    for layer in (0, 3, 0, 3):
        states = assistant.layers[layer](states, None)
    torch.testing.assert_close(model(IDS), states.mean(dim=1))
    with pytest.raises(ValueError, match=r"recurrent.layers must be of the assistant's 4, got \[4\]"):
        stacked(bare, assistant, layers=(0, 4), repeats=1)


class Table(nn.Module):
    """Stands in for an encoder: the mean of fixed rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(12, 4, generator=torch.Generator().manual_seed(2)))

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        kept = torch.ones_like(ids) if mask is None else mask
        return (self.rows[ids] * kept[:, :, None]).sum(1) / kept.sum(1, keepdim=True)


def test_each_sentence_is_held_against_its_own_target() -> None:
    data = packed([[1, 2], [3, 4], [5, 6]])
    targets = np.arange(8, dtype=np.float16).reshape(2, 4)
    drawn = Drawn(data, np.array([1, 0, 1]))
    model = Table()
    loss = Regression(drawn, targets)(model, gather(data, np.array([2, 1])))
    rows = model.rows.detach()
    expected = [(rows[5] + rows[6]) / 2 - torch.arange(4, 8), (rows[3] + rows[4]) / 2 - torch.arange(4)]
    assert loss.item() == pytest.approx(float(torch.stack(expected).square().mean()), rel=1e-5)


@pytest.mark.parametrize("kind", ["soft", "infonce"])
def test_translations_meet_their_english_however_often_it_comes(kind: str) -> None:
    table = packed([[7, 8, 9], [10], [11, 1]])
    data = packed([[1, 2], [3, 4], [5, 6]])
    targets = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    rows = np.array([2, 0, 2])
    model = Table()
    loss = Contrast(Drawn(data, rows), table, targets, kind=kind, weight=2, longest=2)  # type: ignore[arg-type]
    found = loss(model, gather(data, np.array([0, 1, 2])))
    own = model.rows
    english = torch.stack([(own[11] + own[1]) / 2, (own[7] + own[8]) / 2, (own[11] + own[1]) / 2])  # cut at 2 pieces
    foreign = torch.stack([(own[1] + own[2]) / 2, (own[3] + own[4]) / 2, (own[5] + own[6]) / 2])
    teacher = torch.from_numpy(targets[rows])
    expected = contrastive_loss(english, foreign, teacher, kind=kind, weight=2)  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected)
    found.backward()
    assert own.grad is not None and own.grad[11].abs().sum() > 0


def test_padding_is_masked() -> None:
    ids, mask = padded(packed([[7, 8, 9], [10], [11, 1]]), np.array([0, 1]), longest=8)
    assert ids.tolist() == [[7, 8, 9], [10, 0, 0]] and mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_embeddings_can_learn_alone() -> None:
    from distill.training import Schedule, build_optimizer

    model = SentenceEncoder(EncoderConfig(vocabulary=20, hidden=8, layers=1, heads=2, intermediate=8))
    schedule = Schedule(tokens=10, learning_rate=1e-3, embedding_rate=5, decay="linear", final=0)
    rates = {group["lr"]: len(group["params"]) for group in build_optimizer(model, schedule).param_groups}
    assert set(rates) == {5e-3, 1e-3}
    assert [round(schedule.factor(done), 3) for done in (4, 6, 10)] == [0.625, 0.417, 0.0]
