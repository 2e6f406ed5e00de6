from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from distill.sentences.checkpoints import architecture, read_checkpoint
from distill.sentences.evaluation import unit
from distill.sentences.model import load_encoder
from tests.encoders import TEXTS, random_encoder, save_encoder, save_sentence_transformer


def mean_of(folder: Path, texts: tuple[str, ...]) -> Any:
    """What transformers itself gives: padded batch, mean over everything the mask shows, [CLS] and [SEP] too."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(list(texts), padding=True, return_tensors="pt", return_token_type_ids=False)
    with torch.inference_mode():
        states = AutoModel.from_pretrained(folder).eval()(**batch).last_hidden_state
    kept = batch["attention_mask"][:, :, None].float()
    return ((states * kept).sum(1) / kept.sum(1)).numpy()


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_a_sentence_transformer_gives_the_vectors_that_transformers_gives(kind: str, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(save_sentence_transformer(tmp_path / kind, kind=kind, modules=("Normalize",)))
    assert (checkpoint.facts.prefix_ids, checkpoint.facts.suffix_ids, checkpoint.facts.pad_id) == ((2,), (3,), 0)
    assert (checkpoint.longest, checkpoint.dimensions) == (24, 32)  # what it was trained with, not its 40 positions
    assert not any("pooler" in name for name, _ in checkpoint.model.named_parameters())
    vectors = checkpoint.embedder().embed(TEXTS)
    np.testing.assert_allclose(vectors, unit(mean_of(tmp_path / kind, TEXTS)), atol=1e-5)


def test_an_own_encoder_gives_the_vectors_that_it_gives(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(save_encoder(tmp_path / "own", "bottleneck"))
    model, tokenizer = load_encoder(tmp_path / "own")
    for text, vector in zip(TEXTS, checkpoint.embedder().embed(TEXTS), strict=True):
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.inference_mode():
            np.testing.assert_allclose(vector, unit(model(ids).numpy())[0], atol=1e-5)
    assert checkpoint.architecture == "encoder V=200 E=40 H=48 L=2x2 A=4 F=64".replace("200", str(checkpoint.rows))
    assert checkpoint.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_a_text_longer_than_the_model_takes_is_read_to_its_end(tmp_path: Path) -> None:
    embedder = read_checkpoint(save_encoder(tmp_path / "own", "whole")).embedder()
    long = "the cat sleeps and the dog runs " * 10
    vectors = embedder.embed([long, long + "river river river"])
    assert embedder.encode([long])[0].windows[-1].high > 64
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3


def test_the_name_of_a_shape() -> None:
    assert architecture(random_encoder("whole").config) == "encoder V=200 H=48 L=1x1 A=4 F=64"
    assert architecture(random_encoder("flat").config) == "encoder V=200 E=40 H=48 L=0x1 A=4 F=64"


def test_what_is_no_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="neither bundle.json nor config.json"):
        read_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="modules.json is missing"):
        read_checkpoint(tmp_path)
    with pytest.raises(ValueError, match="modules.json has Dense"):
        read_checkpoint(save_sentence_transformer(tmp_path / "dense", modules=("Dense",)))
    with pytest.raises(ValueError, match="only mean pooling is known.*cls_token"):
        read_checkpoint(save_sentence_transformer(tmp_path / "cls", pooling="cls_token"))
