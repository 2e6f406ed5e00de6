"""Bundles: written beside the target, checked, and put in its place at once."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import onnx
from pydantic import ValidationError

from export.card import card
from export.check import (
    MAX_FP32_DIFFERENCE,
    MIN_FP32_AGREEMENT,
    PARITY_TEXTS,
    Parity,
    full_window,
    measure_parity,
    require_parity,
    require_size,
)
from export.errors import ExportError
from export.onnx_files import fits, weight_bytes, write
from export.quantize import METHODS, quantize_weights
from export.source import Ints, Source, compact_tokenizer
from export.student import read_student
from export.teacher import read_teacher
from onoma.bundle import (
    CARD_FILE,
    FORMAT_VERSION,
    MANIFEST,
    MODEL_FILE,
    TOKENIZER_FILE,
    Calibration,
    Manifest,
    Pieces,
    Quantization,
    read_manifest,
    sha256,
    write_manifest,
)
from onoma.encoding import Encoder
from onoma.labels import Scheme
from onoma.model import OnnxModel
from onoma.tagger import Tagger

FILES = (MODEL_FILE, TOKENIZER_FILE, CARD_FILE)


class Options(TypedDict, total=False):
    """Keyword options of `export_student` and `export_teacher`; the defaults are those of `assemble`."""

    quantization: str
    name: str | None
    languages: Sequence[str]
    licence: str
    training: Mapping[str, Any] | None
    metrics: Mapping[str, Any] | None
    calibration: Calibration | None
    max_length: int
    overlap: int
    texts_for_parity: Sequence[str]
    min_agreement: float
    max_bytes: int | None


def export_student(folder: str | Path, target: str | Path, **options: Unpack[Options]) -> Manifest:
    """Export a student that `distill` saved to a bundle at `target`; see `assemble` for the options.

    :raises ExportError: if it cannot be exported, or is not faithful or not small enough; `target` is then unchanged.
    """
    _check_target(Path(target))
    return assemble(read_student(Path(folder)), target, **options)


def export_teacher(
    path_or_name: str | Path,
    target: str | Path,
    *,
    role: Literal["student", "teacher"] = "teacher",
    labels: Sequence[str] | None = None,
    scheme: Scheme | None = None,
    pieces: Pieces | None = None,
    **options: Unpack[Options],
) -> Manifest:
    """Export a Hugging Face token classifier to a bundle at `target`; see `assemble` for the options.

    :param path_or_name: a folder, or a name on the hub; see `read_teacher` for `labels`, `scheme` and `pieces`.
    :raises ExportError: if it cannot be exported, or is not faithful or not small enough; `target` is then unchanged.
    """
    _check_target(Path(target))
    source = read_teacher(path_or_name, role=role, labels=labels, scheme=scheme, pieces=pieces)
    return assemble(source, target, **options)


def assemble(
    source: Source,
    target: str | Path,
    *,
    quantization: str = "int8-weights",
    name: str | None = None,
    languages: Sequence[str] = (),
    licence: str = "not stated",
    training: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    calibration: Calibration | None = None,
    max_length: int = 256,
    overlap: int = 48,
    texts_for_parity: Sequence[str] = PARITY_TEXTS,
    min_agreement: float = 0.97,
    max_bytes: int | None = None,
) -> Manifest:
    """Quantize, check and bundle a model; `target` is replaced only when all is well.

    :param quantization: "int8-weights" (int8 storage, fp32 arithmetic), "int8-static" or "int8-dynamic" (int8
        arithmetic, in ranges fixed beforehand or found in each run), or "fp32".
    :param name: defaults to the target folder's name.
    :param max_length: most pieces in a window, prefix and suffix included; cut down to what the model takes.
    :param overlap: fewest pieces that neighbouring windows share.
    :param texts_for_parity: sentences to compare the exported model with the original on.
    :param min_agreement: least share of pieces that must keep their tag when the model is quantized.
    :param max_bytes: largest size of the whole bundle.
    :raises ExportError: if the model is not faithful or too large, or an option is wrong.
    """
    target = Path(target)
    if quantization not in METHODS:
        raise ExportError(f"quantization must be one of {', '.join(METHODS)}, got {quantization!r}")
    if quantization == "int8-static" and source.static is None:
        raise ExportError(f"int8-static is for students of kind bilstm, not for {source.architecture!r}")
    if source.longest is not None:
        max_length = min(max_length, source.longest)
    facts = source.facts
    limit = max_length - len(facts.prefix_ids) - len(facts.suffix_ids)
    if not 0 <= overlap < limit:
        raise ExportError(
            f"overlap must be in 0..{limit - 1}, under the {limit} pieces that fit a window, got {overlap}"
        )
    with staged(target) as folder:
        (folder / TOKENIZER_FILE).write_text(compact_tokenizer(source.tokenizer), encoding="utf-8")
        encoder = Encoder(source.tokenizer, facts=facts, limit=limit, overlap=overlap)
        inputs = [ids for encoded in encoder.encode(texts_for_parity) for ids in encoded.inputs]
        details = _write_model(
            source, folder / MODEL_FILE, inputs, limit, method=quantization, min_agreement=min_agreement
        )
        try:
            manifest = Manifest(
                format_version=FORMAT_VERSION,
                name=name or target.resolve().name,
                role=source.role,
                architecture=source.architecture,
                parameters=source.parameters,
                labels=source.labels,
                scheme=source.scheme,
                pieces=source.pieces,
                tokenizer=facts,
                max_length=max_length,
                overlap=overlap,
                decoder="softmax" if source.transitions is None else "crf",
                crf=source.transitions,
                languages=tuple(languages),
                licence=licence,
                quantization=Quantization(method=quantization, details=details),
                calibration=calibration or Calibration(),
                training={**source.origin, **(training or {})},
                metrics=dict(metrics or {}),
                created=datetime.now(UTC).date().isoformat(),
                files={},
            )
        except ValidationError as error:
            raise ExportError(f"the manifest is not valid: {error.errors()[0]['msg']}") from error
        manifest = _seal(folder, manifest)
        require_size(folder, max_bytes)
    return manifest


def update_manifest(
    target: str | Path,
    *,
    calibration: Calibration | None = None,
    metrics: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> Manifest:
    """Put what is known only after the export into a bundle: calibration, metrics, training. Rewrites the card too.

    Calibration and metrics replace the old ones as a whole, training adds to the old entries; what is not given stays.

    :raises BundleError: if there is no sound bundle at `target`; it is then unchanged.
    """
    target = Path(target)
    old = read_manifest(target)
    changes: dict[str, Any] = {"training": {**old.training, **(training or {})}}
    if calibration is not None:
        changes["calibration"] = calibration
    if metrics is not None:
        changes["metrics"] = dict(metrics)
    with staged(target) as folder:
        for name in old.files:
            shutil.copy2(target / name, folder / name)
        return _seal(folder, old.model_copy(update=changes))


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """An empty folder beside `target` that takes its place if the block ends well, and vanishes if it does not.

    :raises ExportError: if `target` is something else than a bundle or an empty folder.
    """
    _check_target(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.parent))
    folder.chmod(0o755)  # mkdtemp's 0700 would keep other users from reading the bundle
    try:
        yield folder
        _replace(target, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replace(target: Path, folder: Path) -> None:
    if not target.exists():
        folder.rename(target)
        return
    old = target.with_name(f".{target.name}.old-{secrets.token_hex(4)}")
    target.rename(old)
    try:
        folder.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old)


def _check_target(target: Path) -> None:
    """Never replace a folder that holds something else."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ExportError(f"{target} is not a folder")
    if target.exists() and any(target.iterdir()) and not (target / MANIFEST).is_file():
        raise ExportError(f"{target} holds files that are no bundle; give another folder or empty it")


