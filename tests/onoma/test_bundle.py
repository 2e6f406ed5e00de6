from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import transitions, write_bundle
from hypothesis import given
from hypothesis import strategies as st

from onoma import BundleError, LabelSet, Tagger
from onoma.bundle import MANIFEST, MODEL_FILE, TOKENIZER_FILE, Calibration, Manifest, read_manifest, write_manifest


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    change(content)
    (folder / MANIFEST).write_text(json.dumps(content), encoding="utf-8")


def test_round_trip(tmp_path: Path) -> None:
    written = write_bundle(tmp_path / "b", calibration=Calibration(confidence=((0.1, 0.2), (0.9, 0.95))))
    assert read_manifest(tmp_path / "b") == written
    assert not list((tmp_path / "b").glob("*.tmp"))


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no bundle at .*bundle\.json is missing"):
        Tagger.load(tmp_path / "nothing")


@pytest.mark.parametrize("content", ["{", "\ufeff\x00", '"\\ud800'])
def test_not_json(bundle: Path, content: str) -> None:
    (bundle / MANIFEST).write_text(content, encoding="utf-8")
    with pytest.raises(BundleError, match="is not JSON"):
        read_manifest(bundle)


def test_not_utf8(bundle: Path) -> None:
    (bundle / MANIFEST).write_bytes(b"\xff\xfe")
    with pytest.raises(BundleError, match="is not JSON"):
        read_manifest(bundle)


@pytest.mark.parametrize("version", [2, "1", None, 0])
def test_other_version(bundle: Path, version: object) -> None:
    edit(bundle, lambda content: content.update(format_version=version))
    with pytest.raises(BundleError, match=f"format_version is {version!r}, this onoma reads 1"):
        read_manifest(bundle)


def test_not_an_object(bundle: Path) -> None:
    (bundle / MANIFEST).write_text("[1]", encoding="utf-8")
    with pytest.raises(BundleError, match="format_version is None"):
        read_manifest(bundle)


@pytest.mark.parametrize("name", [MODEL_FILE, TOKENIZER_FILE])
def test_damaged_file(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} is damaged"):
        Tagger.load(bundle)


@pytest.mark.parametrize("name", [MODEL_FILE, TOKENIZER_FILE])
def test_missing_file(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        read_manifest(bundle)


@pytest.mark.parametrize("name", [MODEL_FILE, TOKENIZER_FILE])
def test_missing_hash(bundle: Path, name: str) -> None:
    edit(bundle, lambda content: content["files"].pop(name))
    with pytest.raises(BundleError, match=f"files has no hash of {name}"):
        read_manifest(bundle)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/b", "..", "."])
def test_files_may_not_leave_the_bundle(bundle: Path, name: str) -> None:
    (bundle.parent / "secret").write_text("x", encoding="utf-8")
    edit(bundle, lambda content: content["files"].update({name: "0" * 64}))
    with pytest.raises(BundleError, match="may not leave the bundle"):
        read_manifest(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["O", "X"]}, "tag 'X' is not of scheme iob2"),
        ({"labels": ["O", "B-X"], "scheme": "io"}, "tag 'B-X' is not of scheme io"),
        ({"labels": ["O", "B-X", "E-X"], "scheme": "bioes"}, "pieces must be first: .* inside a word for X"),
        ({"scheme": "iob3"}, "scheme"),
        ({"pieces": "last"}, "pieces"),
        ({"overlap": 32}, "overlap must be under 32"),
        ({"surprise": 1}, "surprise"),
        ({"max_length": 1}, "max_length"),
        ({"files": {"model.onnx": "abc"}}, "files"),
        ({"name": ""}, "name"),
    ],
)
def test_wrong_fields_are_named(bundle: Path, change: dict[str, Any], message: str) -> None:
    edit(bundle, lambda content: content.update(change))
    with pytest.raises(BundleError, match=message):
        read_manifest(bundle)


@pytest.fixture
def crf_bundle(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "crf", decoder="crf", crf=transitions())
    return tmp_path / "crf"


def test_transitions_are_kept_exactly(crf_bundle: Path) -> None:
    manifest = read_manifest(crf_bundle)
    assert manifest.decoder == "crf" and manifest.crf == transitions()


