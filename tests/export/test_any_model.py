"""Any Hugging Face token classifier: every family of tokenizers, from checkpoint to entities."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForTokenClassification, AutoTokenizer

from distill.hugging_face import load_teacher
from export import onnx_files
from export.bundle import export_teacher
from export.errors import ExportError
from export.restore import restore
from export.teacher import read_teacher
from onoma import LabelSet, Tagger
from onoma.bundle import read_manifest
from onoma.model import OnnxModel
from onoma.schemes import read_names
from tests.export.checkpoints import IOB2, KINDS, TEXTS, write_checkpoint
from tests.onoma.readings import entities_of, every_sequence, names

LOOSE: dict[str, Any] = {
    "quantization": "fp32",
    "min_agreement": 0.5,
    "texts_for_parity": list(TEXTS),
    "overlap": 4,
    "max_length": 64,
}
Made = Callable[[str], tuple[Path, Path]]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A checkpoint of a kind and its fp32 bundle; each is made once."""
    found: dict[str, tuple[Path, Path]] = {}

    def make(kind: str) -> tuple[Path, Path]:
        if kind not in found:
            folder = tmp_path_factory.mktemp(kind.replace(" ", "-"))
            checkpoint, bundle = write_checkpoint(kind, folder / "checkpoint"), folder / "bundle"
            export_teacher(checkpoint, bundle, **LOOSE)
            found[kind] = checkpoint, bundle
        return found[kind]

    return make


def places(text: str, words: tuple[str, ...]) -> list[tuple[int, int]]:
    """Where the words stand in the text."""
    found, at = [], 0
    for word in words:
        at = text.index(word, at)
        found.append((at, at + len(word)))
        at += len(word)
    return found


def pieces_of(tokenizer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Ids and offsets of a text as transformers has them, special pieces and all."""
    encoded = tokenizer(text, return_offsets_mapping=True)
    return encoded["input_ids"], encoded["offset_mapping"]


@torch.no_grad()
def logits_of(model: Any, ids: list[int]) -> np.ndarray:
    return model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids))).logits[0].numpy()


def expected(model: Any, tokenizer: Any, text: str, words: tuple[str, ...], labels: LabelSet) -> list[tuple[str, str]]:
    """Type and text of the entities that the labels of the words' first pieces mean, by transformers and by hand."""
    text = text.strip()
    ids, offsets = pieces_of(tokenizer, text)
    spans = places(text, words)
    ends = [high for _, high in offsets]
    marks = [  # pieces of their own before a word
        name in "▁Ġ" and not text[low:high].strip()
        for name, (low, high) in zip(tokenizer.convert_ids_to_tokens(ids), offsets, strict=True)
    ]
    first = [
        next(at for at, end in enumerate(ends) if end > start or (end == start and marks[at])) for start, _ in spans
    ]
    rows = logits_of(model, ids)[first]
    options = [
        (rows[range(len(words)), list(tags)].sum(), found)
        for tags in every_sequence(len(words), labels)
        if (found := entities_of(names(tags, labels), labels)) is not None
    ]
    _, best = max(options)
    return [(kind, text[spans[start][0] : spans[end - 1][1]]) for start, end, kind in best]


@pytest.mark.parametrize("kind", KINDS)
def test_entities_are_those_of_transformers(kind: str, made: Made) -> None:
    checkpoint, bundle = made(kind)
    model = AutoModelForTokenClassification.from_pretrained(checkpoint).eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    tagger, labels, seen = Tagger.load(bundle, threads=1), LabelSet(IOB2), 0
    assert tagger.manifest is not None and tagger.manifest.pieces == "first"
    for text, words in TEXTS.items():
        found = tagger.tag(text).entities
        assert [(e.label, text[e.start : e.end]) for e in found] == expected(model, tokenizer, text, words, labels)
        edges = {edge for span in places(text, words) for edge in span}
        assert {edge for entity in found for edge in (entity.start, entity.end)} <= edges
        seen += len(found)
    assert seen > 2, "the random model says too little for this test"
    # Batches change nothing.
    together = tagger.tag_batch(list(TEXTS))
    for one, text in zip(together, TEXTS, strict=True):
        alone = tagger.tag(text).entities
        assert [(e.start, e.end, e.label) for e in one.entities] == [(e.start, e.end, e.label) for e in alone]


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_and_logits_are_those_of_transformers(kind: str, made: Made) -> None:
    checkpoint, bundle = made(kind)
    model = AutoModelForTokenClassification.from_pretrained(checkpoint).eval()
    tokenizer, tagger = AutoTokenizer.from_pretrained(checkpoint), Tagger.load(bundle, threads=1)
    facts = tagger.encoder.facts
    texts = [text for text in TEXTS if text.strip() == text]
    inputs = [encoded.inputs[0] for encoded in tagger.encode(texts)]
    for text, ids, rows in zip(texts, inputs, tagger.infer(inputs), strict=True):
        whole, _ = pieces_of(tokenizer, text)
        assert [*facts.prefix_ids, *ids, *facts.suffix_ids] == whole
        want = logits_of(model, whole)[len(facts.prefix_ids) : len(whole) - len(facts.suffix_ids)]
        np.testing.assert_allclose(rows, want, atol=1e-4 * max(1, np.abs(want).max()))
    assert facts.pad_id == tokenizer.pad_token_id


@pytest.mark.parametrize("kind", KINDS)
def test_what_spells_a_special_token_is_text(kind: str, made: Made) -> None:
    tagger = Tagger.load(made(kind)[1], threads=1)
    specials = AutoTokenizer.from_pretrained(made(kind)[0])
    spelled = {name: number for name, number in zip(specials.all_special_tokens, specials.all_special_ids, strict=True)}
    del spelled[specials.unk_token]
    for text in (" ".join(spelled), "".join(spelled), *("Köln" + name + "Köln" for name in spelled)):
        [encoded] = tagger.encode([text])
        assert not {number for ids in encoded.inputs for number in ids.tolist()} & set(spelled.values())
        spans = [span for one in encoded.segments for span in zip(one.starts, one.ends, strict=True)]
        assert {at for span in spans for at in range(*span)} == {at for at, char in enumerate(text) if char != " "}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "ernie"])