def _write_model(
    source: Source, path: Path, inputs: Sequence[Ints], limit: int, *, method: str, min_agreement: float
) -> dict[str, Any]:
    """Write the ONNX file; first in fp32, which must equal torch up to the longest input, then quantized.

    The quantized model must keep the tags of real sentences.
    """
    graph, parity = _save_and_measure(source, source.graph, path, [*inputs, *full_window(inputs, limit)])
    limits = {"max_difference": MAX_FP32_DIFFERENCE, "min_agreement": MIN_FP32_AGREEMENT}
    require_parity(parity, "the fp32 export", **limits)
    details: dict[str, Any] = {}
    if method != "fp32":
        quantize = {"int8-dynamic": source.dynamic, "int8-static": source.static}.get(method)
        if quantize is not None:
            graph, details = quantize(graph)
        graph, stored = quantize_weights(graph)
        if stored:
            details["stored"] = f"{len(stored)} weights as symmetric int8, a scale per channel or row"
        details["head"] = "fp32"
        graph, parity = _save_and_measure(source, graph, path, inputs)
        require_parity(parity, f"the {method} export", min_agreement=min_agreement)
    if not fits(graph):
        raise ExportError(
            f"the {method} weights take {weight_bytes(graph.graph):,} bytes, more than one ONNX file holds; "
            "try another --quantization"
        )
    return details | {"parity_with_torch": asdict(parity)}


def _save_and_measure(
    source: Source, graph: onnx.ModelProto, path: Path, inputs: Sequence[Ints]
) -> tuple[onnx.ModelProto, Parity]:
    graph = write(graph, path)
    return graph, measure_parity(source, OnnxModel(path, facts=source.facts, threads=1), inputs)


def _seal(folder: Path, manifest: Manifest) -> Manifest:
    """Write card, hashes and, last, the manifest; then load the bundle as its users will."""
    (folder / CARD_FILE).write_text(card(manifest), encoding="utf-8")
    sealed = manifest.model_copy(update={"files": {name: sha256(folder / name) for name in FILES}})
    write_manifest(folder, sealed)
    Tagger.load(folder, threads=1).tag(PARITY_TEXTS[0])
    return sealed
