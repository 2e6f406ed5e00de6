from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import export.encoder
from distill.sentences.checkpoints import read_checkpoint
from distill.sentences.splits import STS_LANGUAGES
from export import encoder_commands
from export.commands import export as command
from export.encoder import METHODS, export_encoder, quantized, update_encoder
from export.encoder_check import QualityLimits
from export.errors import ExportError
from onoma import Embedder, Tagger
from onoma.bundle import read_encoder_manifest
from onoma.embedder import cosine
from onoma.errors import BundleError
from onoma.word_table import WORDS_FILE, read_words
from tests.encoders import LANGUAGES, TEXTS, save_encoder, save_sentence_transformer
from tests.similarity import Row, rows, write_sts

Bundles = dict[tuple[str, str], Path]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models are slower on many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    training = {"seed": 1, "data": {"tatoeba": "CC BY 2.0 FR"}, "languages": list(LANGUAGES)}
    return {
        "own": save_encoder(root / "own", "bottleneck", training=training),
        "words": save_encoder(root / "words", "bottleneck", words=True, first_id=2, training=training),
        "bert": save_sentence_transformer(root / "bert", modules=("Normalize",)),
        "distilbert": save_sentence_transformer(root / "distilbert", kind="distilbert"),
    }


@pytest.fixture(scope="module")
def bundles(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    root, made = tmp_path_factory.mktemp("bundles"), {}
    for kind, checkpoint in checkpoints.items():
        for method in METHODS:
            made[kind, method] = root / f"{kind}-{method}"
            loose = QualityLimits(cosine=0.9)
            export_encoder(checkpoint, made[kind, method], quantization=method, check=False, limits=loose)
    return made


@pytest.fixture
def data(tmp_path: Path, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """STS-B dev whose scores are what the encoder says in fp32: so this has a Spearman of 100."""
    root = tmp_path / "data"
    embedder = read_checkpoint(checkpoints["own"]).embedder()

    def scored(row: Row) -> Row:
        one, other = embedder.embed(row[:2])
        return row[0], row[1], 5 * max(0.0, float(cosine(one, other)))

    found = [scored(row) for row in rows("en", 40) if row[0] != row[1]]
    write_sts(root, {language: found for language in STS_LANGUAGES}, "dev")
    monkeypatch.setenv("ONOMA_DATA", str(root))
    yield root


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments))


@pytest.mark.parametrize("kind", ["own", "words", "bert", "distilbert"])
def test_through_the_embedder_it_equals_torch(kind: str, bundles: Bundles, checkpoints: dict[str, Path]) -> None:
    want = read_checkpoint(checkpoints[kind]).embedder().embed(TEXTS)
    np.testing.assert_allclose(Embedder.load(bundles[kind, "fp32"], threads=1).embed(TEXTS), want, atol=1e-5)
    for method in ("int8-rows", "int4-tables", "int8-weights"):
        got = Embedder.load(bundles[kind, method], threads=1).embed(TEXTS)
        assert cosine(got, want).min() > 0.97


@pytest.mark.parametrize("kind", ["own", "words", "bert", "distilbert"])
@pytest.mark.parametrize("method", METHODS)
def test_a_text_s_vector_is_the_same_in_every_company(kind: str, method: str, bundles: Bundles) -> None:
    embedder = Embedder.load(bundles[kind, method], threads=1)
    texts = [*TEXTS, " ".join(TEXTS) * 6]  # the last one takes several windows
    together = embedder.embed(texts)
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_allclose(embedder.embed([text])[0], vector, atol=3e-6)


@pytest.mark.parametrize(("kind", "method"), [("own", "int8-rows"), ("bert", "int8-rows"), ("own", "fp32")])
def test_manifest(kind: str, method: str, bundles: Bundles) -> None:
    folder = bundles[kind, method]
    manifest = read_encoder_manifest(folder)
    assert manifest.name == folder.name and manifest.quantization.method == method
    assert set(manifest.files) == {"model.onnx", "tokenizer.json", "README.md"}
    assert {path.name for path in folder.iterdir()} == {*manifest.files, "bundle.json"}
    expected = {"own": (48, 64, 16, LANGUAGES, ()), "bert": (32, 24, 5, (), (2,))}[kind]
    prefix = manifest.tokenizer.prefix_ids
    assert (manifest.dimensions, manifest.max_length, manifest.overlap, manifest.languages, prefix) == expected
    assert manifest.training == (
        {"seed": 1, "data": {"tatoeba": "CC BY 2.0 FR"}, "languages": list(LANGUAGES)}
        if kind == "own"
        else {"checkpoint": "bert"}
    )
    details = manifest.quantization.details
    assert details["parity_with_torch"]["windows"] > 14
    assert ("quality" in details) == (method != "fp32")


