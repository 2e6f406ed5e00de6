"""Sentence encoders as ONNX graphs: `input_ids`, `attention_mask` (B, T) int64 -> `embeddings` (B, H) float32.

The output is the mean over the pieces that the mask shows, not normalised.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from distill.sentences.model import EncoderConfig, SentenceEncoder
from export.building import INPUTS, GraphBuilder
from export.errors import ExportError
from onoma.bundle import MODEL_FILE

EMBEDDINGS = "embeddings"
_STATES = "last_hidden_state"


def encoder_graph(model: SentenceEncoder) -> onnx.ModelProto:
    """fp32 graph of an encoder that `distill` trained. Layers that run several times have their weights once."""
    config = model.config
    graph = GraphBuilder({name: value.detach().cpu().numpy() for name, value in model.state_dict().items()})
    words = graph.node("Gather", graph.weight("embedding.weight"), "input_ids", output="words")
    if config.embedding is not None:
        words = graph.node(
            "MatMul", words, graph.constant("expand.weight", graph.state["expand.weight"].T), output="expand.product"
        )
    length = graph.node("Gather", graph.node("Shape", "input_ids", output="shape"), _at(graph, 1), output="length")
    places = graph.node("Range", _at(graph, 0), length, _at(graph, 1), output="places")
    positions = graph.node("Gather", graph.weight("positions.weight"), places, output="position_vectors")
    placed = graph.node("Add", words, positions, output="placed")
    states = graph.norm("norm", placed, epsilon=config.epsilon)
    keep = graph.node("Cast", "attention_mask", output="keep", to=TensorProto.FLOAT)
    if config.layers:
        penalty = _penalty(graph, keep)
        for turn in range(config.repeats):
            for layer in range(config.layers):
                states = _layer(graph, config, f"layers.{layer}", f"pass{turn}.layers.{layer}", states, penalty)
    _mean(graph, states, keep)
    return graph.finish("sentence-encoder", output=EMBEDDINGS, shape=["B", config.hidden])


def _at(graph: GraphBuilder, index: int) -> str:
    return graph.constant(("zero", "one")[index], index)


def _penalty(graph: GraphBuilder, keep: str) -> str:
    """(B, 1, 1, T) what is added to scores: 0, and at padding the lowest number there is."""
    apart = graph.node("Unsqueeze", keep, graph.constant("mask_axes", [1, 2]), output="keep.by_score")
    padding = graph.node("Sub", apart, graph.constant("unit", np.float32(1)), output="padding")
    return graph.node("Mul", padding, graph.constant("largest", np.finfo(np.float32).max), output="penalty")


def _layer(graph: GraphBuilder, config: EncoderConfig, weights: str, name: str, states: str, penalty: str) -> str:
    """One pass through a layer, whose weights are named `weights`, its nodes `name`."""
    width = config.hidden // config.heads
    apart = graph.constant("apart", [0, 0, config.heads, width])
    orders = {"query": [0, 2, 1, 3], "key": [0, 2, 3, 1], "value": [0, 2, 1, 3]}
    parts = {}
    for part, order in orders.items():
        flat = graph.linear(f"{weights}.{part}", states, output=f"{name}.{part}")
        heads = graph.node("Reshape", flat, apart, output=f"{name}.{part}.heads")
        parts[part] = graph.node("Transpose", heads, output=f"{name}.{part}.by_head", perm=order)
    products = graph.node("MatMul", parts["query"], parts["key"], output=f"{name}.products")  # (B, A, T, T)
    scale = graph.constant("scale", np.float32(width**-0.5))
    scores = graph.node("Mul", products, scale, output=f"{name}.scores")
    masked = graph.node("Add", scores, penalty, output=f"{name}.masked")
    shares = graph.node("Softmax", masked, output=f"{name}.shares", axis=-1)
    mixed = graph.node("MatMul", shares, parts["value"], output=f"{name}.mixed")
    ordered = graph.node("Transpose", mixed, output=f"{name}.mixed.by_piece", perm=[0, 2, 1, 3])
    joined = graph.constant("joined", [0, 0, config.hidden])
    together = graph.node("Reshape", ordered, joined, output=f"{name}.mixed.joined")
    seen = graph.linear(f"{weights}.output", together, output=f"{name}.output")
    attended = graph.node("Add", states, seen, output=f"{name}.attended")
    states = graph.norm(
        f"{weights}.attention_norm", attended, output=f"{name}.attention_norm", epsilon=config.epsilon
    )
    active = graph.gelu(graph.linear(f"{weights}.inner", states, output=f"{name}.inner"), name=f"{name}.gelu")
    changed = graph.node(
        "Add", states, graph.linear(f"{weights}.outer", active, output=f"{name}.outer"), output=f"{name}.changed"
    )
    return graph.norm(f"{weights}.norm", changed, output=f"{name}.norm", epsilon=config.epsilon)


def _mean(graph: GraphBuilder, states: str, keep: str) -> None:
    """The output: the mean of states (B, T, H) over what `keep` (B, T) shows; zeros where it shows nothing."""
    axis = graph.constant("time_axis", [1])
    row = graph.node("Unsqueeze", keep, axis, output="keep.row")  # (B, 1, T)
    total = graph.node("Squeeze", graph.node("MatMul", row, states, output="sum.row"), axis, output="sum")
    count = graph.node("ReduceSum", keep, axis, output="count", keepdims=1)
    some = graph.node("Max", count, graph.constant("unit", np.float32(1)), output="count.some")
    graph.node("Div", total, some, output=EMBEDDINGS)


def pooled_graph(model: Any, dimensions: int) -> onnx.ModelProto:
    """fp32 graph of a transformers encoder, by optimum's exporter, with the mean over its states behind it.

    :param model: in eval mode; `dimensions` is its width.
    :raises ExportError: if the architecture cannot be exported, or the graph has other inputs than a bundle's.
    """
    from optimum.exporters.onnx import onnx_export_from_model

    kind = model.config.model_type
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's; parity is measured afterwards
        logging.getLogger("optimum").setLevel(logging.ERROR)
        try:
            onnx_export_from_model(model, name, task="feature-extraction", do_validation=False)
        except (ValueError, KeyError, TypeError, NotImplementedError, RuntimeError) as error:
            raise ExportError(f"optimum cannot export {kind!r}: {error}") from error
        result = onnx.load(str(Path(name) / MODEL_FILE))
    inputs = {entry.name for entry in result.graph.input}
    more = inputs - {*INPUTS, "token_type_ids"}
    if more or "attention_mask" not in inputs or _STATES not in {entry.name for entry in result.graph.output}:
        raise ExportError(f"{kind!r} has inputs {sorted(inputs)}, a bundle gives input_ids and attention_mask")
    return _with_mean(result, dimensions)


def _with_mean(model: onnx.ModelProto, dimensions: int) -> onnx.ModelProto:
    """The graph with the mean over its states for its only output."""
    graph, behind = model.graph, GraphBuilder({})
    keep = behind.node("Cast", "attention_mask", output="keep", to=TensorProto.FLOAT)
    _mean(behind, _STATES, keep)
    taken = {name for node in graph.node for name in node.output} | {tensor.name for tensor in graph.initializer}
    renamed = {name: f"mean/{name}" for name in (*behind.tensors, *(node.output[0] for node in behind.nodes))}
    renamed[EMBEDDINGS] = EMBEDDINGS
    for node in behind.nodes:
        node.name = renamed[node.name]
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed[name] for name in node.output]
    if clash := taken & set(renamed.values()):
        raise ExportError(f"the graph already has {sorted(clash)}")
    graph.node.extend(behind.nodes)
    graph.initializer.extend(numpy_helper.from_array(value, renamed[name]) for name, value in behind.tensors.items())
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(EMBEDDINGS, TensorProto.FLOAT, ["B", dimensions]))
    return model
