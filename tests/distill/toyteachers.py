"""Teachers whose answers can be told by hand: real Hugging Face classifiers that look their logits up by piece."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from families import byte_level, wordpiece
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import (
    BertConfig,
    BertForTokenClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForTokenClassification,
)

from distill.dataset import LABELS


def bert_pieces() -> Tokenizer:
    """Lower-cased WordPiece between [CLS] and [SEP]."""
    tokenizer = wordpiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def sentence_pieces() -> Tokenizer:
    """Unigram over whole sentences, as XLM-R: pieces of several Han characters, a lone `▁` before some words."""
    words = ("▁Angela", "▁Mer", "kel", "▁東京都", "大阪", "の", "▁", *"AaegGnKölrst.")
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    tokenizer = Tokenizer(
        models.Unigram([*pieces, *((word, -1.0 if len(word) > 1 else -6.0) for word in words)], unk_id=3)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens([name for name, _ in pieces])
    tokenizer.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


FAMILIES = {"bert": bert_pieces, "roberta": byte_level, "xlm-r": sentence_pieces}
_PADS = {"bert": "[PAD]", "roberta": "<pad>", "xlm-r": "<pad>"}


def table_of(tokenizer: Tokenizer, columns: int = len(LABELS.tags)) -> Tensor:
    """(V, C) the logits of each piece."""
    return torch.randn(tokenizer.get_vocab_size(), columns, generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def save_lookup(
    kind: str,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    labels: Sequence[str] = LABELS.tags,
    longest: int = 64,
    **options: Any,
) -> Path:
    """A classifier without layers whose logits are `table_of` and whose states (T, V) are greatest at the piece's id.

    :param labels: names of the columns of the table.
    :param options: for `save_pretrained`.
    """
    size = tokenizer.get_vocab_size()
    shape: dict[str, Any] = {
        "vocab_size": size,
        "hidden_size": size,
        "num_hidden_layers": 0,
        "num_attention_heads": 1,
        "intermediate_size": 1,
        "pad_token_id": tokenizer.token_to_id(_PADS[kind]),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: column for column, label in enumerate(labels)},
    }
    model: Any
    if kind == "bert":
        model = BertForTokenClassification(BertConfig(**shape, max_position_embeddings=longest))
    else:  # RoBERTa leaves the positions up to the padding's id unused
        positions = longest + shape["pad_token_id"] + 1
        model = RobertaForTokenClassification(RobertaConfig(**shape, max_position_embeddings=positions))
    embeddings = model.base_model.embeddings
    embeddings.word_embeddings.weight.copy_(torch.eye(size))
    embeddings.position_embeddings.weight.zero_()
    embeddings.token_type_embeddings.weight.zero_()
    low, high = embeddings.LayerNorm(torch.eye(size)[0]).sort().values[[0, -1]]
    model.classifier.weight.copy_(table_of(tokenizer, len(labels)).T / (high - low))
    model.classifier.bias.copy_(-low * model.classifier.weight.sum(dim=1))
    model.save_pretrained(folder, **options)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=_PADS[kind]).save_pretrained(folder)
    return folder
