from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from distill.sentences.checkpoints import read_checkpoint
from distill.sentences.model import SentenceEncoder
from export.encoder import quantized
from export.encoder_graph import encoder_graph, pooled_graph
from tests.encoders import SHAPES, random_encoder, save_sentence_transformer

LENGTHS = (9, 4, 1, 7)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models are slower on many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(5)
    mask = (torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None]).long()
    return torch.randint(1, 100, mask.shape) * mask, mask


def run(model: onnx.ModelProto, ids: torch.Tensor, mask: torch.Tensor) -> Any:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
    if len(session.get_inputs()) == 3:
        feeds["token_type_ids"] = np.zeros_like(feeds["input_ids"])
    return session.run(["embeddings"], feeds)[0]


def vectors(model: SentenceEncoder, ids: torch.Tensor, mask: torch.Tensor) -> Any:
    with torch.inference_mode():
        return model(ids, mask).numpy()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_graph_equals_torch(shape: str) -> None:
    model, (ids, mask) = random_encoder(shape), batch()
    want, got = vectors(model, ids, mask), run(encoder_graph(model), ids, mask)
    assert np.abs(want).max() > 0.3 and got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("method", ["fp32", "int8-rows", "int8-weights"])
@pytest.mark.parametrize("shape", ["bottleneck", "flat"])
def test_alone_equals_in_a_padded_batch(shape: str, method: str) -> None:
    graph, (ids, mask) = encoder_graph(random_encoder(shape)), batch()
    graph = graph if method == "fp32" else quantized(graph, method)[0]
    together = run(graph, ids, mask)
    for row, length in enumerate(LENGTHS):
        alone = run(graph, ids[row : row + 1, :length], mask[row : row + 1, :length])
        np.testing.assert_allclose(alone[0], together[row], atol=2e-6 * np.abs(together).max())


@pytest.mark.parametrize("method", ["int8-rows", "int8-weights"])
def test_int8_is_close(method: str) -> None:
    graph, (ids, mask) = encoder_graph(random_encoder("bottleneck")), batch()
    want, got = run(graph, ids, mask), run(quantized(graph, method)[0], ids, mask)
    cosines = (want * got).sum(1) / np.linalg.norm(want, axis=1) / np.linalg.norm(got, axis=1)
    assert cosines.min() > 0.97 and not np.array_equal(want, got)


def test_repeated_layers_have_their_weights_once() -> None:
    once, twice = (encoder_graph(random_encoder("bottleneck", repeats=repeats)) for repeats in (1, 2))

    def weights(graph: onnx.ModelProto) -> list[str]:
        return [tensor.name for tensor in graph.graph.initializer if np.prod(tensor.dims) > 8]

    assert weights(twice) == weights(once) and len(set(weights(twice))) == len(weights(twice)) > 20
    assert sorted(weights(quantized(twice, "int8-rows")[0])) == sorted(weights(quantized(once, "int8-rows")[0]))
    passes = {node.name.split(".")[0] for node in twice.graph.node if node.name.startswith("pass")}
    assert passes == {"pass0", "pass1"}
    ids, mask = batch()
    assert np.abs(run(once, ids, mask) - run(twice, ids, mask)).max() > 0.01


def test_int8_halves_and_more() -> None:
    graph = encoder_graph(random_encoder("bottleneck", vocabulary=5000))
    assert len(quantized(graph, "int8-rows")[0].SerializeToString()) < 0.4 * len(graph.SerializeToString())


def test_a_row_without_pieces_is_zeros_not_nan() -> None:
    ids = torch.zeros((2, 3), dtype=torch.int64)
    mask = torch.tensor([[1, 1, 1], [0, 0, 0]])
    got = run(encoder_graph(random_encoder("whole")), ids, mask)
    assert np.isfinite(got).all() and not got[1].any() and got[0].any()


def test_a_transformers_encoder_with_the_mean_behind_it(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(save_sentence_transformer(tmp_path / "bert"))
    ids, mask = batch()
    with torch.inference_mode():
        want = checkpoint.model(ids, mask).numpy()
    graph = pooled_graph(checkpoint.model.model, 32)
    assert [output.name for output in graph.graph.output] == ["embeddings"]
    np.testing.assert_allclose(run(graph, ids, mask), want, atol=1e-5)
    small = run(quantized(graph, "int8-rows")[0], ids, mask)
    alone = run(quantized(graph, "int8-rows")[0], ids[1:2, : LENGTHS[1]], mask[1:2, : LENGTHS[1]])
    np.testing.assert_allclose(alone[0], small[1], atol=2e-6 * np.abs(small).max())
