"""Sentence encoders: from a checkpoint to a checked bundle that onoma's Embedder and the service read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from distill.sentences.checkpoints import EncoderCheckpoint, read_checkpoint
from distill.sentences.model import TRAINING_FILE, SentenceEncoder
from export.bundle import FILES, staged
from export.check import PARITY_TEXTS, full_window, require_size
from export.encoder_card import encoder_card
from export.encoder_check import (
    QualityLimits,
    check_quality,
    languages_to_check,
    measure_encoder,
    require_batch_free,
    require_exact,
)
from export.encoder_graph import encoder_graph, pooled_graph
from export.errors import ExportError
from export.integer_rows import Feeds, with_row_scales
from export.narrow_tables import BLOCK, with_narrow_tables
from export.onnx_files import fits, write
from export.quantize import quantize_weights
from export.source import compact_tokenizer
from onoma.bundle import (
    CARD_FILE,
    FORMAT_VERSION,
    MODEL_FILE,
    TOKENIZER_FILE,
    EncoderManifest,
    Quantization,
    TokenizerFacts,
    read_encoder_manifest,
    sha256,
    write_manifest,
)
from onoma.embedder import Embedder, PieceEncoder
from onoma.model import OnnxSentenceModel, padded
from onoma.word_table import WORDS_FILE, WordTable

METHODS = ("int8-rows", "int4-tables", "int8-weights", "fp32")
_FP32_FILE = "fp32.onnx"


def export_encoder(
    folder: str | Path,
    target: str | Path,
    *,
    quantization: str = "int8-rows",
    name: str | None = None,
    languages: Sequence[str] = (),
    licence: str = "not stated",
    training: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    max_length: int = 256,
    overlap: int = 48,
    texts_for_parity: Sequence[str] = PARITY_TEXTS,
    limits: QualityLimits | None = None,
    check: bool = True,
    max_bytes: int | None = None,
) -> EncoderManifest:
    """Export a sentence encoder to a bundle at `target`, which is replaced only when all is well.

    :param folder: a checkpoint that `distill` saved, or a sentence-transformers one with the mean for pooling.
    :param quantization: "int8-rows" (int8 arithmetic, a scale for each row of activations), "int4-tables" (the same,
        and embedding tables in 4 bits), "int8-weights" (int8
        storage, fp32 arithmetic), or "fp32". An answer never depends on batch-mates.
    :param name: defaults to the target folder's name.
    :param languages: those it was trained on; none given: those that the checkpoint's training.json states.
    :param max_length: most pieces in a window, prefix and suffix included; cut down to what the model takes.
    :param overlap: fewest pieces that neighbouring windows share; cut down to a quarter of a window.
    :param texts_for_parity: sentences to compare the exported model with the original on.
    :param limits: how far the quantized model may fall behind.
    :param check: whether to compare its Spearman on STS-B dev with fp32's, which needs the data.
    :param max_bytes: largest size of the whole bundle.
    :raises ExportError: if it cannot be exported, is not faithful or not small enough, or an option is wrong.
    """
    target, limits = Path(target), limits or QualityLimits()
    if quantization not in METHODS:
        raise ExportError(f"quantization must be one of {', '.join(METHODS)}, got {quantization!r}")
    with staged(target) as bundle:
        source, origin = _read(Path(folder))
        max_length = min(max_length, source.longest)
        room = max_length - len(source.facts.prefix_ids) - len(source.facts.suffix_ids)
        if max_length < 8 or overlap < 0:
            raise ExportError(f"max_length must be at least 8 and overlap at least 0, got {max_length} and {overlap}")
        overlap = min(overlap, room // 4)
        languages = tuple(languages) or tuple(origin.get("languages", ()))
        checked = languages_to_check(languages) if check and quantization != "fp32" else ()
        pieces = source.tokenizer
        if isinstance(pieces, WordTable):
            pieces.save(bundle / WORDS_FILE)
            pieces = pieces.tokenizer
        (bundle / TOKENIZER_FILE).write_text(compact_tokenizer(pieces), encoding="utf-8")
        encoder = PieceEncoder(source.tokenizer, facts=source.facts, limit=room, overlap=overlap)
        details = _write_model(
            source,
            bundle,
            encoder,
            texts_for_parity,
            quantization=quantization,
            limits=limits,
            checked=checked,
        )
        manifest = EncoderManifest(
            format_version=FORMAT_VERSION,
            name=name or target.resolve().name,
            architecture=source.architecture,
            parameters=source.parameters,
            dimensions=source.dimensions,
            tokenizer=source.facts,
            max_length=max_length,
            overlap=overlap,
            languages=languages,
            licence=licence,
            quantization=Quantization(method=quantization, details=details),
            training={**origin, **(training or {})},
            metrics=dict(metrics or {}),
            created=datetime.now(UTC).date().isoformat(),
            files={},
        )
        sealed = _seal(bundle, manifest)
        require_size(bundle, max_bytes)
    return sealed


def update_encoder(
    target: str | Path, *, metrics: Mapping[str, Any] | None = None, training: Mapping[str, Any] | None = None
) -> EncoderManifest:
    """Put metrics or training facts into an encoder's bundle, and rewrite its card.

    Metrics replace the old ones as a whole, training adds to the old entries; what is not given stays.

    :raises BundleError: if there is no sound encoder's bundle at `target`; it is then unchanged.
    """
    target = Path(target)
    old = read_encoder_manifest(target)
    changes: dict[str, Any] = {"training": {**old.training, **(training or {})}}
    if metrics is not None:
        changes["metrics"] = dict(metrics)
    with staged(target) as folder:
        for name in old.files:
            shutil.copy2(target / name, folder / name)
        return _seal(folder, old.model_copy(update=changes))


def _read(folder: Path) -> tuple[EncoderCheckpoint, dict[str, Any]]:
    """The checkpoint, and what is known of how it came about."""
    try:
        source = read_checkpoint(folder)
    except (ValueError, FileNotFoundError) as error:
        raise ExportError(str(error)) from error
    pieces = source.tokenizer
    words = pieces.words.values() if isinstance(pieces, WordTable) else ()
    tokenizer = pieces.tokenizer if isinstance(pieces, WordTable) else pieces
    highest = max([*tokenizer.get_vocab(with_added_tokens=True).values(), *words], default=-1)
    if highest >= source.rows:
        raise ExportError(f"{folder}: the tokenizer has piece ids up to {highest}, the model {source.rows} embeddings")
    facts = folder / TRAINING_FILE
    if facts.is_file():
        origin: dict[str, Any] = json.loads(facts.read_text(encoding="utf-8"))
        return source, origin
    return source, {"checkpoint": folder.resolve().name}


def _graph(source: EncoderCheckpoint) -> onnx.ModelProto:
    if isinstance(source.model, SentenceEncoder):
        return encoder_graph(source.model)
    return pooled_graph(source.model.model, source.dimensions)


def _write_model(
    source: EncoderCheckpoint,
    bundle: Path,
    encoder: PieceEncoder,
    texts: Sequence[str],
    *,
    quantization: str,
    limits: QualityLimits,
    checked: Sequence[str],
) -> dict[str, Any]:
    """Write the ONNX file; first in fp32, which must equal torch up to the longest input, then quantized."""
    inputs = [ids for pieces in encoder.encode(texts) for ids in pieces.inputs]
    inputs += full_window(inputs, encoder.limit)
    reference = source.embedder().model
    graph = _graph(source)
    whole = bundle / (MODEL_FILE if quantization == "fp32" else _FP32_FILE)
    graph = write(graph, whole)
    exact = _embedder(source, encoder, whole)
    parity = measure_encoder(reference, exact.model, inputs)
    require_exact(parity)
    details: dict[str, Any] = {}
    if quantization != "fp32":
        graph, details = quantized(graph, quantization, [_feeds(graph, ids, source.facts) for ids in inputs])
        graph = write(graph, bundle / MODEL_FILE)
        small = _embedder(source, encoder, bundle / MODEL_FILE)
        parity = measure_encoder(reference, small.model, inputs)
        require_batch_free(parity, f"the {quantization} export")
        details |= {"quality": check_quality(exact, small, texts=texts, languages=checked, limits=limits)}
        del exact  # its file goes
        for path in bundle.glob(f"{_FP32_FILE}*"):
            path.unlink()
    if not fits(graph):
        raise ExportError(f"the {quantization} weights take more than one ONNX file holds; try another --quantization")
    return details | {"parity_with_torch": asdict(parity)}


def _embedder(source: EncoderCheckpoint, encoder: PieceEncoder, path: Path) -> Embedder:
    model = OnnxSentenceModel(path, facts=source.facts, dimensions=source.dimensions)
    return Embedder(encoder=encoder, model=model, dimensions=source.dimensions)


def _feeds(graph: onnx.ModelProto, ids: NDArray[np.int64], facts: TokenizerFacts) -> Feeds:
    """The graph's inputs for one window (T,)."""
    row, mask, _ = padded([ids], facts)
    found = {"input_ids": row, "attention_mask": mask, "token_type_ids": np.zeros_like(row)}
    return {entry.name: found[entry.name] for entry in graph.graph.input}


