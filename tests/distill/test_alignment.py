"""What the teacher says of a text must reach the right pieces of the student, whatever cuts its tokenizer makes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from families import texts as hard_texts
from families import unigram
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from torch import Tensor, nn
from toyteachers import FAMILIES, save_lookup, table_of
from transformers import BertConfig, BertForTokenClassification

from distill.alignment import OtherPieces, Targets, teacher_outputs
from distill.batches import epoch_batches, gather
from distill.dataset import LABELS, Packed, concatenate, pack
from distill.hugging_face import load_teacher
from distill.joining import join_examples
from distill.teacher_cache import Mode, teacher_targets
from onoma.bundle import TokenizerFacts
from onoma.encoding import Encoder

CPU = torch.device("cpu")
STUDENT = unigram()
Spoken = tuple[str | None, bool]  # the teacher's piece that speaks, and whether it has begun before


def packed(*texts: str, keep_texts: bool = True) -> Packed:
    return pack(((text, None) for text in texts), tokenizer=STUDENT, language="en", keep_texts=keep_texts)


def other_pieces(
    kind: str, folder: Path, *, longest: int = 64, layers: tuple[int, ...] = (), **more: Any
) -> OtherPieces:
    """The lookup teacher of a kind, read from disk."""
    teacher = load_teacher(save_lookup(kind, FAMILIES[kind](), folder, longest=longest))
    assert teacher.longest == longest
    return OtherPieces(
        teacher.model,
        tokenizer=teacher.tokenizer,
        facts=teacher.facts,
        longest=teacher.longest,
        student=STUDENT,
        labels=LABELS,
        device=CPU,
        layers=layers,
        **more,
    )


def want(kind: str, spoken: list[Spoken]) -> Tensor:
    """(T, C) the logits when these pieces of the teacher speak."""
    tokenizer = FAMILIES[kind]()
    table, rows = table_of(tokenizer), []
    nothing = torch.full((len(LABELS.tags),), torch.nan)
    for piece, goes_on in spoken:
        row = (nothing if piece is None else table[tokenizer.token_to_id(piece)]).clone()
        if goes_on:
            least = row.min().item()
            for name in LABELS.types:
                begin, inside = LABELS.index["B-" + name], LABELS.index["I-" + name]
                row[inside] = max(row[begin].item(), row[inside].item())
                row[begin] = least
        rows.append(row)
    return torch.stack(rows)


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4, equal_nan=True)


# Student: ▁Angela | ▁Mer kel | ▁Köln. A teacher's mark of a word, where it is a piece of its own, is the word's first.
SPACED = {
    "bert": [("angela", False), ("mer", False), ("mer", True), ("k", False)],
    "roberta": [("A", False), ("Ġ", False), ("Ġ", True), ("Ġ", False)],
    "xlm-r": [("▁Angela", False), ("▁Mer", False), ("▁Mer", True), ("▁", False)],
}
# Student: ▁東 | ▁京 | ▁都 | ▁ 大 | ▁ 阪 | ▁ の | ▁Angela. BERT knows no の and takes it and Angela for one word.
HAN = {
    "bert": [
        *(("東", False), ("京", False), ("都", False), ("[UNK]", False), ("[UNK]", True), ("[UNK]", False)),
        *(("[UNK]", True), ("[UNK]", False), ("[UNK]", True), ("[UNK]", True)),
    ],
    "roberta": [
        *(("æ", False), ("ä", False), ("é", False), ("å", False), ("å", True), ("é", False), ("é", True)),
        *(("ã", False), ("ã", True), ("A", False)),
    ],
    "xlm-r": [
        *(("▁東京都", False), ("▁東京都", True), ("▁東京都", True)),
        *(("大阪", False), ("大阪", True), ("大阪", True), ("大阪", True), ("の", False), ("の", True), ("A", False)),
    ],
}


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize(("text", "spoken"), [("Angela Merkel Köln", SPACED), ("東京都大阪のAngela", HAN)])
def test_every_piece_hears_the_first_piece_that_reaches_its_word(
    kind: str, text: str, spoken: dict[str, list[Spoken]], tmp_path: Path
) -> None:
    data = packed(text)
    targets = other_pieces(kind, tmp_path)(data, np.array([0]))
    assert targets.logits.shape == (1, data.pieces, len(LABELS.tags)) and not targets.hidden
    same(targets.logits[0], want(kind, spoken[kind]))


def test_continuing_pieces_are_inside(tmp_path: Path) -> None:
    """Whatever type the word's first piece begins, no later piece of the word begins one."""
    found = other_pieces("bert", tmp_path)(packed("Angela Merkel Köln"), np.array([0])).logits[0]
    first, second = found[1], found[2]
    for name in LABELS.types:
        begin, inside = LABELS.index["B-" + name], LABELS.index["I-" + name]
        assert second[inside] == max(first[begin], first[inside]) and second[begin] == first.min()
    assert second[LABELS.outside] == first[LABELS.outside]


