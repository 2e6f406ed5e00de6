"""Teachers from disk: what they expect, which labels they have, what tells them apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from families import unigram
from tokenizers import Tokenizer
from toyteachers import FAMILIES, save_lookup, table_of
from transformers import AutoModel, PreTrainedTokenizerFast

from distill.alignment import OtherPieces, SharedPieces
from distill.dataset import LABELS, pack
from distill.hugging_face import (
    UNLIMITED_LENGTH,
    answers_of,
    check_layer,
    check_same_labels,
    direct_ids,
    load_teacher,
)
from distill.teachers import TeacherConfig, build_teacher, save_teacher
from onoma.bundle import TokenizerFacts

CPU = torch.device("cpu")
REVERSED = LABELS.tags[::-1]
SHAPE = TeacherConfig(layers=1, hidden=8, heads=2, intermediate=8)


def lookup(folder: Path, kind: str = "bert", **options: object) -> Path:
    return save_lookup(kind, FAMILIES[kind](), folder, **options)  # type: ignore[arg-type]


def change(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("bert", TokenizerFacts(pad_id=0, prefix_ids=(2,), suffix_ids=(3,))),
        ("roberta", TokenizerFacts(pad_id=0)),
        ("xlm-r", TokenizerFacts(pad_id=1, prefix_ids=(0,), suffix_ids=(2,))),
    ],
)
def test_loaded(kind: str, facts: TokenizerFacts, tmp_path: Path) -> None:
    teacher = load_teacher(lookup(tmp_path, kind, longest=40))
    assert teacher.facts == facts and teacher.longest == 40 and teacher.labels == LABELS.tags
    assert not teacher.model.training and {weight.dtype for weight in teacher.model.parameters()} == {torch.float32}
    assert isinstance(teacher.tokenizer, Tokenizer)
    assert teacher.tokenizer.get_vocab() == FAMILIES[kind]().get_vocab()


def test_half_precision_is_loaded_as_fp32(tmp_path: Path) -> None:
    folder = lookup(tmp_path)
    model = load_teacher(folder).model
    model.half().save_pretrained(folder)  # type: ignore[operator]
    assert next(load_teacher(folder).model.parameters()).dtype == torch.float32


def test_no_known_limit(tmp_path: Path) -> None:
    tokenizer = unigram()
    save_teacher(build_teacher(SHAPE, vocabulary=tokenizer.get_vocab_size()), tokenizer, tmp_path)
    change(tmp_path, max_position_embeddings=-1)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": 10**30}))
    assert load_teacher(tmp_path).longest == UNLIMITED_LENGTH


def test_the_fingerprint_tells_weights_labels_and_tokenizers_apart(tmp_path: Path) -> None:
    folder = lookup(tmp_path / "a")
    first = load_teacher(folder)
    assert len(first.fingerprint) == 64 and load_teacher(lookup(tmp_path / "b")).fingerprint == first.fingerprint
    seen = {first.fingerprint}
    torch.nn.init.ones_(first.model.classifier.bias)  # type: ignore[union-attr, arg-type]
    first.model.save_pretrained(folder)  # type: ignore[operator]
    seen.add(load_teacher(folder).fingerprint)
    change(folder, id2label=dict(enumerate(REVERSED)))
    seen.add(load_teacher(folder).fingerprint)
    other = FAMILIES["bert"]()
    other.add_tokens(["Merkel"])
    PreTrainedTokenizerFast(tokenizer_object=other, pad_token="[PAD]").save_pretrained(folder)
    seen.add(load_teacher(folder).fingerprint)
    assert len(seen) == 4


def test_the_fingerprint_knows_the_tokenizer_as_it_is_loaded(tmp_path: Path) -> None:
    """tokenizer_config.json changes it, while tokenizer.json stays."""
    folder = lookup(tmp_path, longest=60)
    path, tokenizer = folder / "tokenizer_config.json", (folder / "tokenizer.json").read_bytes()
    before = load_teacher(folder)
    own = json.loads(path.read_text())
    path.write_text(json.dumps(own | {"model_max_length": 50}))
    shorter = load_teacher(folder)
    path.write_text(json.dumps(own | {"tokenizer_class": "BertTokenizerFast", "do_lower_case": False}))
    cased = load_teacher(folder)
    path.write_text(json.dumps(own | {"pad_token": "[UNK]"}))
    padded = load_teacher(folder)
    assert (before.longest, shorter.longest, cased.longest) == (60, 50, 60)
    assert cased.tokenizer.to_str() != before.tokenizer.to_str() and padded.facts != before.facts
    assert (folder / "tokenizer.json").read_bytes() == tokenizer
    assert len({one.fingerprint for one in (before, shorter, cased, padded)}) == 4


def test_weights_in_several_files(tmp_path: Path) -> None:
    folder = lookup(tmp_path, max_shard_size="40KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1 and not (folder / "model.safetensors").exists()
    before = load_teacher(folder).fingerprint
    content = bytearray(shards[-1].read_bytes())
    content[-1] ^= 1
    shards[-1].write_bytes(content)
    assert load_teacher(folder).fingerprint != before


def test_what_is_no_teacher_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="nowhere does not load as a token classifier"):
        load_teacher(tmp_path / "nowhere")
    folder = lookup(tmp_path / "a")
    change(folder, id2label=dict(enumerate(LABELS.tags, start=1)))
    with pytest.raises(ValueError, match=r"id2label must number .* has \[1, 2, 3, 4, 5, 6, 7\]"):
        load_teacher(folder)
    change(folder, id2label={0: "O", 1: "B-PER"})
    with pytest.raises(ValueError, match="does not load as a token classifier: (?s:.)*size mismatch"):
        load_teacher(folder)
    lookup(folder)
    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedTokenizerFast, "is_fast", False)
        with pytest.raises(ValueError, match="slow tokenizer, of which transformers makes no fast one"):
            load_teacher(folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="does not load as a token classifier: its tokenizer: "):
        load_teacher(folder)
    lookup(folder)
    AutoModel.from_pretrained(folder).save_pretrained(folder)
    with pytest.raises(ValueError, match=r"not a trained token classifier; it lacks \['classifier"):
        load_teacher(folder)


def test_labels_in_another_order() -> None:
    assert check_same_labels(LABELS.tags, LABELS.tags) is None
    columns = check_same_labels(("I-PER", "O", "B-PER"), ("O", "B-PER", "I-PER"))
    assert columns is not None and columns.tolist() == [1, 2, 0]


@pytest.mark.parametrize("teacher", [("O", "B-PER", "I-PER"), (*LABELS.tags, "B-MISC", "I-MISC"), ("O", *LABELS.tags)])
def test_other_labels_are_refused_and_both_lists_named(teacher: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="labels differ") as error:
        check_same_labels(teacher, LABELS.tags)
    assert str(list(teacher)) in str(error.value) and str(list(LABELS.tags)) in str(error.value)


def test_a_teacher_of_another_vocabulary_answers_in_the_students_labels(tmp_path: Path) -> None:
    student = unigram()
    data = pack(iter([("Angela", None)]), tokenizer=student, language="en", keep_texts=True)
    teacher = load_teacher(lookup(tmp_path, labels=REVERSED))
    answers = answers_of(teacher, student_tokenizer=student, student_labels=LABELS, device=CPU, layers=(0,))
    assert isinstance(answers, OtherPieces)
    tokenizer = FAMILIES["bert"]()
    row = table_of(tokenizer)[tokenizer.token_to_id("angela")]
    targets = answers(data, np.array([0]))
    torch.testing.assert_close(targets.logits[0, 0], row.flip(0), rtol=1e-4, atol=1e-4)
    assert targets.hidden[0].shape == (1, 1, tokenizer.get_vocab_size())


def test_a_teacher_that_spells_its_labels_otherwise(tmp_path: Path) -> None:
    """Columns that say nothing of a word are nobody's."""
    student = unigram()
    data = pack(iter([("Angela", None)]), tokenizer=student, language="en", keep_texts=True)
    names = ["[PAD]", *(f"{tag[2:]}_{tag[0].lower()}" if tag != "O" else "outside" for tag in REVERSED), "X"]
    teacher = load_teacher(lookup(tmp_path, labels=names))
    assert teacher.labels == ("", *REVERSED, "")
    columns = check_same_labels(teacher.labels, LABELS.tags)
    assert columns is not None and [names[column] for column in columns.tolist()][:2] == ["outside", "PER_b"]
    answers = answers_of(teacher, student_tokenizer=student, student_labels=LABELS, device=CPU)
    tokenizer = FAMILIES["bert"]()
    row = table_of(tokenizer, len(names))[tokenizer.token_to_id("angela")]
    torch.testing.assert_close(answers(data, np.array([0])).logits[0, 0], row[columns], rtol=1e-4, atol=1e-4)