def quantized(
    graph: onnx.ModelProto, method: str, samples: Sequence[Feeds] = ()
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """An encoder's graph by one of the METHODS with integers, and how it stores and computes; see `with_row_scales`."""
    details: dict[str, Any] = {}
    if method in ("int8-rows", "int4-tables"):
        graph, details = with_row_scales(graph, samples)
    if method == "int4-tables":
        graph, narrow = with_narrow_tables(graph)
        details["tables"] = f"{len(narrow)} of embeddings in 4 bits, a float16 scale for each {BLOCK} numbers"
    graph, stored = quantize_weights(graph, kept=())
    if stored:
        details["stored"] = f"{len(stored)} weights as symmetric int8, a scale per channel or row"
    return graph, details


def _seal(folder: Path, manifest: EncoderManifest) -> EncoderManifest:
    """Write card, hashes and, last, the manifest; then load the bundle as its users will."""
    (folder / CARD_FILE).write_text(encoder_card(manifest), encoding="utf-8")
    names = [*FILES, *([WORDS_FILE] if (folder / WORDS_FILE).is_file() else [])]
    sealed = manifest.model_copy(update={"files": {name: sha256(folder / name) for name in names}})
    write_manifest(folder, sealed)
    Embedder.load(folder, threads=1).embed(PARITY_TEXTS[:1])
    return sealed