def test_a_table_of_words_is_part_of_the_bundle(bundles: Bundles, tmp_path: Path) -> None:
    folder = bundles["words", "fp32"]
    manifest = read_encoder_manifest(folder)
    assert WORDS_FILE in manifest.files and manifest.tokenizer.prefix_ids == (2,)
    first, second, third = (pieces.ids for pieces in Embedder.load(folder, threads=1).encode(["The", "dethe", "cat"]))
    assert list(first) == list(second) == [third[0] - 1]  # two words with one embedding
    update_encoder(shutil.copytree(folder, tmp_path / "copy"), metrics={"sts": 1})
    assert read_words(tmp_path / "copy" / WORDS_FILE) == read_words(folder / WORDS_FILE)
    (tmp_path / "copy" / WORDS_FILE).write_bytes(b"another")
    with pytest.raises(BundleError, match=WORDS_FILE):
        Embedder.load(tmp_path / "copy", threads=1)


def test_a_tagger_says_what_the_bundle_is(bundles: Bundles) -> None:
    with pytest.raises(BundleError, match="sentence-encoder"):
        Tagger.load(bundles["own", "int8-rows"])


def test_the_gate_lets_a_good_one_pass(checkpoints: dict[str, Path], data: Path, tmp_path: Path) -> None:
    manifest = export_encoder(checkpoints["own"], tmp_path / "out", limits=QualityLimits(loss=5, cosine=0.9))
    quality = manifest.quantization.details["quality"]
    assert quality["languages"]["fp32"] == quality["with_english"]["fp32"] == 100
    assert 95 < quality["languages"]["int8"] <= 100
    assert quality["sts"] == "STS-B dev, de, en, zh, 30 rows"  # what the checkpoint states of its languages
    assert 0.9 < quality["cosine_with_fp32"] < 1


def broken(graph: onnx.ModelProto, method: str, samples: Any) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """What a wrong axis or scale makes: half of the columns with the wrong sign."""
    result, details = quantized(graph, method, samples)
    for tensor in result.graph.initializer:
        if tensor.name == "expand.weight/scale":
            values = numpy_helper.to_array(tensor).copy()
            values[::2] *= -1
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return result, details


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (QualityLimits(cosine=-1), r"Spearman on STS-B dev within languages is .* under fp32's 100.00, limit 0.5"),
        (QualityLimits(loss=1000), r"mean cosine of .* with fp32's, at least 0.98 is needed"),
    ],
)
def test_the_gate_refuses_a_broken_one(
    limits: QualityLimits,
    message: str,
    checkpoints: dict[str, Path],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    export_encoder(checkpoints["own"], out, quantization="int8-weights")
    before = (out / "bundle.json").read_bytes()
    monkeypatch.setattr(export.encoder, "quantized", broken)
    with pytest.raises(ExportError, match=message):
        export_encoder(checkpoints["own"], out, limits=limits)
    assert (out / "bundle.json").read_bytes() == before, "the old bundle is as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"], "nothing is left behind"


