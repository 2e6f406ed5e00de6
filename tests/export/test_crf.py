"""CRFs through the export: what torch trained is what onoma decodes with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import export.check
from distill.crf import Chain, Crf, best, log_marginals, score
from distill.students import load_student
from distill.torch_model import transitions_of
from export.bundle import export_student
from export.errors import ExportError
from export.restore import restore
from export.student import decide_by, read_student
from onoma import LabelSet, Tagger
from onoma.bundle import MANIFEST, Calibration, Transitions, read_manifest
from onoma.decode import build_decoder
from onoma.words import Words
from tests.export.conftest import LABELS, TEXTS, Trained

LOOSE: dict[str, Any] = {"min_agreement": 0.2, "texts_for_parity": TEXTS, "overlap": 8, "max_length": 64}
TAGS = LabelSet(LABELS)


def random_crf(seed: int) -> Crf:
    torch.manual_seed(seed)
    crf = Crf(len(LABELS))
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter, std=2.0)
    return crf


def legal_chain(crf: Crf, logits: np.ndarray, temperature: float = 1.0) -> Chain:
    """The chain of a sentence (T, C) whose words have one piece each, without the moves that IOB2 forbids."""
    transitions, start = crf.transitions.detach().double(), crf.start.detach().double()
    return Chain(
        torch.from_numpy(logits)[None].double(),
        transitions.masked_fill(~torch.from_numpy(TAGS.legal), -1e6),
        start.masked_fill(~torch.from_numpy(TAGS.legal_start), -1e6),
        crf.end.detach().double(),
    ).at(temperature)


@given(st.integers(0, 10_000), st.lists(st.integers(1, 40), min_size=1, max_size=4), st.sampled_from([1.0, 0.5, 3.0]))
def test_numpy_and_torch_agree(seed: int, lengths: list[int], temperature: float) -> None:
    crf = random_crf(seed)
    source = np.random.default_rng(seed)
    sentences = [(4 * source.normal(size=(length, len(LABELS)))).astype(np.float32) for length in lengths]
    begins = np.cumsum([0, *lengths[:-1]])
    words, emissions = Words(np.zeros(sum(lengths), dtype=np.bool_), begins), np.concatenate(sentences)
    chain = build_decoder(TAGS, transitions=transitions_of(crf), temperature=temperature)
    tags, logs = chain.decode(emissions, words)
    marginals = np.exp(chain.log_probabilities(emissions, words))
    for low, rows in zip(begins, sentences, strict=True):
        part = slice(low, low + len(rows))
        expected = legal_chain(crf, rows, temperature)
        own = log_marginals(expected)[0].exp().numpy()
        np.testing.assert_allclose(marginals[part], own, atol=1e-9)
        np.testing.assert_allclose(np.exp(logs[part]), own[range(len(rows)), tags[part]], atol=1e-9)
        _, scores = best(expected, 1)
        assert score(expected, torch.from_numpy(tags[None, part])).item() == pytest.approx(scores.item(), abs=1e-9)


@pytest.mark.parametrize("method", ["fp32", "int8-weights", "int8-dynamic"])
def test_from_training_to_tags_and_back(method: str, trained: Trained, tmp_path: Path) -> None:
    folder = trained("bilstm crf")
    model = load_student(folder)
    assert model.crf is not None
    manifest = export_student(folder, tmp_path / "bundle", quantization=method, **LOOSE)
    assert manifest == read_manifest(tmp_path / "bundle")
    assert manifest.architecture == f"bilstm-crf V={model.config.vocabulary} E=16 H=24"
    assert manifest.decoder == "crf" and manifest.crf == transitions_of(model.crf), "never quantized"
    assert "- decoder: linear-chain CRF" in (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    assert len(Tagger.load(tmp_path / "bundle", threads=1).tag_batch(TEXTS)) == len(TEXTS)
    if method == "int8-dynamic":
        return
    restore(tmp_path / "bundle", tmp_path / "back")
    back = load_student(tmp_path / "back")
    assert back.config == replace(model.config, projection=0) and back.crf is not None
    for name, value in model.crf.state_dict().items():
        assert torch.equal(back.crf.state_dict()[name], value), name
    again = export_student(tmp_path / "back", tmp_path / "again", quantization="fp32", **LOOSE)
    assert again.crf == manifest.crf


def test_tags_are_those_of_the_trained_model(trained: Trained, tmp_path: Path) -> None:
    export_student(trained("bilstm crf"), tmp_path / "bundle", quantization="fp32", **LOOSE)
    tagger = Tagger.load(tmp_path / "bundle", threads=1)
    source = read_student(trained("bilstm crf"))
    chain = build_decoder(TAGS, transitions=tagger.transitions)
    found = 0
    for encoded in tagger.encode(TEXTS):
        for ids in encoded.inputs:
            words = Words(np.zeros(len(ids), dtype=np.bool_), np.zeros(1, dtype=np.int64))
            tags, _ = chain.decode(tagger.infer([ids])[0], words)
            expected = source.decide(source.reference(ids))
            assert tags.tolist() == expected.tolist()
            found += len(set(tags))
    assert found > 2 * len(TEXTS), "the tags differ from one another"


def test_a_chain_that_decides_otherwise_is_refused(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(labels: LabelSet, *, transitions: Transitions) -> object:
        turned = transitions.model_copy(update={"transitions": transitions.transitions[::-1]})
        return build_decoder(labels, transitions=turned)

    monkeypatch.setattr(export.check, "build_decoder", other)
    with pytest.raises(ExportError, match="the fp32 export gives .* of .* pieces the tag that torch gives"):
        export_student(trained("bilstm crf"), tmp_path / "bundle", **LOOSE)


def test_decide_keeps_to_iob2() -> None:
    logits = np.zeros((4, len(LABELS)), dtype=np.float32)
    logits[:, LABELS.index("I-PER")] = 3
    with torch.no_grad():
        tags = decide_by(Crf(len(LABELS)), TAGS)(logits)
    assert [LABELS[tag] for tag in tags] == ["B-PER", "I-PER", "I-PER", "I-PER"]


def test_a_manifest_without_the_crf_of_its_shape(trained: Trained, tmp_path: Path) -> None:
    export_student(trained("bilstm crf"), tmp_path / "bundle", quantization="fp32", **LOOSE)
    manifest = tmp_path / "bundle" / MANIFEST
    content = json.loads(manifest.read_text(encoding="utf-8"))
    del content["crf"]
    manifest.write_text(json.dumps(content | {"decoder": "softmax"}), encoding="utf-8")
    with pytest.raises(ExportError, match="'bilstm-crf V=.*' has a CRF, unlike the manifest"):
        restore(tmp_path / "bundle", tmp_path / "back")


def test_a_calibrated_crf_keeps_its_tags(trained: Trained, tmp_path: Path) -> None:
    options = {**LOOSE, "quantization": "fp32"}
    export_student(trained("bilstm crf"), tmp_path / "plain", **options)
    export_student(trained("bilstm crf"), tmp_path / "flat", calibration=Calibration(temperature=3.0), **options)
    plain, flat = (Tagger.load(tmp_path / name, threads=1).tag_batch(TEXTS) for name in ("plain", "flat"))
    for one, other in zip(plain, flat, strict=True):
        assert [(e.start, e.end, e.label) for e in one.entities] == [(e.start, e.end, e.label) for e in other.entities]
    # Of a text that a model knows nothing about, the confidence may rise.
    assert sum(one.confidence for one in flat) < sum(one.confidence for one in plain)
