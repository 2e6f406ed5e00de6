"""Students as ONNX graphs, built node by node.

Each node has the name of its output, each weight that of its torch parameter (less `encoder.`) where the graph uses it
whole. Matrices are transposed, as MatMul wants them.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from distill.encoders import ConvEncoder
from distill.students import Student, StudentConfig, folded
from export.building import GraphBuilder
from export.quantize import LOGITS


def student_graph(model: Student) -> onnx.ModelProto:
    """fp32 graph `input_ids`, `attention_mask` (B, T) int64 -> `logits` (B, T, C) float32.

    Padding never changes the logits of real pieces. A linear projection is folded into the head.
    """
    model = folded(model)
    config = model.config
    graph = GraphBuilder({name.removeprefix("encoder."): value.numpy() for name, value in model.state_dict().items()})
    states = {"bilstm": _bilstm, "conv": _conv, "transformer": _transformer}[config.kind](graph, config)
    if model.projection is not None:
        states = graph.gelu(graph.linear("projection", states))
    scores = graph.node("MatMul", states, graph.constant("head.weight", graph.state["head.weight"].T), output="scores")
    graph.node("Add", scores, graph.weight("head.bias"), output=LOGITS)
    return graph.finish(config.kind, output=LOGITS, shape=["B", "T", len(config.labels)])


def _bilstm(graph: GraphBuilder, config: StudentConfig) -> str:
    """States (B, T, 2H). The LSTM gets each row's length from the mask."""
    axis = graph.constant("time_axis", [1])
    summed = graph.node("ReduceSum", "attention_mask", axis, output="lengths64", keepdims=0)
    lengths = graph.node("Cast", summed, output="lengths", to=TensorProto.INT32)
    ids = graph.node("Transpose", "input_ids", output="ids_by_time", perm=[1, 0])  # onnxruntime wants time first
    vectors = graph.node("Gather", graph.weight("embedding.weight"), ids, output="vectors")  # (T, B, E)
    biases = np.concatenate([_directions(graph.state, "bias_ih"), _directions(graph.state, "bias_hh")], axis=1)
    states = graph.node(
        "LSTM",
        vectors,
        graph.constant("lstm.W", _directions(graph.state, "weight_ih")),
        graph.constant("lstm.R", _directions(graph.state, "weight_hh")),
        graph.constant("lstm.B", biases),
        lengths,
        output="states_by_time",  # (T, 2, B, H)
        direction="bidirectional",
        hidden_size=config.hidden,
    )
    apart = graph.node("Transpose", states, output="states_apart", perm=[2, 0, 1, 3])
    return graph.node("Reshape", apart, graph.constant("joined", [0, 0, 2 * config.hidden]), output="states")


def _directions(state: dict[str, NDArray[np.float32]], name: str) -> NDArray[np.float32]:
    """(2, 4H, ...) of both directions; torch orders the gates i, f, g, o and ONNX i, o, f, g."""
    both = []
    for suffix in ("l0", "l0_reverse"):
        i, f, g, o = np.split(state[f"lstm.{name}_{suffix}"], 4)
        both.append(np.concatenate([i, o, f, g]))
    return np.stack(both)


def _conv(graph: GraphBuilder, config: StudentConfig) -> str:
    """States (B, T, H). The mask is applied before each convolution.

    Between embedding and head all is (B, 1, T, H). Of the forms measured (Conv over (B, H, T), shifted slices times
    taps, one Gather of all neighbours) this costs least: onnxruntime merges the transpositions to (B, H, 1, T) and
    back with the change to and from the blocked layout that its depthwise Conv is fast in. Value and gate come from
    a MatMul each, which saves the Split. (As 1x1 Conv they would take 3 to 9 % less, but have no int8 arithmetic.)
    """
    height = graph.constant("height_axis", [1])
    ids = graph.node("Unsqueeze", "input_ids", height, output="ids")  # (B, 1, T)
    vectors = graph.node("Gather", graph.weight("embedding.weight"), ids, output="vectors")
    states = graph.linear("input", vectors)
    real = graph.node("Unsqueeze", "attention_mask", graph.constant("mask_axes", [1, 3]), output="real")
    keep = graph.node("Cast", real, output="keep", to=TensorProto.FLOAT)  # (B, 1, T, 1)
    dilations = ConvEncoder.DILATIONS
    for layer in range(config.layers):
        states = _gated_block(graph, f"blocks.{layer}", states, keep, dilations[layer % len(dilations)])
    return graph.node("Squeeze", states, height, output="states")