def test_vocabularies_without_a_tokenizer_json(kind: str, made: Made, tmp_path: Path) -> None:
    write_checkpoint(kind, tmp_path, fast=False)
    assert not (tmp_path / "tokenizer.json").exists()
    converted, (_, bundle) = load_teacher(tmp_path), made(kind)
    facts = read_manifest(bundle).tokenizer
    assert converted.facts == facts
    kept = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    for text in TEXTS:
        assert converted.tokenizer.encode(text).ids == kept.encode(text).ids


@pytest.mark.parametrize("name", ["PhobertTokenizer", "BertweetTokenizer"])
def test_a_tokenizer_that_is_slow_alone_is_refused(name: str, tmp_path: Path) -> None:
    write_checkpoint("roberta", tmp_path, fast=False)
    (tmp_path / "vocab.txt").write_text("in 3\na</w> 2\n")
    (tmp_path / "bpe.codes").write_text("i n</w> 3\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    with pytest.raises(ExportError, match=f"{name} is a slow tokenizer, of which transformers makes no fast one"):
        read_teacher(tmp_path)


def test_a_vocabulary_that_is_not_there(tmp_path: Path) -> None:
    write_checkpoint("xlm-roberta", tmp_path, fast=False)
    (tmp_path / "sentencepiece.bpe.model").unlink()
    with pytest.raises(ExportError, match="does not load as a token classifier: its tokenizer: "):
        read_teacher(tmp_path)


def test_a_vocabulary_is_what_the_model_was_made_for(tmp_path: Path) -> None:
    write_checkpoint("mbert", tmp_path, fast=False, vocab_size=30)
    with pytest.raises(ExportError, match="only 30 embeddings"):
        read_teacher(tmp_path)


SPELLED: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "bilou suffixes and special labels": (("[CLS]", "PER-u", "PER-b", "outside", "PER-i", "PER-l", "[PAD]", "X"), {}),
    "iob1": (("O", "B-LOC", "I-LOC", "I-PER"), {}),
    "bare types": (("0", "person name", "組織"), {}),
    "parts of speech": (("NOUN", "VERB", "X", "ADJ|Case=Nom"), {}),
    "named by hand": (("LABEL_0", "LABEL_1", "LABEL_2"), {"labels": ["I_ort", "O", "B_ort"]}),
    "scheme by hand": (("O", "B-PER", "I-PER"), {"scheme": "iob1"}),
}


@pytest.mark.parametrize("name", SPELLED)
def test_labels_of_every_spelling(name: str, tmp_path: Path) -> None:
    given, options = SPELLED[name]
    checkpoint = write_checkpoint("distilbert", tmp_path / "c", labels=given)
    manifest = export_teacher(checkpoint, tmp_path / "b", role="student", **LOOSE, **options)
    reading = read_names(options.get("labels", given), scheme=options.get("scheme"))
    assert (manifest.labels, manifest.scheme) == (reading.labels.tags, reading.labels.scheme)
    model = AutoModelForTokenClassification.from_pretrained(checkpoint).eval()
    tokenizer, tagger = AutoTokenizer.from_pretrained(checkpoint), Tagger.load(tmp_path / "b", threads=1)

    def some(**inputs: Any) -> Any:
        output = model(**inputs)
        output.logits = output.logits[..., list(reading.columns)]
        return output

    seen = set()
    for text, words in TEXTS.items():
        found = [(e.label, text[e.start : e.end]) for e in tagger.tag(text).entities]
        assert found == expected(some, tokenizer, text, words, reading.labels)
        seen |= {label for label, _ in found}
    assert seen and seen <= set(reading.labels.types)


