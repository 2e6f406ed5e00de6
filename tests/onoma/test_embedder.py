from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import write_bundle
from families import byte_level, metaspace, texts, unigram, wordpiece
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sentence_bundles import DIMENSIONS, table, write_encoder, write_encoder_graph
from tokenizers import Tokenizer

from onoma import BundleError, Embedder, Tagger, TextError
from onoma.bundle import (
    MANIFEST,
    MODEL_FILE,
    TokenizerFacts,
    read_any_manifest,
    read_encoder_manifest,
    read_manifest,
    sha256,
    write_manifest,
)
from onoma.embedder import PieceEncoder, cosine

ROWS = table()


class MeanModel:
    """The mean of its table's rows, as the graph of a bundle."""

    def infer(self, inputs: list[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        return [ROWS[ids % len(ROWS)].mean(axis=0) for ids in inputs]


def embedder(*, tokenizer: Tokenizer | None = None, limit: int = 16, overlap: int = 4) -> Embedder:
    facts = TokenizerFacts(pad_id=0)
    encoder = PieceEncoder(tokenizer or unigram(), facts=facts, limit=limit, overlap=overlap)
    return Embedder(encoder=encoder, model=MeanModel(), dimensions=DIMENSIONS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_encoder(tmp_path / "encoder")
    return tmp_path / "encoder"


def expected(text: str) -> NDArray[np.float64]:
    ids = unigram().encode(text, add_special_tokens=False).ids
    mean = ROWS[ids].astype(np.float64).mean(axis=0)
    return mean / np.linalg.norm(mean)


def test_a_text_is_the_unit_mean_of_its_pieces(folder: Path) -> None:
    vectors = Embedder.load(folder, threads=1).embed(["Angela in Köln", "東京", "the Köln. Angela!"])
    assert vectors.shape == (3, DIMENSIONS) and vectors.dtype == np.float32
    for text, vector in zip(["Angela in Köln", "東京", "the Köln. Angela!"], vectors, strict=True):
        assert vector == pytest.approx(expected(text), abs=1e-6)


def test_texts_in_a_batch_are_as_alone(folder: Path) -> None:
    loaded = Embedder.load(folder, threads=1)
    many = ["Angela", "", "in Köln. Angela!", "x" * 100, " ", *("Mer kel" for _ in range(8))]
    together = loaded.embed(many, batch_tokens=20)
    assert together == pytest.approx(np.concatenate([loaded.embed([text]) for text in many]), abs=1e-6)
    assert loaded.embed([]).shape == (0, DIMENSIONS)


def test_a_long_text_is_not_truncated() -> None:
    # Each window is as long as the others, but the last adds fewer pieces: no piece may count twice.
    text = " ".join(["Angela the Köln Москва"] * 12 + ["東京"] * 5)
    ids = unigram().encode(text, add_special_tokens=False).ids
    assert len(ids) > 50
    [pieces] = embedder().encode([text])
    weights = [w.keep_high - w.keep_low for w in pieces.windows]
    assert sum(weights) == len(ids) and {len(window) for window in pieces.inputs} == {16} and len(set(weights)) > 1
    means = np.stack([ROWS[window].astype(np.float64).mean(axis=0) for window in pieces.inputs])
    mean = np.average(means, axis=0, weights=weights)
    [vector] = embedder().embed([text])
    assert vector == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    [without_end] = embedder().embed([text.removesuffix(" 東京" * 5)])
    assert cosine(vector, without_end) < 0.999


@pytest.mark.parametrize("make", [unigram, wordpiece, byte_level, metaspace])
@pytest.mark.parametrize("text", ["", " ", "\n\t\u3000"])
def test_a_text_without_pieces_is_zeros(make: Any, text: str) -> None:
    # byte_level has no [UNK], metaspace a mark: both still have nothing for nothing.
    vectors = embedder(tokenizer=make()).embed([text, "Angela"])
    assert not vectors[0].any() and np.linalg.norm(vectors[1]) == pytest.approx(1, abs=1e-6)
    assert cosine(vectors[0], vectors[1]) == 0.0


def test_a_text_that_spells_a_special_token_means_its_characters() -> None:
    tokenizer = unigram()
    [pieces] = embedder(tokenizer=tokenizer).encode(["a <mask> b"])
    assert tokenizer.token_to_id("<mask>") not in pieces.ids


def test_white_space_around_a_text_is_none_of_it() -> None:
    padded, plain = embedder(tokenizer=byte_level()).embed(["  Angela the \n", "Angela the"])
    assert np.array_equal(padded, plain)


@given(st.lists(texts, max_size=12), st.sampled_from([unigram, wordpiece, byte_level, metaspace]))
def test_every_text_has_a_vector_of_length_one_or_none(some: list[str], make: Any) -> None:
    tested = embedder(tokenizer=make(), limit=9, overlap=3)
    vectors = tested.embed(some)
    for vector, pieces in zip(vectors, tested.encode(some), strict=True):
        assert np.linalg.norm(vector) == pytest.approx(1.0 if len(pieces.ids) else 0.0, abs=1e-6)
        assert sum(w.keep_high - w.keep_low for w in pieces.windows) == len(pieces.ids)


@pytest.mark.parametrize("text", ["ab\ud800", "a\0"])
def test_refused_texts(text: str) -> None:
    with pytest.raises(TextError, match=r"texts\[1\] has"):
        embedder().embed(["fine", text])


def test_one_text_must_be_in_a_list() -> None:
    with pytest.raises(TypeError, match=r"call embed\(\[text\]\)"):
        embedder().embed("Angela")


def test_cosine() -> None:
    a, b = np.array([[3.0, 4.0], [0.0, 0.0], [1e-30, 0.0]]), np.array([[4.0, 3.0], [1.0, 1.0], [-1.0, 0.0]])
    assert cosine(a, b) == pytest.approx([0.96, 0.0, -1.0])
    assert cosine(a[:, None], b[None]).shape == (3, 3)
    vector = np.random.default_rng(0).normal(size=384).astype(np.float32)
    assert -1.0 <= float(cosine(vector, -vector)) <= 1.0 and float(cosine(vector, vector)) <= 1.0


def test_outputs_must_fit() -> None:
    tested, inputs = embedder(), [np.array([1, 2]), np.array([3])]
    assert tested.fits(inputs, tested.infer(inputs))
    assert not tested.fits(inputs, tested.infer(inputs[:1]))
    assert not tested.fits(inputs[:1], [np.zeros(DIMENSIONS + 1, np.float32)])


def test_manifest_round_trip(folder: Path) -> None:
    written = write_encoder(folder, metrics={"sts": {"en": 80.5}})
    assert read_encoder_manifest(folder) == written == read_any_manifest(folder)
    content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    assert (content["kind"], content["role"], content["dimensions"]) == ("sentence-encoder", "encoder", DIMENSIONS)
    assert not {"labels", "scheme", "pieces", "decoder", "crf", "calibration"} & content.keys()
    write_manifest(folder, written)
    assert json.loads((folder / MANIFEST).read_text(encoding="utf-8")) == content


def test_each_kind_is_told_from_the_other(folder: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "student")
    with pytest.raises(BundleError, match="this is a sentence-encoder bundle, .*onoma.Embedder loads it"):
        Tagger.load(folder)
    with pytest.raises(BundleError, match="this is a token-classification bundle, .*onoma.Tagger loads it"):
        Embedder.load(tmp_path / "student")
    assert read_any_manifest(tmp_path / "student") == read_manifest(tmp_path / "student")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dimensions": 0}, "dimensions"),
        ({"labels": ["O"]}, "labels: Extra inputs"),
        ({"role": "student"}, "role"),
        ({"kind": "image"}, "kind"),
        ({"overlap": 16}, "overlap must be under 16"),
        ({"format_version": 2}, "this onoma reads 1"),
        ({"files": {}}, "files has no hash of model.onnx"),
    ],
)
def test_wrong_fields_are_named(folder: Path, change: dict[str, Any], message: str) -> None:
    content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).write_text(json.dumps(content | change), encoding="utf-8")
    with pytest.raises(BundleError, match=message):
        Embedder.load(folder)