def _gated_block(graph: GraphBuilder, name: str, states: str, keep: str, dilation: int) -> str:
    taps = graph.state[f"{name}.taps"]
    kernel, width = taps.shape
    reach = dilation * (kernel // 2)
    kept = graph.node("Mul", states, keep, output=f"{name}.kept")
    seen = graph.node(
        "Conv",
        graph.node("Transpose", kept, output=f"{name}.channels", perm=[0, 3, 1, 2]),
        graph.constant(f"{name}.taps", taps.T[:, None, None]),
        output=f"{name}.seen",
        group=width,
        kernel_shape=[1, kernel],
        dilations=[1, dilation],
        pads=[0, reach, 0, reach],
    )
    pieces = graph.node("Transpose", seen, output=f"{name}.pieces", perm=[0, 2, 3, 1])
    weight, bias = graph.state[f"{name}.mix.weight"], graph.state[f"{name}.mix.bias"]
    value = graph.linear(f"{name}.mix.value", pieces, weight[:width], bias[:width])
    gate = graph.linear(f"{name}.mix.gate", pieces, weight[width:], bias[width:])
    gated = graph.node("Mul", value, graph.node("Sigmoid", gate, output=f"{name}.gate"), output=f"{name}.gated")
    return graph.norm(f"{name}.norm", graph.node("Add", states, gated, output=f"{name}.sum"))


def _transformer(graph: GraphBuilder, config: StudentConfig) -> str:
    """States (B, T, H). Padding gets the lowest score of all before each softmax, as in `TransformerEncoder`."""
    zero, one = graph.constant("zero", 0), graph.constant("one", 1)
    length = graph.node("Gather", graph.node("Shape", "input_ids", output="shape"), one, output="length")
    places = graph.node("Range", zero, length, one, output="places")  # beyond the last position, a run fails
    vectors = graph.node("Gather", graph.weight("embedding.weight"), "input_ids", output="vectors")
    positions = graph.node("Gather", graph.weight("positions"), places, output="position_vectors")
    states = graph.node("Add", graph.linear("input", vectors), positions, output="placed")
    real = graph.node("Unsqueeze", "attention_mask", graph.constant("mask_axes", [1, 2]), output="real")
    keep = graph.node("Cast", real, output="keep", to=TensorProto.FLOAT)  # (B, 1, 1, T)
    padding = graph.node("Sub", keep, graph.constant("unit", np.float32(1)), output="padding")  # 0, at padding -1
    largest = graph.constant("largest", np.finfo(np.float32).max)
    penalty = graph.node("Mul", padding, largest, output="penalty")
    for layer in range(config.layers):
        states = _attention_block(graph, f"blocks.{layer}", states, penalty, config)
    return graph.norm("norm", states)


def _attention_block(graph: GraphBuilder, name: str, states: str, penalty: str, config: StudentConfig) -> str:
    """x <- x + attention(norm1(x)), then x <- x + linear2(relu(linear1(norm2(x))))."""
    width = config.hidden // config.heads
    apart = graph.constant("apart", [0, 0, config.heads, width])
    joined = graph.constant("joined", [0, 0, config.hidden])
    scale = graph.constant("scale", np.float32(width**-0.5))
    normed = graph.norm(f"{name}.norm1", states)
    weights = np.split(graph.state[f"{name}.self_attn.in_proj_weight"], 3)
    biases = np.split(graph.state[f"{name}.self_attn.in_proj_bias"], 3)
    orders = {"query": [0, 2, 1, 3], "key": [0, 2, 3, 1], "value": [0, 2, 1, 3]}
    parts = {}
    for (part, order), weight, bias in zip(orders.items(), weights, biases, strict=True):
        flat = graph.linear(f"{name}.self_attn.{part}", normed, weight, bias)
        heads = graph.node("Reshape", flat, apart, output=f"{name}.{part}.heads")
        parts[part] = graph.node("Transpose", heads, output=f"{name}.{part}.by_head", perm=order)
    products = graph.node("MatMul", parts["query"], parts["key"], output=f"{name}.products")  # (B, A, T, T)
    scores = graph.node("Mul", products, scale, output=f"{name}.scores")
    masked = graph.node("Add", scores, penalty, output=f"{name}.masked")
    shares = graph.node("Softmax", masked, output=f"{name}.shares", axis=-1)
    mixed = graph.node("MatMul", shares, parts["value"], output=f"{name}.mixed")
    ordered = graph.node("Transpose", mixed, output=f"{name}.mixed.by_piece", perm=[0, 2, 1, 3])
    together = graph.node("Reshape", ordered, joined, output=f"{name}.mixed.joined")
    attended = graph.linear(f"{name}.self_attn.out_proj", together)
    states = graph.node("Add", states, attended, output=f"{name}.attended")
    inner = graph.linear(f"{name}.linear1", graph.norm(f"{name}.norm2", states))
    active = graph.node("Relu", inner, output=f"{name}.active")
    return graph.node("Add", states, graph.linear(f"{name}.linear2", active), output=f"{name}.sum")