def test_labels_that_say_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"labels without a meaning: \['LABEL_0', 'LABEL_1'\]"):
        load_teacher(lookup(tmp_path, labels=("LABEL_0", "LABEL_1")))


def test_a_teacher_of_the_same_vocabulary_answers_directly(tmp_path: Path) -> None:
    tokenizer = unigram()
    data = pack(iter([("Angela Merkel", None)]), tokenizer=tokenizer, language="en")
    model = build_teacher(SHAPE, vocabulary=tokenizer.get_vocab_size()).eval()
    save_teacher(model, tokenizer, tmp_path)
    change(tmp_path, id2label=dict(enumerate(REVERSED)), label2id={tag: at for at, tag in enumerate(REVERSED)})
    answers = answers_of(load_teacher(tmp_path), student_tokenizer=unigram(), student_labels=LABELS, device=CPU)
    assert isinstance(answers, SharedPieces)
    with torch.no_grad():
        want = model(input_ids=torch.from_numpy(data.ids.astype(np.int64))[None]).logits.flip(-1)
    torch.testing.assert_close(answers(data, np.array([0])).logits, want, rtol=1e-4, atol=1e-5)


def test_a_teacher_of_the_same_vocabulary_that_takes_less_must_see_the_text(tmp_path: Path) -> None:
    """The longest example has 192 pieces; windows are cut for a teacher that takes fewer."""
    student = unigram()
    model = build_teacher(SHAPE, vocabulary=student.get_vocab_size()).eval()
    save_teacher(model, student, tmp_path)
    teacher = load_teacher(tmp_path)
    around = TokenizerFacts(pad_id=0, prefix_ids=(1,), suffix_ids=(1,))
    for facts, longest in ((teacher.facts, 192), (around, 194)):
        for given in (longest, longest - 1):
            own = replace(teacher, facts=facts, longest=given)
            answers = answers_of(own, student_tokenizer=student, student_labels=LABELS, device=CPU)
            assert isinstance(answers, SharedPieces if given == longest else OtherPieces)
            assert (direct_ids(own, student) is None) == (given < longest)


