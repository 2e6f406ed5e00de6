"""Tiny random checkpoints of every family of tokenizers: a model, and a vocabulary as the family's class writes it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

IOB2 = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
# Each text with its words: entities can begin and end only at their edges.
TEXTS: dict[str, tuple[str, ...]] = {
    "Angela Merkel in Köln": ("Angela", "Merkel", "in", "Köln"),
    "(München)": ("(", "München", ")"),
    "  В Москве \n": ("В", "Москве"),
    "東京 大阪": ("東", "京", "大", "阪"),
    "한국 서울": ("한국", "서울"),
    "القاهرة في مصر": ("القاهرة", "في", "مصر"),
    "नई दिल्ली": ("नई", "दिल्ली"),
    "Zoe\u0301 ❤\ufe0f 👨\u200d👩\u200d👧": ("Zoe\u0301", "❤\ufe0f", "👨\u200d👩\u200d👧"),
}
_CORPUS = ["Angela Merkel in Köln the and", "(München) в Москве", "한국 서울", "القاهرة في مصر", "नई दिल्ली Zoe\u0301 é"]
# Characters of scripts without spaces stand alone, so that no piece holds two.
_LINES = [*_CORPUS, *"東京大阪❤👨👩👧", "the Angela in"] * 3


def sentence_pieces(kind: str, lines: Sequence[str] = _LINES, **options: Any) -> bytes:
    """A SentencePiece model, "unigram" or "bpe"."""
    made = io.BytesIO()
    all_: dict[str, Any] = {"vocab_size": 150, "character_coverage": 1.0, "hard_vocab_limit": False, "num_threads": 1}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=made, model_type=kind, minloglevel=2, **(all_ | options)
    )
    return made.getvalue()


def word_pieces() -> str:
    """vocab.txt of BERT."""
    letters = sorted(set("".join(_LINES)) - {" "})
    words = ["Angela", "angela", "Mer", "mer", "##kel", "in", "the", "K", "##öln"]
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return "\n".join(dict.fromkeys([*specials, *words, *letters, *map("##".__add__, letters)]))


def byte_pieces(specials: Sequence[str]) -> dict[str, str]:
    """vocab.json and merges.txt of byte-level BPE."""
    from tokenizers.pre_tokenizers import ByteLevel

    merges = [("e", "l"), ("Ġ", "M"), ("e", "r"), ("ĠM", "er"), ("Ã", "¶"), ("Ð", "¾"), ("i", "n"), ("Ġ", "in")]
    pieces = [*specials, *sorted(ByteLevel.alphabet()), *map("".join, merges)]
    text = "\n".join(["#version: 0.2", *map(" ".join, merges)])
    return {"vocab.json": json.dumps({piece: at for at, piece in enumerate(pieces)}), "merges.txt": text}


_ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_BERT = ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]")
_T5 = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
_SMALL: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
_DISTIL: dict[str, Any] = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
_DEBERTA: dict[str, Any] = {
    **_SMALL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0,
    "max_relative_positions": -1, "position_biased_input": False,
}  # fmt: skip
_T5_SHAPE: dict[str, Any] = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}

# Name: the type of the model, its shape, the tokenizer's class and options, and the files of its vocabulary.
Files = Callable[[], dict[str, str | bytes]]
KINDS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any], Files]] = {
    "mbert": ("bert", _SMALL, "BertTokenizer", {"do_lower_case": False}, lambda: {"vocab.txt": word_pieces()}),
    "distilbert": ("distilbert", _DISTIL, "DistilBertTokenizer", {}, lambda: {"vocab.txt": word_pieces()}),
    "roberta": ("roberta", _SMALL, "RobertaTokenizer", {}, lambda: {**byte_pieces(_ROBERTA)}),
    "roberta of words": ("roberta", _SMALL, "RobertaTokenizer", {"add_prefix_space": True},
                         lambda: {**byte_pieces(_ROBERTA)}),
    "deberta": ("deberta", _DEBERTA, "DebertaTokenizer", {}, lambda: {**byte_pieces(_BERT)}),
    "deberta-v3": ("deberta-v2", {**_DEBERTA, "position_buckets": 16, "norm_rel_ebd": "layer_norm"},
                   "DebertaV2Tokenizer", {}, lambda: {"spm.model": sentence_pieces("unigram")}),
    "xlm-roberta": ("xlm-roberta", _SMALL, "XLMRobertaTokenizer", {},
                    lambda: {"sentencepiece.bpe.model": sentence_pieces("unigram")}),
    "camembert": ("camembert", _SMALL, "CamembertTokenizer", {},
                  lambda: {"sentencepiece.bpe.model": sentence_pieces("unigram")}),
    "albert": ("albert", {**_SMALL, "embedding_size": 16}, "AlbertTokenizer", {},
               lambda: {"spiece.model": sentence_pieces("unigram")}),
    "t5": ("t5", _T5_SHAPE, "T5Tokenizer", {"extra_ids": 0, "legacy": False},
           lambda: {"spiece.model": sentence_pieces("unigram", **_T5)}),
    "llama": ("llama", _SMALL, "LlamaTokenizer", {"legacy": False, "pad_token": "<unk>"},
              lambda: {"tokenizer.model": sentence_pieces("bpe", _LINES[:1] * 3, byte_fallback=True, vocab_size=290)}),
    "ernie": ("ernie", _SMALL, "BertTokenizer", {}, lambda: {"vocab.txt": word_pieces()}),
}  # fmt: skip


def _write_vocabulary(kind: str, folder: Path) -> None:
    """The files that a slow tokenizer leaves, and no tokenizer.json."""
    _, _, name, options, files = KINDS[kind]
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files().items():
        (folder / file).write_bytes(content.encode() if isinstance(content, str) else content)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name, **options}))


@torch.no_grad()
def write_checkpoint(
    kind: str, folder: Path, *, labels: Sequence[str] = IOB2, fast: bool = True, **changes: Any
) -> Path:
    """A random model whose tags differ, and its tokenizer, as a tokenizer.json if `fast`."""
    torch.manual_seed(4)
    model_type, shape, *_ = KINDS[kind]
    _write_vocabulary(kind, folder)
    config: dict[str, Any] = {
        "max_position_embeddings": 100,
        "id2label": dict(enumerate(labels)),
        "label2id": {label: column for column, label in enumerate(labels)},
        **shape,
    }
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config |= {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, **changes}
    model = AutoModelForTokenClassification.from_config(AutoConfig.for_model(model_type, **config))
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2 and any(part in name for part in ("classifier", "score")):
            parameter.mul_(8 if kind == "t5" else 40)  # which starts with larger ones
        elif parameter.dim() == 2 and kind != "t5":
            parameter.mul_(4)
    model.save_pretrained(folder)
    if fast:
        tokenizer.save_pretrained(folder)
    return folder
