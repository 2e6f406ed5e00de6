from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from export.errors import ExportError
from export.teacher import read_teacher
from tests.export.conftest import Checkpoint


def test_labels_that_fit_no_scheme_are_named(checkpoint: Checkpoint) -> None:
    folder = checkpoint("bert", id2label={0: "O", 1: "B-PER"}, label2id={"O": 0, "B-PER": 1})
    with pytest.raises(ExportError, match="tag 'B-PER' is not of scheme io: expected O, I-TYPE; name the columns"):
        read_teacher(folder, scheme="io")


def test_a_body_without_a_head_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    source = checkpoint("bert")
    AutoModel.from_pretrained(source).save_pretrained(tmp_path)
    PreTrainedTokenizerFast.from_pretrained(source).save_pretrained(tmp_path)
    AutoConfig.from_pretrained(source).save_pretrained(tmp_path)
    with pytest.raises(ExportError, match=r"lacks .*classifier"):
        read_teacher(tmp_path)


def test_a_tokenizer_larger_than_the_model(checkpoint: Checkpoint) -> None:
    with pytest.raises(ExportError, match="only 100 embeddings"):
        read_teacher(checkpoint("bert", vocab_size=100))


def test_a_slow_tokenizer_is_refused(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PreTrainedTokenizerFast, "is_fast", False)
    with pytest.raises(ExportError, match="slow tokenizer"):
        read_teacher(checkpoint("bert"))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="does not load"):
        read_teacher(tmp_path / "nowhere")


def test_facts(checkpoint: Checkpoint) -> None:
    source = read_teacher(checkpoint("electra"))
    assert source.longest == 128
    assert source.facts.prefix_ids == (2,) and source.facts.suffix_ids == (3,)
    assert source.architecture.startswith("electra V=")
    assert source.origin["checkpoint"]
