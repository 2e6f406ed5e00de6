from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from torch.nn import functional as F
from transformers import AutoModelForTokenClassification, AutoTokenizer, BertConfig, BertModel

from distill.dataset import LABELS
from distill.teachers import (
    TeacherConfig,
    build_on_body,
    build_teacher,
    init_embeddings,
    masked_language_loss,
    save_teacher,
)

KINDS = ("roformer", "bert", "modernbert")
VOCABULARY = 60


def shape(kind: Any, **options: Any) -> TeacherConfig:
    return TeacherConfig(architecture=kind, layers=2, hidden=32, heads=2, intermediate=48, **options)


def build(kind: str, vocabulary: int = VOCABULARY, **options: Any) -> Any:
    torch.manual_seed(1)
    return build_teacher(shape(kind, **options), vocabulary=vocabulary)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_as_a_checkpoint_that_hugging_face_loads(kind: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = build(kind, tokenizer.get_vocab_size()).eval()
    folder = tmp_path / "teacher"
    folder.mkdir()
    (folder / "log.jsonl").touch()
    save_teacher(model, tokenizer, folder)
    assert {"log.jsonl", "model.safetensors", "config.json", "tokenizer.json"} <= {p.name for p in folder.iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == ["teacher"]
    again = AutoModelForTokenClassification.from_pretrained(str(folder)).eval()
    assert [again.config.id2label[column] for column in range(7)] == list(LABELS.tags)
    text = "Ada Byron works for Nordbank in Port Alto (1805)."
    loaded = AutoTokenizer.from_pretrained(str(folder))
    ids = loaded(text, return_tensors="pt")["input_ids"]
    assert ids[0].tolist() == tokenizer.encode(text, add_special_tokens=False).ids
    assert (loaded.pad_token_id, loaded.unk_token_id, loaded.mask_token_id) == (0, 1, 2)
    mask = torch.ones_like(ids)
    with torch.no_grad():
        want = model(input_ids=ids, attention_mask=mask).logits
        torch.testing.assert_close(again(input_ids=ids, attention_mask=mask).logits, want, atol=1e-5, rtol=1e-4)
        padded, partly = F.pad(ids, (0, 5)), F.pad(mask, (0, 5))
        with_padding = again(input_ids=padded, attention_mask=partly).logits[:, : ids.shape[1]]
        torch.testing.assert_close(with_padding, want, atol=1e-4, rtol=1e-3)


def test_narrow_embeddings() -> None:
    model = build("roformer", embedding=16)
    assert model.get_input_embeddings().weight.shape == (VOCABULARY, 16)
    ids = torch.randint(3, VOCABULARY, (2, 6))
    assert model(input_ids=ids).logits.shape == (2, 6, 7)
    assert float(masked_language_loss(model, ids, mask_id=2).detach()) > 0


def test_built_on_a_body_with_a_new_vocabulary(tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=33, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=64,
    )  # fmt: skip
    body = BertModel(config)
    body.save_pretrained(str(tmp_path / "body"))
    model: Any = build_on_body(tmp_path / "body", vocabulary=VOCABULARY)
    mine, theirs = model.bert.state_dict(), body.state_dict()
    kept = {name for name, value in mine.items() if name in theirs and torch.equal(value, theirs[name])}
    assert set(mine) - kept == {"embeddings.word_embeddings.weight"}
    fresh, old = model.get_input_embeddings().weight.detach(), body.get_input_embeddings().weight.detach()
    assert fresh.shape == (VOCABULARY, 32)
    assert float(fresh.std()) == pytest.approx(float(old.std()), rel=0.1)
    assert (model.config.vocab_size, model.config.num_labels) == (VOCABULARY, 7)
    ids = torch.randint(3, VOCABULARY, (1, 6))
    assert torch.isfinite(model(input_ids=ids).logits).all()
    model.save_pretrained(str(tmp_path / "own"))
    again = AutoModelForTokenClassification.from_pretrained(str(tmp_path / "own"))
    assert torch.equal(again.get_input_embeddings().weight, fresh)


def test_piece_vectors_start_the_embeddings() -> None:
    model = build("roformer", embedding=16)
    before = model.get_input_embeddings().weight.detach().clone()
    vectors = 5 * torch.randn(VOCABULARY, 12)
    vectors[2] = vectors[9] = 0
    init_embeddings(model, vectors)
    after = model.get_input_embeddings().weight.detach()
    assert torch.equal(after[0], torch.zeros(16))
    assert torch.equal(after[[2, 9]], before[[2, 9]]), "pieces without a vector keep their random start"
    known = [at for at in range(1, VOCABULARY) if at not in (2, 9)]
    ratio = after[known, :12] / vectors[known]
    assert float(ratio.max()) == pytest.approx(float(ratio.min()), rel=1e-3)
    assert torch.equal(after[known, 12:], before[known, 12:])
    assert float(after[known, :12].std()) == pytest.approx(float(before.std()), rel=0.1)
    with pytest.raises(ValueError, match="piece vectors are"):
        init_embeddings(model, torch.randn(VOCABULARY, 17))
    with pytest.raises(ValueError, match="piece vectors are"):
        init_embeddings(model, torch.randn(VOCABULARY + 1, 16))


def masked_loss_by_hand(model: Any, ids: torch.Tensor, *, share: float) -> torch.Tensor:
    """The full softmax, after the same random draws."""
    chosen = torch.rand(ids.shape) < share
    fate = torch.rand(ids.shape)
    random = torch.randint(3, VOCABULARY, ids.shape)
    corrupted = ids.clone()
    for place in chosen.nonzero().tolist():
        at = tuple(place)
        if fate[at] < 0.8:
            corrupted[at] = 2
        elif fate[at] < 0.9:
            corrupted[at] = random[at]
    states = model.base_model(input_ids=corrupted, attention_mask=torch.ones_like(ids)).last_hidden_state
    scores = states @ model.get_input_embeddings().weight.T
    return F.cross_entropy(scores[chosen], ids[chosen])


@pytest.mark.parametrize("kind", KINDS)
def test_the_sampled_softmax_is_the_full_one_when_it_has_all_pieces(kind: str) -> None:
    model = build(kind).eval()
    ids = torch.randint(3, VOCABULARY, (4, 9))
    torch.manual_seed(5)
    sampled = masked_language_loss(model, ids, mask_id=2, share=0.5, negatives=VOCABULARY)
    torch.manual_seed(5)
    torch.testing.assert_close(sampled, masked_loss_by_hand(model, ids, share=0.5))
    torch.manual_seed(5)
    assert masked_language_loss(model, ids, mask_id=2, share=0.5, negatives=4) < sampled


def test_something_is_always_masked() -> None:
    model = build("bert")
    assert torch.isfinite(masked_language_loss(model, torch.tensor([[5]]), mask_id=2, share=0.0))


def test_masked_pretraining_learns() -> None:
    model = build("roformer", dropout=0.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(220):
        start = torch.randint(0, 10, (16, 1))
        ids = 3 + (start + torch.arange(12)) % 10  # each piece tells its neighbours
        loss = masked_language_loss(model, ids, mask_id=2, negatives=30)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
