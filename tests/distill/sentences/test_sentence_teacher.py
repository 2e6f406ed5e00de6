from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from distill.sentences import teacher as module
from distill.sentences.teacher import SentenceTeacher, checkpoint_folder, load_teacher, teacher_vectors, word_pieces
from tests.encoders import TEXTS, save_sentence_transformer, unigram

CPU = torch.device("cpu")


def mean_of(folder: Path, text: str) -> NDArray[np.float32]:
    batch = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", truncation=True, max_length=24)
    with torch.inference_mode():
        states = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()(**batch).last_hidden_state
    return np.asarray(states[0].mean(dim=0))


@pytest.mark.parametrize("normalise", [False, True])
def test_vectors_are_the_mean_over_all_pieces(tmp_path: Path, normalise: bool) -> None:
    save_sentence_transformer(tmp_path, modules=("Normalize",))
    own = load_teacher(str(tmp_path), normalise=normalise, device=CPU)
    found = own.embed(TEXTS, batch_pieces=30)
    for vector, text in zip(found, TEXTS, strict=True):
        expected = mean_of(tmp_path, text)
        expected = expected / np.linalg.norm(expected) if normalise else expected
        np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_a_checkpoint_without_normalisation_is_not_normalised(tmp_path: Path) -> None:
    save_sentence_transformer(tmp_path)
    assert not load_teacher(str(tmp_path), normalise=True, device=CPU).normalised


class Counting:
    """Counts what the teacher is asked, and breaks off when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.most = 10**9
        embed = SentenceTeacher.embed

        def counted(own: SentenceTeacher, sentences: Sequence[str], **options: int) -> NDArray[np.float32]:
            if len(self.asked) >= self.most:
                raise KeyboardInterrupt
            self.asked += sentences
            return embed(own, sentences, **options)

        monkeypatch.setattr(SentenceTeacher, "embed", counted)


def test_each_sentence_is_embedded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = load_teacher(str(save_sentence_transformer(tmp_path / "teacher")), normalise=False, device=CPU)
    counting = Counting(monkeypatch)
    first = teacher_vectors(own, TEXTS[:3], cache=tmp_path / "cache")
    assert first.dtype == np.float16 and counting.asked == list(TEXTS[:3])
    np.testing.assert_allclose(first[1], mean_of(tmp_path / "teacher", TEXTS[1]), atol=2e-3)
    other = teacher_vectors(own, [TEXTS[3], TEXTS[1]], cache=tmp_path / "cache")
    assert counting.asked == list(TEXTS) and np.array_equal(other[1], first[1])
    save_sentence_transformer(tmp_path / "unit", modules=("Normalize",))
    unit = load_teacher(str(tmp_path / "unit"), normalise=True, device=CPU)
    teacher_vectors(unit, TEXTS[:1], cache=tmp_path / "cache")
    assert len(counting.asked) == 5  # another teacher knows nothing of it


def test_an_interrupted_call_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 2)
    own = load_teacher(str(save_sentence_transformer(tmp_path / "teacher")), normalise=False, device=CPU)
    counting = Counting(monkeypatch)
    counting.most = 2
    with pytest.raises(KeyboardInterrupt):
        teacher_vectors(own, TEXTS, cache=tmp_path / "cache")
    folder = next((tmp_path / "cache").glob("sentence-vectors-*"))
    with (folder / "vectors.bin").open("ab") as file:
        file.write(b"half a row")  # as if it had been killed while writing
    counting.most = 10**9
    found = teacher_vectors(own, TEXTS, cache=tmp_path / "cache")
    assert counting.asked == list(TEXTS)
    for vector, text in zip(found, TEXTS, strict=True):
        np.testing.assert_allclose(vector, mean_of(tmp_path / "teacher", text), atol=2e-3)


def test_what_is_no_teacher_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="teacher.path .*nowhere: .* has no config.json"):
        checkpoint_folder(str(tmp_path / "nowhere"))
    with pytest.raises(ModuleNotFoundError, match="pip install --no-deps no-such-package"):
        checkpoint_folder("package:no_such_package/model")
    save_sentence_transformer(tmp_path, pooling="cls_token")
    with pytest.raises(ValueError, match="only mean pooling is known, .* asks for pooling_mode_cls_token"):
        load_teacher(str(tmp_path), normalise=False, device=CPU)


def test_the_pieces_of_a_teacher(tmp_path: Path) -> None:
    pieces = word_pieces(str(save_sentence_transformer(tmp_path / "teacher")))
    assert pieces[:2] == ["[PAD]", "[UNK]"] and any(piece.startswith("##") for piece in pieces)
    other = save_sentence_transformer(tmp_path / "other")
    unigram().save(str(other / "tokenizer.json"))
    with pytest.raises(ValueError, match="only pieces of a WordPiece can be taken in, it has Unigram"):
        word_pieces(str(other))


def test_a_package_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_sentence_transformer(tmp_path / "some_teacher/model")
    (tmp_path / "some_teacher/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert checkpoint_folder("package:some_teacher/model") == tmp_path / "some_teacher/model"


def test_the_checkpoints_own_limit_is_kept(tmp_path: Path) -> None:
    save_sentence_transformer(tmp_path)
    limits = tmp_path / "sentence_bert_config.json"
    limits.write_text(json.dumps({"max_seq_length": 4}), encoding="utf-8")
    own = load_teacher(str(tmp_path), normalise=False, device=CPU)
    one, other = own.embed(["the cat sleeps", "the cat sleeps on the river"])
    np.testing.assert_allclose(one, other, atol=1e-6)
