"""How long one run of an ONNX model takes, for reports that compare shapes of students."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx

from distill.files import write_json
from distill.students import folded, load_student
from export.errors import ExportError
from export.graphs import student_graph
from export.shapes import architecture
from onoma.bundle import MODEL_FILE, TokenizerFacts
from onoma.model import OnnxModel

_WARM_UP = 3
_SIZES = {"1x32": (1, 32), "32x32": (32, 32)}  # the paper's: texts in a batch, pieces in a text


def latency(model: bytes | Path, *, batch: int, length: int, threads: int = 1, runs: int = 30) -> float:
    """Median milliseconds of one run on `batch` windows of `length` random pieces, none of them padding.

    It runs as onoma serves it (`onoma.model.OnnxModel`). To compare models, call this for each in turn, several times:
    a machine is slower at times.

    :param model: an ONNX model `input_ids`, `attention_mask` (B, T) -> `logits` (B, T, C): its file, or the content.
    :param runs: timed runs, after 3 others.
    :raises ExportError: if a number is under 1, or the model has no embedding table.
    :raises BundleError: if onnxruntime cannot load it.
    """
    if min(batch, length, threads, runs) < 1:
        raise ExportError(f"batch, length, threads, runs must be at least 1: {batch}, {length}, {threads}, {runs}")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / MODEL_FILE if isinstance(model, bytes) else model
        if isinstance(model, bytes):
            path.write_bytes(model)
        loaded = OnnxModel(path, facts=TokenizerFacts(pad_id=0), threads=threads)
        pieces = _vocabulary(onnx.load(str(path)))
    rng = np.random.default_rng(0)
    times = []
    for _ in range(_WARM_UP + runs):
        inputs = list(rng.integers(pieces, size=(batch, length), dtype=np.int64))
        start = time.perf_counter()
        loaded.infer(inputs)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[_WARM_UP:])


def measure_run(run: Path, store: Path, *, threads: int = 1, rounds: int = 5) -> dict[str, dict[str, float]]:
    """Latency of every student in a run of `onoma distill run`, written to its latency.json for the report.

    Students of one shape are measured once; shapes take turns, `rounds` times, and the median counts.

    :return: milliseconds by student's folder name, then by batch and length (`1x32`, `32x32`).
    :raises ExportError: if the run has no results, or a student is no longer in the store.
    """
    path = run / "results.json"
    if not path.is_file():
        raise ExportError(f"no results.json in {run}: `onoma distill run` writes it")
    names = {one["student"] for one in json.loads(path.read_text(encoding="utf-8"))["runs"] if one["student"]}
    graphs: dict[str, bytes] = {}
    shapes: dict[str, str] = {}
    for name in sorted(names):
        if not (store / name).is_dir():
            raise ExportError(f"student {name} is not in {store}: name the --store of the run")
        model = folded(load_student(store / name))
        shapes[name] = architecture(model.config)
        graphs.setdefault(shapes[name], student_graph(model).SerializeToString())
    times: dict[str, dict[str, list[float]]] = {shape: {size: [] for size in _SIZES} for shape in graphs}
    for _ in range(rounds):
        for shape, graph in graphs.items():
            for size, (batch, length) in _SIZES.items():
                times[shape][size].append(latency(graph, batch=batch, length=length, threads=threads, runs=10))
    medians = {shape: {size: statistics.median(found) for size, found in own.items()} for shape, own in times.items()}
    measured = {name: medians[shape] for name, shape in shapes.items()}
    write_json(run / "latency.json", measured)
    return measured


def _vocabulary(model: onnx.ModelProto) -> int:
    """Rows of the table that the pieces are looked up in, before anything is computed of them."""
    rows = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
    ids = {"input_ids"}
    for node in model.graph.node:
        if node.op_type == "Gather" and node.input[0] in rows and node.input[1] in ids:
            return int(rows[node.input[0]])
        if node.op_type in ("Transpose", "Unsqueeze") and node.input[0] in ids:
            ids.add(node.output[0])
    raise ExportError("the model looks up no pieces in a table, so it does not tell how many it knows")