@pytest.mark.parametrize("method", ["int8-weights", "int8-dynamic"])
def test_left_out_columns_in_int8(method: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint("mbert", tmp_path / "c", labels=("[PAD]", *IOB2, "X"))
    options = {**LOOSE, "quantization": method, "min_agreement": 0.3}
    manifest = export_teacher(checkpoint, tmp_path / "b", **options)
    assert manifest.labels == IOB2
    tagger = Tagger.load(tmp_path / "b", threads=1)
    [rows] = tagger.infer([tagger.encode(["Angela Merkel"])[0].inputs[0]])
    assert rows.shape[1] == len(IOB2)


def test_models_that_no_single_file_holds(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As XLM-RoBERTa's large one: fp32 is checked from two files, int8 fits into one."""
    checkpoint, bundle = made("xlm-roberta")
    graph = onnx.load(bundle / "model.onnx").graph
    monkeypatch.setattr(onnx_files, "MOST_BYTES", onnx_files.weight_bytes(graph) - 1)
    export_teacher(checkpoint, tmp_path / "b", **LOOSE | {"quantization": "int8-weights"})
    assert {path.name for path in (tmp_path / "b").iterdir()} == {path.name for path in bundle.iterdir()}
    exact, small = (Tagger.load(folder, threads=1) for folder in (bundle, tmp_path / "b"))
    [ids] = exact.encode(["Angela Merkel"])[0].inputs
    assert np.corrcoef(exact.infer([ids])[0].ravel(), small.infer([ids])[0].ravel())[0, 1] > 0.9
    with pytest.raises(ExportError, match=r"the fp32 weights take .* bytes, .* try another --quantization"):
        export_teacher(checkpoint, tmp_path / "c", **LOOSE)
    assert not (tmp_path / "c").exists()


def test_a_bundle_goes_back_to_what_it_was_made_of(tmp_path: Path) -> None:
    checkpoint = write_checkpoint("mbert", tmp_path / "c", labels=("[PAD]", *IOB2, "X"))
    export_teacher(checkpoint, tmp_path / "b", **LOOSE)
    restore(tmp_path / "b", tmp_path / "back")
    before, after = (
        AutoModelForTokenClassification.from_pretrained(folder).eval() for folder in (checkpoint, tmp_path / "back")
    )
    assert after.config.id2label == before.config.id2label and after.config.label_all_tokens is False
    np.testing.assert_allclose(logits_of(after, [2, 9, 30, 3]), logits_of(before, [2, 9, 30, 3]), atol=1e-5)


def test_a_graph_that_does_not_run(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: OnnxModel, inputs: list[np.ndarray]) -> list[np.ndarray]:
        raise RuntimeError("cannot broadcast")

    monkeypatch.setattr(OnnxModel, "infer", fail)
    with pytest.raises(ExportError, match="does not run on inputs of every length: cannot broadcast"):
        export_teacher(made("mbert")[0], tmp_path / "b", **LOOSE)


def test_labels_by_hand_are_counted(tmp_path: Path) -> None:
    checkpoint = write_checkpoint("distilbert", tmp_path / "c", labels=("LABEL_0", "LABEL_1", "LABEL_2"))
    with pytest.raises(ExportError, match=r"labels without a meaning: \['LABEL_0', .*--labels O,B-PER,I-PER"):
        read_teacher(checkpoint)
    with pytest.raises(ExportError, match="2 labels are given, the model has 3"):
        read_teacher(checkpoint, labels=["O", "B-PER"])
    with pytest.raises(ExportError, match=r"labels \['MISC'\] have no prefix, unlike 'B-PER'$"):
        read_teacher(checkpoint, labels=["O", "B-PER", "MISC"])


def test_models_that_were_taught_on_all_pieces_say_so(tmp_path: Path) -> None:
    taught = write_checkpoint("distilbert", tmp_path / "a", label_all_tokens=True)
    assert read_teacher(taught).pieces == "all" and read_teacher(taught, pieces="first").pieces == "first"
    other = write_checkpoint("distilbert", tmp_path / "b")
    assert read_teacher(other).pieces == "first" and read_teacher(other, pieces="all").pieces == "all"
    manifest = export_teacher(taught, tmp_path / "bundle", **LOOSE)
    assert manifest.pieces == "all" and "pieces" not in json.loads((tmp_path / "bundle" / "bundle.json").read_text())
