from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from distill.dataset import NO_TAG, Packed
from distill.sentences.embedding import vectors_of
from distill.sentences.model import EncoderConfig, SentenceEncoder, copy_bert, load_encoder, parameter_count, save
from tests.encoders import random_encoder, unigram

SMALL = EncoderConfig(vocabulary=20, hidden=8, layers=2, heads=2, intermediate=12, max_length=10)
IDS = torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])


@torch.no_grad()
def test_bert_can_be_copied_in() -> None:
    torch.manual_seed(1)
    shape = BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=12,
        max_position_embeddings=10,
    )  # fmt: skip
    bert = BertModel(shape, add_pooling_layer=False).eval()
    for parameter in bert.parameters():
        parameter.normal_(std=0.4)
    model = SentenceEncoder(EncoderConfig(vocabulary=20, hidden=8, layers=3, heads=2, intermediate=12, max_length=10))
    copy_bert(model, bert.state_dict(), layers=(0, 1, 2))
    model.embedding.weight.copy_(bert.embeddings.word_embeddings.weight)
    states = bert(input_ids=IDS, attention_mask=MASK).last_hidden_state
    kept = MASK[:, :, None]
    torch.testing.assert_close(model(IDS, MASK), (states * kept).sum(1) / kept.sum(1), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="the encoder has 3 layers, got 1 to copy"):
        copy_bert(model, bert.state_dict(), layers=(0,))


@torch.no_grad()
def test_repeated_layers_are_a_stack_of_copies() -> None:
    recurrent = random_encoder("bottleneck", layers=2, repeats=3)
    unrolled = random_encoder("bottleneck", layers=6, repeats=1, seed=9)
    state = recurrent.state_dict()
    for at in range(6):
        own = f"layers.{at % 2}."
        state |= {f"layers.{at}.{name.removeprefix(own)}": value for name, value in state.items() if own in name}
    unrolled.load_state_dict(state)
    torch.testing.assert_close(recurrent(IDS, MASK), unrolled(IDS, MASK))
    once = random_encoder("bottleneck", layers=2, repeats=1)
    assert (recurrent(IDS, MASK) - once(IDS, MASK)).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("shape", ["bottleneck", "whole", "flat"])
def test_padding_changes_nothing(shape: str) -> None:
    model = random_encoder(shape)
    short = model(IDS[1:, :2])
    torch.testing.assert_close(model(IDS, MASK)[1:], short)
    torch.testing.assert_close(model(IDS[1:, :2], MASK[1:, :2]), short)
    assert model(IDS, torch.zeros_like(MASK)).abs().max() == 0 or shape != "flat"


@torch.no_grad()
def test_without_layers_it_is_the_mean_of_what_would_go_in() -> None:
    model = random_encoder("flat")
    torch.testing.assert_close(model(IDS[:1]), model.embedded(IDS[:1]).mean(dim=1))


# Numbers that papers.md 4.3 derives from the paper's configurations, in millions; they count a pooler as well.
XLM_R = {"vocabulary": 250_002, "hidden": 768, "heads": 12, "intermediate": 3072, "max_length": 514}
MINI_LM = {"vocabulary": 250_037, "hidden": 384, "heads": 12, "intermediate": 1536, "max_length": 512}


@pytest.mark.parametrize(
    ("shape", "embedding", "layers", "millions"),
    [
        (XLM_R, None, 12, 278.0), (XLM_R, 128, 12, 118.1), (XLM_R, 256, 12, 150.2), (XLM_R, 128, 3, 54.4),
        (XLM_R, 256, 3, 86.5), (XLM_R, None, 3, 214.0), (MINI_LM, None, 12, 117.7), (MINI_LM, 128, 12, 53.7),
        (MINI_LM, 256, 12, 85.8), (MINI_LM, 128, 3, 37.7), (MINI_LM, 128, 6, 43.1),
    ],
)  # fmt: skip
def test_shapes_of_the_paper_have_its_parameters(
    shape: dict[str, int], embedding: int | None, layers: int, millions: float
) -> None:
    config = EncoderConfig(**shape, embedding=embedding, layers=layers, repeats=12 // layers)
    pooler = config.hidden * config.hidden + config.hidden
    assert (parameter_count(config) + pooler) / 1e6 == pytest.approx(millions, abs=0.3 if layers == 3 else 0.06)


@pytest.mark.parametrize("embedding", [None, 3])
def test_parameters_are_those_of_the_modules(embedding: int | None) -> None:
    config = EncoderConfig(vocabulary=20, embedding=embedding, hidden=8, layers=2, heads=2, intermediate=12)
    assert parameter_count(config) == sum(one.numel() for one in SentenceEncoder(config).parameters())


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    model = random_encoder("bottleneck")
    pieces = unigram()
    save(model, pieces, tmp_path / "encoder", training={"seed": 4})
    again, tokenizer = load_encoder(tmp_path / "encoder")
    assert again.config == model.config and not again.training
    assert tokenizer.encode("The cat sleeps").ids == pieces.encode("the cat sleeps").ids
    torch.testing.assert_close(again(IDS, MASK), model(IDS, MASK))
    (tmp_path / "encoder/config.json").write_text('{"kind": "tagger"}', encoding="utf-8")
    with pytest.raises(ValueError, match="kind must be 'sentence-encoder', got 'tagger'"):
        load_encoder(tmp_path / "encoder")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"repeats": 0}, "repeats must be at least 1, got 0"), ({"layers": -1}, "layers must be at least 0, got -1"),
        ({"embedding": 0}, "embedding must be at least 1, got 0"), ({"heads": 3}, r"multiple of heads \(3\), got 8"),
    ],
)  # fmt: skip
def test_impossible_shapes_are_refused(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EncoderConfig(**{"vocabulary": 20, "hidden": 8, "heads": 2, **wrong})


@torch.no_grad()
def test_a_first_piece_stands_before_every_text() -> None:
    model = random_encoder("bottleneck", first_id=2)
    assert model.first_id == 2
    ids, mask = torch.tensor([[5, 6, 7], [8, 9, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    found, alone = model(ids, mask), model(ids[:1])
    torch.testing.assert_close(alone[0], found[0])
    model.first_id = None  # as where inputs bring it
    first = torch.full((2, 1), 2)
    torch.testing.assert_close(model(torch.cat([first, ids], 1), torch.cat([torch.ones_like(first), mask], 1)), found)
    assert (model(ids, mask) - found).abs().max() > 1e-3


def test_what_is_too_long_with_the_first_piece_is_cut() -> None:
    model = random_encoder("whole", first_id=2, max_length=6)
    ids = np.array([5, 6, 7, 8, 9, 10, 11, 5, 6, 7, 8, 9], dtype=np.uint16)
    rows, tags = np.array([0, 7, 12]), np.full(12, NO_TAG, dtype=np.int8)
    long, short = vectors_of(model, Packed(ids, tags, rows, np.zeros(2, dtype=np.int16), ("en",)))
    np.testing.assert_allclose(long, short, atol=1e-6)
