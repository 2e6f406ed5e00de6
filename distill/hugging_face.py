"""Any Hugging Face token classifier as a teacher: what it expects around a text, how long, and which labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from distill.alignment import Answers, OtherPieces, SharedPieces, shared_ids
from distill.dataset import training_encoder
from onoma.bundle import TokenizerFacts, sha256
from onoma.errors import LabelError
from onoma.labels import LabelSet, Scheme
from onoma.schemes import Reading, read_names

UNLIMITED_LENGTH = 512  # where neither model nor tokenizer knows a limit: what most of them were trained with
_UNLIMITED = 1_000_000  # transformers writes a number near 1e30 where a tokenizer knows no limit
_WEIGHTS = (  # in the order in which transformers looks for them
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFaceTeacher:
    """A token classifier, ready to be asked.

    :param model: in eval mode, fp32, on the CPU.
    :param facts: the pieces that its tokenizer puts around a text.
    :param longest: most pieces that it takes, those around the text included.
    :param labels: tags of its columns; empty for one that says nothing of a word, such as `[CLS]`.
    :param fingerprint: SHA-256 over all that its answers depend on: see `_fingerprint`.
    """

    model: nn.Module
    tokenizer: Tokenizer
    facts: TokenizerFacts
    longest: int
    labels: tuple[str, ...]
    fingerprint: str


def load_teacher(path_or_name: str | Path) -> HuggingFaceTeacher:
    """Load a token classifier with a fast tokenizer: a folder, or a name on the Hugging Face hub.

    :raises ValueError: if it does not load, has no trained head, a slow tokenizer, or labels that say nothing.
    """
    where = str(path_or_name)
    model, loaded = load_checkpoint(where)
    reading = read_labels(model.config, where)
    tags = dict(zip(reading.columns, reading.labels.tags, strict=True))
    tokenizer: Tokenizer = loaded.backend_tokenizer
    facts = probe_facts(loaded, model.config, where)
    longest = longest_input(model, loaded) or UNLIMITED_LENGTH
    return HuggingFaceTeacher(
        model=model,
        tokenizer=tokenizer,
        facts=facts,
        longest=longest,
        labels=tuple(tags.get(column, "") for column in range(model.config.num_labels)),
        fingerprint=_fingerprint(where, tokenizer, facts, longest),
    )


def load_checkpoint(where: str, **options: Any) -> tuple[Any, Any]:
    """Model (eval, fp32) and fast tokenizer as transformers loads them; `options` are for the model.

    Where there is no tokenizer.json, transformers makes a fast tokenizer of vocab.txt, of vocab.json and merges.txt, or
    of a SentencePiece model, if it knows how to for the tokenizer's class.

    :raises ValueError: if they do not load, the head is not trained, or the tokenizer is a slow one.
    """
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(where, use_fast=True)
    except Exception as error:  # of every kind: what a class of tokenizers needs fails where it is first used
        kind = type(error).__name__
        raise ValueError(f"{where} does not load as a token classifier: its tokenizer: {kind}: {error}") from error
    try:
        model, info = AutoModelForTokenClassification.from_pretrained(
            where, dtype=torch.float32, output_loading_info=True, **options
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"{where} does not load as a token classifier: {error}") from error
    if info["missing_keys"]:
        raise ValueError(f"{where} is not a trained token classifier; it lacks {sorted(info['missing_keys'])[:4]}")
    if not loaded.is_fast:
        name = type(loaded).__name__
        raise ValueError(
            f"{where}: {name} is a slow tokenizer, of which transformers makes no fast one; onoma needs tokenizer.json"
        )
    return model.eval(), loaded


def read_labels(
    config: Any, where: str, *, given: Sequence[str] | None = None, scheme: Scheme | None = None
) -> Reading:
    """What the labels of a model's columns mean.

    :param given: their names in column order; None for those in the model's config.
    :param scheme: what they are; None to tell from the names.
    :raises ValueError: if the columns are not numbered 0, 1, 2, ..., are not as many as `given`, or their names say
        nothing or do not fit the scheme.
    """
    if given is not None and len(given) != config.num_labels:
        raise ValueError(f"{where}: {len(given)} labels are given, the model has {config.num_labels}")
    try:
        return read_names(_names(config, where) if given is None else given, scheme=scheme)
    except LabelError as error:
        raise ValueError(f"{where}: {error}") from error


def _names(config: Any, where: str) -> tuple[str, ...]:
    table = {int(column): str(label) for column, label in config.id2label.items()}
    if sorted(table) != list(range(len(table))):
        raise ValueError(f"{where}: id2label must number the labels 0, 1, 2, ..., has {sorted(table)}")
    return tuple(table[column] for column in range(len(table)))


def probe_facts(loaded: Any, config: Any, where: str) -> TokenizerFacts:
    """The ids that the tokenizer puts around one sentence, found by comparing with and without.

    :raises ValueError: if it does anything else to a lone sentence.
    """
    tokenizer: Tokenizer = loaded.backend_tokenizer
    tokenizer.no_truncation()
    tokenizer.no_padding()
    probe = "Angela Merkel"
    bare, full = tokenizer.encode(probe, add_special_tokens=False).ids, tokenizer.encode(probe)
    before = next((at for at, special in enumerate(full.special_tokens_mask) if not special), len(full.ids))
    prefix, suffix = full.ids[:before], full.ids[before + len(bare) :]
    if full.ids != [*prefix, *bare, *suffix]:
        raise ValueError(f"{where}: the tokenizer does more than put special pieces around a sentence")
    if any(full.type_ids):
        raise ValueError(f"{where}: the tokenizer gives a lone sentence token types other than 0")
    pad = loaded.pad_token_id if loaded.pad_token_id is not None else config.pad_token_id
    return TokenizerFacts(pad_id=pad or 0, prefix_ids=tuple(prefix), suffix_ids=tuple(suffix))


def longest_input(model: Any, loaded: Any) -> int | None:
    """Most pieces the model takes: its positions, less those that RoBERTa's kin leave unused, or the tokenizer's."""
    limits = [loaded.model_max_length] if loaded.model_max_length < _UNLIMITED else []
    positions = getattr(model.config, "max_position_embeddings", -1)
    if positions is not None and positions > 0:
        unused = [
            module.padding_idx + 1
            for name, module in model.named_modules()
            if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None
        ]
        limits.append(positions - max(unused, default=0))
    return min(limits, default=None)


def check_same_labels(teacher: tuple[str, ...], student: tuple[str, ...]) -> Tensor | None:
    """(C,) the teacher's column of each of the student's labels; None where they stand in the same order.

    :raises ValueError: if either has a label that the other lacks; the message has both lists.
    """
    if teacher == student:
        return None
    if sorted(filter(None, teacher)) != sorted(student):
        own = list(filter(None, teacher))
        raise ValueError(f"labels differ: the teacher has {own}, the student {list(student)}")
    return torch.tensor([teacher.index(label) for label in student])


def check_layer(teacher: HuggingFaceTeacher, layer: int) -> None:
    """The layer must be one whose states the teacher has: 0 for the embeddings, then one for each hidden layer.

    :raises ValueError: naming the recipe's key, the range, and the layer.
    """
    config: Any = teacher.model.config
    count = int(config.num_hidden_layers)
    if not -count - 1 <= layer <= count:
        limits = f"{-count - 1}..{count} (the teacher has {count} hidden layers)"
        raise ValueError(f"teacher.layer must be in {limits}, got {layer}")


def direct_ids(teacher: HuggingFaceTeacher, student: Tokenizer) -> Tensor | None:
    """(V,) the teacher's id of each of the student's pieces, if it can be asked about examples of these.

    None if it must see the text: because it cuts text otherwise, or because it takes fewer pieces than the longest
    example has, with those around them; only text can be cut to fit.
    """
    around = len(teacher.facts.prefix_ids) + len(teacher.facts.suffix_ids)
    if training_encoder(student).limit + around > teacher.longest:
        return None
    return shared_ids(student, teacher.tokenizer)


def answers_of(
    teacher: HuggingFaceTeacher,
    *,
    student_tokenizer: Tokenizer,
    student_labels: LabelSet,
    device: torch.device,
    layers: tuple[int, ...] = (),
) -> Answers:
    """The teacher's answers on the student's pieces, in the order of the student's labels.

    :param layers: whose hidden states to give; see distill.alignment.teacher_outputs.
    :raises ValueError: if teacher and student do not have the same labels.
    """
    columns = check_same_labels(teacher.labels, student_labels.tags)
    ids = direct_ids(teacher, student_tokenizer)
    if ids is not None:
        return SharedPieces(
            teacher.model, device=device, layers=layers, ids=ids, facts=teacher.facts, columns=columns
        )
    return OtherPieces(
        teacher.model,
        tokenizer=teacher.tokenizer,
        facts=teacher.facts,
        longest=teacher.longest,
        student=student_tokenizer,
        labels=student_labels,
        device=device,
        layers=layers,
        columns=columns,
    )


def _fingerprint(where: str, tokenizer: Tokenizer, facts: TokenizerFacts, longest: int) -> str:
    """Of config.json (activations and the order of labels stand there), the weights, and the tokenizer as loaded.

    As loaded, because tokenizer_config.json and other files change what transformers makes of a tokenizer.json.
    """
    weights = next(path for name in _WEIGHTS if (path := _file(where, name)) is not None)
    names = ["config.json", weights.name]
    if weights.suffix == ".json":
        names += sorted(set(json.loads(weights.read_text(encoding="utf-8"))["weight_map"].values()))
    digest = hashlib.sha256(json.dumps([tokenizer.to_str(), facts.model_dump(), longest]).encode())
    for name in names:
        path = _file(where, name)
        assert path is not None, name  # it has just been loaded
        digest.update(sha256(path).encode())
    return digest.hexdigest()


def _file(where: str, name: str) -> Path | None:
    """A file of a folder, or of the hub's local copy of a name that was just loaded."""
    from transformers.utils import cached_file

    found = cached_file(where, name, _raise_exceptions_for_missing_entries=False)
    return None if found is None else Path(found)