def test_long_examples_reach_a_teacher_that_takes_little(tmp_path: Path) -> None:
    student = unigram()
    shape = TeacherConfig(architecture="bert", layers=1, hidden=8, heads=2, intermediate=8, max_length=20)
    save_teacher(build_teacher(shape, vocabulary=student.get_vocab_size()), student, tmp_path)
    data = pack(iter([("Angela Merkel Köln " * 30, None)]), tokenizer=student, language="en", keep_texts=True)
    assert data.lengths.tolist() == [120]
    answers = answers_of(load_teacher(tmp_path), student_tokenizer=student, student_labels=LABELS, device=CPU)
    assert bool(answers(data, np.array([0])).known.all())


@pytest.mark.parametrize("layer", [-2, -1, 0, 1])
def test_layers_of_the_teacher(layer: int, tmp_path: Path) -> None:
    student = unigram()
    save_teacher(build_teacher(SHAPE, vocabulary=student.get_vocab_size()), student, tmp_path)
    teacher = load_teacher(tmp_path)
    check_layer(teacher, layer)
    data = pack(iter([("Angela", None)]), tokenizer=student, language="en")
    answers = answers_of(teacher, student_tokenizer=student, student_labels=LABELS, device=CPU, layers=(layer,))
    assert answers(data, np.array([0])).hidden[layer].shape == (1, 1, 8)
    for other in (-3, 2):
        with pytest.raises(ValueError, match=rf"teacher\.layer .* -2\.\.1 \(.* 1 hidden layers\), got {other}"):
            check_layer(teacher, other)


def test_labels_are_checked_before_anything_is_asked(tmp_path: Path) -> None:
    teacher = load_teacher(lookup(tmp_path, labels=("O", "B-PER", "I-PER")))
    with pytest.raises(ValueError, match=r"the teacher has \['O', 'B-PER', 'I-PER'\], the student \['O'"):
        answers_of(teacher, student_tokenizer=unigram(), student_labels=LABELS, device=CPU)
    other = load_teacher(lookup(tmp_path, labels=("O", "PER", "LOC")))
    with pytest.raises(ValueError, match=r"the teacher has \['O', 'I-PER', 'I-LOC'\], the student \['O'"):
        answers_of(other, student_tokenizer=unigram(), student_labels=LABELS, device=CPU)


def test_onomas_own_teachers_say_that_all_pieces_were_taught(tmp_path: Path) -> None:
    tokenizer = unigram()
    for architecture in ("roformer", "bert"):
        shape = TeacherConfig(architecture=architecture, layers=1, hidden=8, heads=2, intermediate=8)
        save_teacher(build_teacher(shape, vocabulary=tokenizer.get_vocab_size()), tokenizer, tmp_path / architecture)
        assert json.loads((tmp_path / architecture / "config.json").read_text())["label_all_tokens"] is True