@pytest.mark.parametrize("kind", FAMILIES)
def test_states_come_from_the_piece_that_speaks(kind: str, tmp_path: Path) -> None:
    tokenizer = FAMILIES[kind]()
    targets = other_pieces(kind, tmp_path, layers=(0, -1))(packed("Angela Merkel Köln"), np.array([0]))
    assert targets.hidden.keys() == {0, -1} and torch.equal(targets.hidden[0], targets.hidden[-1])
    assert targets.hidden[0].shape == (1, 4, tokenizer.get_vocab_size())
    spoken = [tokenizer.id_to_token(at) for at in targets.hidden[0][0].argmax(dim=-1).tolist()]
    assert spoken == [piece for piece, _ in SPACED[kind]]


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_text_longer_than_the_teachers_window(kind: str, tmp_path: Path) -> None:
    answers = other_pieces(kind, tmp_path, longest=9, layers=(0,))
    data = packed(" ".join(["Angela Merkel Köln"] * 12))
    assert len(data) == 1 and data.pieces == 48
    targets = answers(data, np.array([0]))
    again = [("Ġ", False), *SPACED[kind][1:]] if kind == "roberta" else SPACED[kind]
    same(targets.logits[0], want(kind, SPACED[kind] + again * 11))
    assert targets.hidden[0].shape[:2] == (1, 48)


def test_texts_of_unlike_length_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Equal for the student, but one of them is many pieces for the teacher: batches, padding and order must hold."""
    texts = ["Angela Merkel Köln", "xyzxyzxyz Mer Köln", "Merkel Angela Köln", "東京 Köln Köln"]
    data = packed(*texts)
    assert data.lengths.tolist() == [4, data.lengths[1], 4, 4]
    for tokens in (1, 30, 16_384):
        answers = other_pieces("roberta", tmp_path / str(tokens), batch_tokens=tokens)
        together = answers(data, np.array([3, 0, 2])).logits
        same(together, torch.cat([answers(data, np.array([at])).logits for at in (3, 0, 2)]))
        same(together[1], want("roberta", SPACED["roberta"]))


def test_nothing_that_the_teacher_keeps_is_no_opinion(tmp_path: Path) -> None:
    data = packed("\u0301", "\x01")  # a lone accent, a control character: BERT's normalizer drops both
    assert data.lengths.tolist() == [2, 2]
    targets = other_pieces("bert", tmp_path, layers=(0,))(data, np.array([0, 1]))
    assert bool(targets.logits.isnan().all()) and targets.logits.shape == (2, 2, len(LABELS.tags))
    assert bool(targets.hidden[0].isnan().all()) and targets.hidden[0].shape[:2] == (2, 2)
    assert targets.known.tolist() == [[False, False]] * 2


def test_a_word_that_the_teacher_drops_does_not_take_its_neighbours_label(tmp_path: Path) -> None:
    for number, text in enumerate(("Angela \u0301 Köln", "Angela\u200b Köln")):
        targets = other_pieces("bert", tmp_path / str(number), layers=(0,))(packed(text), np.array([0]))
        same(targets.logits[0], want("bert", [("angela", False), (None, False), (None, False), ("k", False)]))
        assert targets.known.tolist() == [[True, False, False, True]]
        assert torch.equal(targets.hidden[0].isnan().all(dim=-1), ~targets.known)
        assert torch.equal(targets.hidden[0].isnan().any(dim=-1), ~targets.known)


def test_the_last_word_dropped(tmp_path: Path) -> None:
    targets = other_pieces("bert", tmp_path)(packed("Angela \u0301"), np.array([0]))
    same(targets.logits[0], want("bert", [("angela", False), (None, False), (None, False)]))


def test_columns_in_the_students_order(tmp_path: Path) -> None:
    columns = torch.tensor([6, 5, 4, 3, 2, 1, 0])
    targets = other_pieces("bert", tmp_path, columns=columns)(packed("Angela Köln"), np.array([0]))
    same(targets.logits[0], want("bert", [("angela", False), ("k", False)])[:, columns])


def test_texts_are_needed_and_must_be_the_datas(tmp_path: Path) -> None:
    answers = other_pieces("bert", tmp_path)
    with pytest.raises(ValueError, match="needs the texts"):
        answers(packed("Angela", keep_texts=False), np.array([0]))
    one = packed("Angela Merkel")
    other = Packed(one.ids, one.tags, one.offsets, one.language, one.languages, ("Merkel Angela",))
    with pytest.raises(ValueError, match="'Merkel Angela' otherwise than the data was packed"):
        answers(other, np.array([0]))


def test_a_teacher_that_gives_nan_itself_is_refused(tmp_path: Path) -> None:
    teacher = load_teacher(save_lookup("bert", FAMILIES["bert"](), tmp_path))
    ids = torch.tensor([[2, 3, 0]])
    mask = torch.tensor([[1, 1, 0]])
    assert bool(teacher_outputs(teacher.model, ids, mask).known.all())
    torch.nn.init.constant_(teacher.model.classifier.bias, torch.nan)  # type: ignore[union-attr, arg-type]
    with pytest.raises(FloatingPointError, match=r"NaN .* batch of \(1, 3\) pieces"):
        teacher_outputs(teacher.model, ids, mask)


class Lookup(nn.Module):
    """The lookup teacher in memory, for examples by the hundred."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.table, self.config = table_of(tokenizer), SimpleNamespace(hidden_size=1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, output_hidden_states: bool) -> Any:
        return SimpleNamespace(logits=self.table[input_ids])


