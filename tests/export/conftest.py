"""Tiny random checkpoints, made in memory: a student and Hugging Face models of three kinds."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForTokenClassification,
    ElectraConfig,
    ElectraForTokenClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForTokenClassification,
)

from distill.students import Student, StudentConfig, save_student

LABELS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
TEXTS = (
    "Angela Merkel visited Siemens in München.",
    "Berlin",
    "阿里巴巴集团的总部设在杭州，创始人是马云。 В Москве состоялась встреча Сергея Лаврова с представителями ООН.",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z",
)
CORPUS = [*TEXTS, "the a visited in of and Merkel Angela Siemens", "0123456789 .,;:!?"]
BASE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "id2label": dict(enumerate(LABELS)),
    "label2id": {label: column for column, label in enumerate(LABELS)},
}


def word_pieces() -> Tokenizer:
    """A WordPiece tokenizer with [CLS] ... [SEP], as BERT and Electra have."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=specials))
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def byte_pieces() -> Tokenizer:
    """A byte-level BPE tokenizer with <s> ... </s>, as RoBERTa has."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=specials, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


def unigram_pieces() -> Tokenizer:
    """A Unigram tokenizer without special pieces around a sentence, as the student has."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=["<pad>", "<unk>"], unk_token="<unk>")
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


@torch.no_grad()
def sharpen(model: torch.nn.Module) -> None:
    """Make random weights large enough that tags differ and are not all near ties."""
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            parameter.mul_(30 if "classifier" in name or "head" in name else 3)


Checkpoint = Callable[..., Path]
Trained = Callable[[str], Path]
WIDE: dict[str, Any] = {"embedding": 32, "hidden": 32}  # every matrix has the 1024 elements that int8 begins at
STUDENTS: dict[str, dict[str, Any]] = {
    "bilstm": {"embedding": 16, "hidden": 24},
    "bilstm linear": {"embedding": 16, "hidden": 24, "projection": 20},
    "bilstm gelu": {"embedding": 16, "hidden": 24, "projection": 32, "activation": "gelu"},
    "bilstm crf": {"embedding": 16, "hidden": 24, "projection": 20, "decoder": "crf"},
    "conv": {"kind": "conv", "layers": 5, "kernel": 3, **WIDE},
    "conv gelu": {"kind": "conv", "layers": 1, "projection": 32, "activation": "gelu", **WIDE},
    "transformer": {"kind": "transformer", "layers": 2, **WIDE},
}


def random_student(kind: str, vocabulary: int = 200) -> Student:
    """An untrained student of one of the STUDENTS, in eval mode."""
    torch.manual_seed(1)
    model = Student(StudentConfig(vocabulary=vocabulary, labels=LABELS, **STUDENTS[kind]))
    sharpen(model)
    if model.crf is not None:
        for parameter in model.crf.parameters():
            torch.nn.init.normal_(parameter, std=2.0)
    return model.eval()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Makes the folder of a student as `distill` leaves it; each of the STUDENTS is made once."""
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind.replace(" ", "-"))
            tokenizer = unigram_pieces()
            save_student(random_student(kind, tokenizer.get_vocab_size()), made[kind])
            tokenizer.save(str(made[kind] / "tokenizer.json"))
        return made[kind]

    return make


@pytest.fixture(scope="session")
def student(trained: Trained) -> Path:
    """A BiLSTM's folder as `distill` leaves it."""
    return trained("bilstm")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Makes a Hugging Face checkpoint of a kind ("bert", "electra", "roberta"); each is made once."""
    made: dict[str, Path] = {}

    def make(kind: str, **changes: Any) -> Path:
        key = f"{kind} {changes}"
        if key in made:
            return made[key]
        torch.manual_seed(2)
        pieces = byte_pieces() if kind == "roberta" else word_pieces()
        base: dict[str, Any] = {**BASE, "vocab_size": pieces.get_vocab_size(), **changes}
        model: Any
        if kind == "roberta":
            model = RobertaForTokenClassification(RobertaConfig(**base, max_position_embeddings=66))
            fast = PreTrainedTokenizerFast(
                tokenizer_object=pieces, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
            )
        else:
            if kind == "bert":
                model = BertForTokenClassification(BertConfig(**base, max_position_embeddings=128))
            else:
                model = ElectraForTokenClassification(
                    ElectraConfig(**base, embedding_size=16, max_position_embeddings=128)
                )
            fast = PreTrainedTokenizerFast(
                tokenizer_object=pieces, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
            )
        sharpen(model)
        made[key] = tmp_path_factory.mktemp(kind)
        model.save_pretrained(made[key])
        fast.save_pretrained(made[key])
        return made[key]

    return make
