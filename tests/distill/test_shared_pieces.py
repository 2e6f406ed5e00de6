"""A teacher that knows the student's pieces hears them under its own ids, between its own specials."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from families import unigram
from tokenizers import Tokenizer, normalizers, processors
from torch import Tensor, nn
from toyteachers import FAMILIES

from distill.alignment import SharedPieces, shared_ids
from distill.dataset import pack
from distill.tokenizer import build_tokenizer
from onoma.bundle import TokenizerFacts

CPU = torch.device("cpu")
STUDENT = unigram()


class Recorder(nn.Module):
    """Keeps what it was asked; its logits and states are the ids themselves."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, output_hidden_states: bool) -> Any:
        self.asked, self.mask = input_ids, attention_mask
        rows = input_ids[..., None].float() + torch.arange(3) / 4
        return SimpleNamespace(logits=rows, hidden_states=(rows * 2,))


def trimmed() -> Tokenizer:
    """The student's tokenizer with two thirds of its pieces gone and the others in another order."""
    pieces = [(piece, score) for piece, score in json.loads(STUDENT.to_str())["model"]["vocab"]]
    return build_tokenizer([*pieces[:3], *sorted(pieces[3:], reverse=True)[::3]])


def changed(tokenizer: Tokenizer, **model: Any) -> Tokenizer:
    """The same tokenizer with other parameters of its model."""
    state = json.loads(tokenizer.to_str())
    state["model"] |= model
    return Tokenizer.from_str(json.dumps(state))


def test_shared_pieces_under_other_ids() -> None:
    small = trimmed()
    ids = shared_ids(small, STUDENT)
    assert ids is not None and len(ids) == small.get_vocab_size() < STUDENT.get_vocab_size()
    data = pack(iter([("Angela Merkel", None)]), tokenizer=small, language="en")
    teacher = Recorder()
    targets = SharedPieces(teacher, device=CPU, ids=ids, layers=(0,))(data, np.array([0]))
    names = [small.id_to_token(at) for at in data.ids.tolist()]
    assert [STUDENT.id_to_token(at) for at in teacher.asked[0].tolist()] == names
    assert not np.array_equal(teacher.asked[0].numpy(), data.ids)
    assert torch.equal(targets.logits[0, :, 0], ids[torch.from_numpy(data.ids.astype(np.int64))].float())
    assert torch.equal(targets.hidden[0], targets.logits * 2)


def test_shared_pieces_stand_between_the_teachers_specials() -> None:
    texts = (("Angela Merkel", None), ("Merkel Köln", None))
    data = pack(iter(texts), tokenizer=STUDENT, language="en")
    facts = TokenizerFacts(pad_id=0, prefix_ids=(8, 9), suffix_ids=(7,))
    teacher = Recorder()
    targets = SharedPieces(teacher, device=CPU, facts=facts, layers=(0,), columns=torch.tensor([2, 0]))(
        data, np.array([0, 1])
    )
    own = data.ids.astype(np.int64).reshape(2, 3)
    assert teacher.asked.tolist() == [[8, 9, *row, 7] for row in own.tolist()] and bool((teacher.mask == 1).all())
    assert torch.equal(targets.logits, torch.from_numpy(own)[..., None] + torch.tensor([0.5, 0.0]))
    assert targets.hidden[0].shape == (2, 3, 3)


def test_pieces_are_shared_only_if_text_is_split_alike() -> None:
    assert shared_ids(STUDENT, unigram()) is not None
    assert shared_ids(STUDENT, trimmed()) is None, "it lacks pieces"
    assert shared_ids(STUDENT, FAMILIES["bert"]()) is None
    other = unigram()
    other.normalizer = normalizers.NFKC()
    assert shared_ids(STUDENT, other) is None
    around = unigram()
    around.add_special_tokens(["<s>", "</s>"])
    around.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", special_tokens=[(name, around.token_to_id(name)) for name in ("<s>", "</s>")]
    )
    assert shared_ids(STUDENT, around) is not None


def test_pieces_are_shared_only_if_words_are_cut_alike() -> None:
    small = trimmed()
    vocabulary = json.loads(STUDENT.to_str())["model"]["vocab"]
    for among in (True, False):  # a score counts if the student has the piece
        own = next(piece for piece, _ in vocabulary[3:] if (piece in small.get_vocab()) == among)
        other = changed(STUDENT, vocab=[[piece, score - (piece == own)] for piece, score in vocabulary])
        assert (shared_ids(small, other) is None) == among
    assert shared_ids(STUDENT, changed(STUDENT, byte_fallback=True)) is None


def test_word_pieces_are_shared_only_if_marked_alike() -> None:
    bert = FAMILIES["bert"]()
    assert shared_ids(bert, FAMILIES["bert"]()) is not None
    assert shared_ids(bert, changed(bert, continuing_subword_prefix="@@")) is None
    assert shared_ids(bert, changed(bert, max_input_chars_per_word=5)) is None


def test_byte_pairs_are_shared_only_if_merged_alike() -> None:
    roberta = FAMILIES["roberta"]()
    model = json.loads(roberta.to_str())["model"]
    merges, vocabulary = model["merges"], model["vocab"]
    more = changed(roberta, merges=[["a", "b"], *merges], vocab=vocabulary | {"ab": len(vocabulary)})
    assert shared_ids(roberta, more) is not None, "the student does not have what the other merge makes"
    assert shared_ids(more, roberta) is None
    assert shared_ids(roberta, changed(roberta, merges=merges[::-1])) is None, "th e before t h"
    assert shared_ids(roberta, changed(roberta, merges=merges[1:])) is None