BARE = TokenizerFacts(pad_id=0)
HARD = {
    kind: OtherPieces(
        Lookup(made()), tokenizer=made(), facts=BARE, longest=9, student=STUDENT, labels=LABELS, device=CPU
    )
    for kind, made in FAMILIES.items()
}


def slowly(kind: str, text: str) -> list[Spoken]:
    """Who speaks for each of the student's pieces, found piece by piece."""
    tokenizer = FAMILIES[kind]()

    def pieces(own: Tokenizer) -> list[tuple[int, int, int, bool]]:
        (encoded,) = Encoder(own, facts=BARE, limit=999, overlap=0).encode([text])
        rows = ((cut.ids, cut.starts, cut.ends, cut.continues) for cut in encoded.segments)
        return [piece for row in rows for piece in zip(*(column.tolist() for column in row), strict=True)]

    ours, theirs = pieces(unigram()), pieces(tokenizer)
    spoken: list[Spoken] = []
    for at, (_, _, _, continues) in enumerate(ours):
        head, last = at, at
        while ours[head][3]:
            head -= 1
        while last + 1 < len(ours) and ours[last + 1][3]:
            last += 1
        low, high = ours[head][1], ours[last][2]
        speaker = next(((piece, start) for piece, start, end, _ in theirs if end > low and start < high), None)
        if speaker is None:
            spoken.append((None, False))
        else:
            spoken.append((tokenizer.id_to_token(speaker[0]), continues or speaker[1] < low))
    return spoken


@pytest.mark.parametrize("kind", FAMILIES)
@given(many=st.lists(hard_texts, min_size=1, max_size=4))
def test_any_text_alone_and_joined(kind: str, many: list[str]) -> None:
    alone = packed(*many)
    for data in (alone, join_examples(alone, share=1.0)):
        for at, text in enumerate(data.texts or ()):
            same(HARD[kind](data, np.array([at])).logits[0], want(kind, slowly(kind, text)))


@pytest.mark.parametrize("layers", [(), (0, -1)])
def test_every_cache_mode_gives_the_same(layers: tuple[int, ...], tmp_path: Path) -> None:
    """A teacher with layers of its own, whose answers depend on context and place."""
    torch.manual_seed(3)
    tokenizer = FAMILIES["bert"]()
    shape: dict[str, Any] = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "num_labels": 7}
    model = BertForTokenClassification(
        BertConfig(**shape, num_hidden_layers=2, vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=12)
    )
    answers = OtherPieces(
        model,
        tokenizer=tokenizer,
        facts=TokenizerFacts(pad_id=0, prefix_ids=(2,), suffix_ids=(3,)),
        longest=12,
        student=STUDENT,
        labels=LABELS,
        device=CPU,
        layers=layers,
    )
    data = concatenate([packed("Angela Merkel Köln", "東京都大阪", "\u0301 Köln", "Köln"), packed("Angela " * 40)])
    found: dict[Mode, list[Targets]] = {}
    modes: tuple[Mode, ...] = ("none", "memory", "disk")
    for mode in modes:
        source = teacher_targets(
            answers, data, mode=mode, cache=tmp_path, fingerprint="a", shard_pieces=9, batch_tokens=16
        )
        found[mode] = [source(gather(data, at)) for at in epoch_batches(data, batch_tokens=9, seed=1, epoch=0)]
    for live, memory, disk in zip(*(found[mode] for mode in modes), strict=True):
        for name in ("logits", *layers):
            one, two, three = (
                targets.logits if isinstance(name, str) else targets.hidden[name] for targets in (live, memory, disk)
            )
            torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-3, equal_nan=True)
            torch.testing.assert_close(two, three, rtol=0, atol=0, equal_nan=True)
    assert sum(int((~targets.known).sum()) for targets in found["disk"]) == 2, "fp16 holds the lone accent's NaN"


def test_other_texts_of_like_pieces_are_not_taken_from_the_cache(tmp_path: Path) -> None:
    """Both are `<unk>` to the student, but not to the teacher."""
    one, other = packed("Angela щ"), packed("Angela ქ")
    assert np.array_equal(one.ids, other.ids)
    answers = other_pieces("roberta", tmp_path / "teacher")
    for data in (one, other):
        source = teacher_targets(answers, data, mode="disk", cache=tmp_path / "cache", fingerprint="a")
        batch = gather(data, np.array([0]))
        torch.testing.assert_close(source(batch).logits, answers(data, batch.index).logits, rtol=1e-3, atol=1e-3)
    assert len(list((tmp_path / "cache").iterdir())) == 2