def test_a_damaged_file_is_named(folder: Path) -> None:
    (folder / MODEL_FILE).write_bytes(b"nonsense")
    with pytest.raises(BundleError, match="model.onnx is damaged"):
        Embedder.load(folder)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ({"output": "logits"}, r"outputs must have embeddings, got \['logits'\]"),
        ({"rows": table(dimensions=5)}, r"embeddings must be \(batch, 6\), got \('batch', 5\)"),
    ],
)
def test_a_graph_of_another_form_is_refused(folder: Path, graph: dict[str, Any], message: str) -> None:
    manifest = read_encoder_manifest(folder)
    write_encoder_graph(folder / MODEL_FILE, **({"rows": ROWS} | graph))
    files = manifest.files | {MODEL_FILE: sha256(folder / MODEL_FILE)}
    write_manifest(folder, manifest.model_copy(update={"files": files}))
    with pytest.raises(BundleError, match=message):
        Embedder.load(folder)


def test_prefix_and_suffix_count_in_the_mean(tmp_path: Path) -> None:
    write_encoder(tmp_path, tokenizer=TokenizerFacts(pad_id=0, prefix_ids=(5,), suffix_ids=(7,)))
    ids = [5, *unigram().encode("Angela", add_special_tokens=False).ids, 7]
    mean = ROWS[ids].mean(axis=0)
    [vector] = Embedder.load(tmp_path, threads=1).embed(["Angela"])
    assert vector == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