def test_a_softmax_bundle_is_written_as_before_there_were_others(bundle: Path) -> None:
    before = (bundle / MANIFEST).read_bytes()
    assert b'"decoder": "softmax"' in before
    assert not {"crf", "scheme", "pieces"} & json.loads(before).keys()
    write_manifest(bundle, read_manifest(bundle))
    assert (bundle / MANIFEST).read_bytes() == before


@pytest.mark.parametrize("name", ["student", "teacher"])
def test_the_bundled_manifests_are_written_as_they_are(name: str, tmp_path: Path) -> None:
    folder = Path(__file__).resolve().parents[2] / "models" / name
    write_manifest(tmp_path, read_manifest(folder))
    assert (tmp_path / MANIFEST).read_bytes() == (folder / MANIFEST).read_bytes()


def test_scheme_and_pieces_are_kept(tmp_path: Path) -> None:
    labels = ("O", "I-PER", "I-ORG", "I-LOC", "B-PER", "B-LOC", "B-ORG")
    write_bundle(tmp_path, labels=labels, scheme="iob1", pieces="first")
    manifest = read_manifest(tmp_path)
    assert (manifest.label_set, manifest.pieces) == (LabelSet(labels, "iob1"), "first")
    tagger = Tagger.load(tmp_path, threads=1)
    assert (tagger.labels, tagger.pieces) == (LabelSet(labels, "iob1"), "first")
    # The model's columns are read in the scheme: B-PER of the writer is I-PER here.
    assert [entity.label for entity in tagger.tag("Angela Köln").entities] == ["PER", "LOC"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("crf"), "crf must be there for decoder crf"),
        (lambda content: content.update(crf=None), "crf must be there for decoder crf"),
        (lambda content: content.update(decoder="softmax"), "for no other, the decoder is softmax"),
        (lambda content: content.pop("decoder"), "for no other, the decoder is softmax"),
        (lambda content: content.update(decoder="viterbi"), "decoder: Input should be 'softmax' or 'crf'"),
        (lambda content: content.update(pieces="first"), "decoder crf needs scheme iob2 and pieces all, got iob2 and"),
        (lambda content: content.update(scheme="iob1"), "decoder crf needs scheme iob2 and pieces all, got iob1 and"),
        (lambda content: content["crf"].pop("end"), r"crf\.end: Field required"),
        (lambda content: content["crf"].update(bias=1), r"crf\.bias: Extra inputs"),
        (lambda content: content["crf"]["start"].pop(), r"crf\.start must have 7 numbers.*got 6"),
        (lambda content: content["crf"]["end"].append(0), r"crf\.end must have 7 numbers.*got 8"),
        (lambda content: content["crf"]["transitions"].pop(), r"crf\.transitions must be 7 rows of 7.*got 6 rows of 7"),
        (lambda content: content["crf"]["transitions"][2].pop(), r"crf\.transitions must be .*got 7 rows of 6 or 7"),
        (lambda content: content["crf"].update(transitions=[]), r"crf\.transitions must be .*got 0 rows of 0"),
        (lambda content: content["crf"]["start"].insert(3, float("nan")), r"crf\.start\.3: .*finite number"),
        (
            lambda content: content["crf"]["transitions"][1].insert(4, float("-inf")),
            r"crf\.transitions\.1\.4: .*finite number",
        ),
        (lambda content: content["crf"]["end"].insert(0, "x"), r"crf\.end\.0: .*valid number"),
    ],
)
def test_wrong_transitions_are_named(
    crf_bundle: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit(crf_bundle, change)
    with pytest.raises(BundleError, match=message):
        read_manifest(crf_bundle)


def test_labels_of_manifest(bundle: Path) -> None:
    manifest: Manifest = read_manifest(bundle)
    assert manifest.label_set.types == ("PER", "ORG", "LOC")


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6), st.floats(0, 1))
def test_calibration_stays_between_its_points(points: list[tuple[float, float]], raw: float) -> None:
    calibration = Calibration(confidence=tuple(sorted(points)))
    values = [value for _, value in points]
    assert min(values) - 1e-9 <= calibration.calibrated(raw) <= max(values) + 1e-9


def test_calibration() -> None:
    calibration = Calibration(confidence=((0.2, 0.0), (0.6, 1.0)))
    assert [calibration.calibrated(raw) for raw in (0.0, 0.2, 0.6, 1.0)] == [0.0, 0.0, 1.0, 1.0]
    assert calibration.calibrated(0.4) == pytest.approx(0.5)
    assert Calibration().calibrated(0.3) == 0.3