def test_without_data_the_cosines_alone_decide(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONOMA_DATA", str(tmp_path))
    with pytest.raises(ExportError, match="set ONOMA_DATA .*; or skip the check of quality with --no-check"):
        export_encoder(checkpoints["own"], tmp_path / "out")
    manifest = export_encoder(checkpoints["own"], tmp_path / "out", check=False)
    assert list(manifest.quantization.details["quality"]) == ["cosine_with_fp32"]
    monkeypatch.setattr(export.encoder, "quantized", broken)
    with pytest.raises(ExportError, match="mean cosine"):
        export_encoder(checkpoints["own"], tmp_path / "other", check=False)


def test_a_graph_that_is_not_torch_is_refused(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(source: Any) -> onnx.ModelProto:
        graph = export.encoder.encoder_graph(source.model)
        norm = next(tensor for tensor in graph.graph.initializer if tensor.name == "norm.weight")
        norm.CopyFrom(numpy_helper.from_array(1.01 * numpy_helper.to_array(norm), norm.name))
        return graph

    monkeypatch.setattr(export.encoder, "_graph", other)
    with pytest.raises(ExportError, match="the fp32 export differs from torch by"):
        export_encoder(checkpoints["own"], tmp_path / "out", check=False)


def mixing(graph: onnx.ModelProto, method: str, samples: Any) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Padding that has a say: the mask of the mean is all ones."""
    for node in graph.graph.node:
        if node.name == "keep.row":
            node.input[0] = "everything"
    shape = onnx.helper.make_node("Shape", ["input_ids"], ["everything/shape"])
    value = numpy_helper.from_array(np.ones(1, dtype=np.float32))
    ones = onnx.helper.make_node("ConstantOfShape", ["everything/shape"], ["everything"], value=value)
    nodes = [shape, ones, *graph.graph.node]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.graph.node[:]
    graph.graph.node.extend(copies)
    return quantized(graph, method)


def test_a_graph_that_sees_its_batch_mates_is_refused(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export.encoder, "quantized", mixing)
    with pytest.raises(ExportError, match="gives a text in a padded batch another vector than alone"):
        export_encoder(checkpoints["own"], tmp_path / "out", check=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantization": "int8-dynamic"}, "quantization must be one of int8-rows, int4-tables, int8-weights, fp32"),
        ({"max_length": 4}, "max_length must be at least 8"),
        ({"overlap": -1}, "overlap at least 0"),
        ({"max_bytes": 1000}, "the bundle takes .* bytes, limit 1,000"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        export_encoder(checkpoints["own"], tmp_path / "out", check=False, **options)
    assert not (tmp_path / "out").exists()


def test_an_encoder_without_products_has_another_way(tmp_path: Path) -> None:
    checkpoint = save_encoder(tmp_path / "flat", "flat", embedding=None)
    with pytest.raises(ExportError, match="needs a MatMul by a constant matrix.*; try int8-weights"):
        export_encoder(checkpoint, tmp_path / "out", check=False)
    manifest = export_encoder(checkpoint, tmp_path / "out", quantization="int8-weights", check=False)
    assert manifest.architecture.endswith("H=48 L=0x1 A=4 F=64")


def test_the_command_offers_every_method() -> None:
    assert encoder_commands.METHODS == METHODS  # written twice, so that --help need not load torch


def test_what_is_no_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no sentence encoder at"):
        export_encoder(tmp_path, tmp_path / "out")


def test_the_command_then_update(
    checkpoints: dict[str, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, facts, metrics, calibration = (tmp_path / name for name in ("encoder", "t.json", "m.json", "c.json"))
    facts.write_text(json.dumps({"minutes": 12}), encoding="utf-8")
    figures = {"sts": {"per_language": {"en": 80.123, "de": 70.0}, "mean": 75.06}, "measured_on": "STS-B test"}
    metrics.write_text(json.dumps(figures | {"tatoeba": {"per_language": {"de": 90.0}}}), encoding="utf-8")
    loose = ["--max-loss", "5", "--min-cosine", "0.9", "--languages", "en,de", "--licence", "MIT"]
    assert run("encoder", str(checkpoints["own"]), "--out", str(out), "--training-json", str(facts), *loose) == 0
    printed = capsys.readouterr().out
    assert "encoder 'encoder', int8-rows" in printed and "STS-B dev within languages: fp32 100.00, int8" in printed
    manifest = read_encoder_manifest(out)
    assert (manifest.training["minutes"], manifest.training["seed"]) == (12, 1)
    assert "onoma" in manifest.training["export_command"] and manifest.languages == ("en", "de")
    assert "Not measured yet" in (out / "README.md").read_text(encoding="utf-8")
    vectors = Embedder.load(out, threads=1).embed(TEXTS)
    assert run("update", str(out), "--metrics-json", str(metrics)) == 0
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "| language | STS-B, Spearman | Tatoeba, accuracy |" in card
    assert "| de | 70.0 | 90.0 |" in card and "| en | 80.1 | – |" in card and "MIT" in card
    assert "mean: 75.06" in card and "never on its batch-mates" in card
    np.testing.assert_array_equal(Embedder.load(out, threads=1).embed(TEXTS), vectors)
    calibration.write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="is a sentence encoder: it has no calibration"):
        run("update", str(out), "--calibration-json", str(calibration))


def test_update_keeps_what_is_not_given(bundles: Bundles, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle at"):
        update_encoder(tmp_path / "none", metrics={})
    old = read_encoder_manifest(bundles["own", "fp32"])
    new = update_encoder(bundles["own", "fp32"], training={"minutes": 3})
    assert new.training == {**old.training, "minutes": 3} and new.files["model.onnx"] == old.files["model.onnx"]
