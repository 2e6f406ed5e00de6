"""Tiny random sentence encoders, saved as `distill` and as sentence-transformers save theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from distill.sentences.model import EncoderConfig, SentenceEncoder, save, vocabulary_of
from distill.tokenizer import as_word_pieces, build_word_pieces, piece_scores, train_tokenizer
from onoma.word_table import WordTable
from tests.similarity import rows

LANGUAGES = ("en", "de", "zh")
TEXTS = ("The cat sleeps.", "dog", "dethe dehouse defalls on the river and the train waits for a letter", "the the")
SHAPES: dict[str, dict[str, Any]] = {
    "bottleneck": {"embedding": 40, "layers": 2, "repeats": 2},
    "whole": {"layers": 1},
    "flat": {"embedding": 40, "layers": 0},
}


def corpus() -> list[str]:
    """What the tokenizers are trained on."""
    return [text for language in LANGUAGES for row in rows(language, 40) for text in row[:2]] + list(TEXTS)


def unigram() -> Tokenizer:
    """Pieces without special ones around a sentence."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=["<pad>", "<unk>"], unk_token="<unk>")
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def word_pieces() -> Tokenizer:
    """Pieces between [CLS] and [SEP]."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(corpus(), trainers.WordPieceTrainer(vocab_size=200, special_tokens=specials))
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def random_encoder(shape: str, *, seed: int = 1, **changes: Any) -> SentenceEncoder:
    """An untrained encoder of one of the SHAPES in eval mode, whose layers and positions have a say."""
    torch.manual_seed(seed)
    config = {"hidden": 48, "heads": 4, "intermediate": 64, "max_length": 64, "vocabulary": 200}
    model = SentenceEncoder(EncoderConfig(**{**config, **SHAPES[shape], **changes}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(1 if "norm" in name else 30 if "embedding" in name else 5)
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
    return model.eval()


def word_table() -> WordTable:
    """A few of the corpus' words in a table, two of which share an embedding, over pieces for the others."""
    pieces = train_tokenizer(corpus() * 3, vocabulary=150, progress=False, lowercase=True, fold_digits=False)
    first = pieces.get_vocab_size()
    base = build_word_pieces(as_word_pieces([piece for piece, _ in piece_scores(pieces)]))
    return WordTable(base, {"the": first, "dethe": first, "cat": first + 1, "dehouse": first + 2})


def save_encoder(
    folder: Path, shape: str, *, words: bool = False, training: dict[str, Any] | None = None, **changes: Any
) -> Path:
    """The folder of an encoder as `distill` leaves it."""
    tokenizer = word_table() if words else unigram()
    save(random_encoder(shape, vocabulary=vocabulary_of(tokenizer), **changes), tokenizer, folder, training=training)
    return folder


def save_sentence_transformer(
    folder: Path, *, kind: str = "bert", pooling: str = "mean_tokens", modules: tuple[str, ...] = ()
) -> Path:
    """The folder of a tiny model as sentence-transformers leaves it, with the mean of its states.

    :param kind: bert, with the layer for [CLS] that its checkpoints have, or distilbert, without.
    :param modules: kinds of those behind the pooling.
    """
    from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, PreTrainedTokenizerFast

    torch.manual_seed(2)
    pieces = word_pieces()
    vocabulary = {"vocab_size": pieces.get_vocab_size(), "max_position_embeddings": 40}
    model: Any
    if kind == "bert":
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        model = BertModel(BertConfig(**vocabulary, **sizes)).eval()
    else:
        model = DistilBertModel(DistilBertConfig(**vocabulary, dim=32, n_layers=2, n_heads=2, hidden_dim=64)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(5)
    model.save_pretrained(folder)
    named = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    PreTrainedTokenizerFast(tokenizer_object=pieces, model_max_length=40, **named).save_pretrained(folder)
    kinds = ("Transformer", "Pooling", *modules)
    steps = [{"idx": at, "type": f"sentence_transformers.models.{kind}"} for at, kind in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(steps), encoding="utf-8")
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24}), encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    modes = {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps(modes | {f"pooling_mode_{pooling}": True}), encoding="utf-8"
    )
    return folder
