from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from distill.crf import best_tags
from distill.dataset import LABELS
from distill.students import (
    CONFIG_FILE,
    Decoder,
    Output,
    Student,
    StudentConfig,
    folded,
    load_student,
    parameter_count,
    save_student,
)

# Every kind, with and without a projection; two layers, so that what leaks from one into the next would show.
SHAPE = StudentConfig(vocabulary=50, embedding=6, hidden=8, labels=LABELS.tags, layers=2, kernel=3, heads=2)
SHAPES = {
    f"{kind} {projection} {activation}": replace(SHAPE, kind=kind, projection=projection, activation=activation)
    for kind in ("bilstm", "conv", "transformer")
    for projection, activation in ((0, "linear"), (20, "linear"), (20, "gelu"))
}
EVERY = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
# Table 16 of XtremeDistil: E, H, millions of parameters with 88.5K pieces, a teacher of width 768 and 11 tags.
TABLE_16 = [
    (300, 600, 31.8), (200, 600, 22.5), (300, 400, 29.4), (200, 400, 20.2), (100, 600, 13.1), (100, 400, 11.1),
    (50, 600, 8.5), (300, 200, 27.7), (200, 200, 18.7), (50, 400, 6.5), (100, 200, 9.6), (50, 200, 5.1),
    (300, 100, 27), (200, 100, 18.1), (100, 100, 9.2), (50, 100, 4.7),
]  # fmt: skip


def build(shape: StudentConfig = SHAPE) -> Student:
    """In eval mode, with weights everywhere: a fresh bias may be zero."""
    torch.manual_seed(3)
    model = Student(shape).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name != "embedding.weight":
                weight.add_(torch.randn_like(weight) * 0.1)
    return model


def padded(rows: list[Tensor], width: int, *, filler: int = 0) -> tuple[Tensor, Tensor]:
    """Ids and mask (B, width) of rows of different lengths."""
    ids, mask = torch.full((len(rows), width), filler), torch.zeros(len(rows), width, dtype=torch.long)
    for at, row in enumerate(rows):
        ids[at, : len(row)], mask[at, : len(row)] = row, 1
    return ids, mask


def rows_of(*lengths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(3, 50, (length,), generator=generator) for length in lengths]


@EVERY
@pytest.mark.parametrize("grad", [False, True])  # without gradients a Transformer takes another path through torch
def test_padding_never_changes_the_logits(shape: StudentConfig, grad: bool) -> None:
    model = build(shape)
    rows = rows_of(4, 9, 1, 12)
    with torch.set_grad_enabled(grad):
        for width, filler in ((12, 0), (17, 0), (17, 7)):
            together = model(*padded(rows, width, filler=filler))
            assert together.shape == (4, width, 7)
            for at, row in enumerate(rows):
                alone = model(row[None], torch.ones_like(row[None]))[0]
                torch.testing.assert_close(together[at, : len(row)], alone, atol=1e-6, rtol=1e-5)


@EVERY
def test_every_piece_sees_its_neighbours_on_both_sides(shape: StudentConfig) -> None:
    model = build(shape)
    ids = torch.stack(rows_of(7, 7))
    ids[1] = ids[0]
    ids[1, 3] = ids[0, 3] % 40 + 5
    one, other = model(ids, torch.ones_like(ids))
    assert all(not torch.allclose(one[at], other[at], atol=1e-5) for at in (2, 3, 4))


@EVERY
def test_the_representation_is_what_the_head_reads(shape: StudentConfig) -> None:
    model = build(shape)
    ids = torch.stack(rows_of(5, 5))
    logits, states, *chain = model(ids, torch.ones_like(ids), full=True)
    assert torch.equal(logits, model(ids, torch.ones_like(ids))) and chain == [None, None, None]
    assert states.shape == (2, 5, shape.projection or model.encoder.width)
    torch.testing.assert_close(model.head(states), logits)
    if shape.activation == "gelu" and shape.projection:
        assert bool((states > -0.18).all()), "a GELU is never below -0.17"


@EVERY
def test_folding_gives_the_same_function_without_a_linear_projection(shape: StudentConfig) -> None:
    model = build(shape)
    smaller = folded(model)
    assert not smaller.training
    ids, mask = padded(rows_of(4, 9, 1, 12), 12)
    torch.testing.assert_close(smaller(ids, mask), model(ids, mask), atol=1e-5, rtol=1e-5)
    if shape.projection and shape.activation == "linear":
        assert smaller.projection is None and smaller.config == replace(shape, projection=0)
        width = model.encoder.width
        assert parameter_count(model) - parameter_count(smaller) == (width + 1) * 20 + (20 - width) * 7
    else:
        assert smaller is model


@EVERY
def test_saved_and_loaded(shape: StudentConfig, tmp_path: Path) -> None:
    model = build(shape)
    save_student(model, tmp_path / "student")
    assert sorted(path.name for path in (tmp_path / "student").iterdir()) == ["model.safetensors", "student.json"]
    again = load_student(tmp_path / "student")
    assert again.config == model.config and not again.training
    ids, mask = padded(rows_of(3, 8), 8)
    assert torch.equal(again(ids, mask), model(ids, mask))
    assert json.loads((tmp_path / "student/student.json").read_text(encoding="utf-8"))["labels"] == list(LABELS.tags)


@pytest.mark.parametrize(("e", "h", "millions"), TABLE_16)
def test_the_number_of_parameters_is_that_of_the_papers_table(e: int, h: int, millions: float) -> None:
    v, d, c = 88_500, 768, 11
    tags = tuple(f"B-{at}" for at in range(c))
    with torch.device("meta"):
        model = Student(StudentConfig(v, e, h, tags, projection=d))
    formula = v * e + 8 * h * (e + h + 2) + (2 * h + 1) * d + (d + 1) * c
    assert parameter_count(model) == formula
    keras = formula - 8 * h  # torch's LSTM has two vectors of biases, that of the paper one
    assert round(keras / 1e6, 1) == millions
    if (e, h) in ((300, 600), (50, 200)):  # the two that the paper names in its text
        assert round(formula / 1e6, 1) == millions


@pytest.mark.parametrize(("v", "e", "h"), [(50, 6, 5), (48_000, 96, 200)])
def test_the_number_of_parameters_without_a_projection(v: int, e: int, h: int) -> None:
    lstm = 8 * h * (e + h + 2)
    assert parameter_count(Student(StudentConfig(v, e, h, LABELS.tags))) == v * e + lstm + (2 * h + 1) * 7


@pytest.mark.parametrize("decoder", ["softmax", "crf"])
def test_layers_stand_from_the_top_down(decoder: Decoder) -> None:
    names = [name for name, _ in build(replace(SHAPE, projection=20, decoder=decoder)).layers()]
    assert names == ["head", "projection", "encoder", "embedding"]
    model = build(replace(SHAPE, decoder=decoder))
    assert [name for name, _ in model.layers()] == ["head", "encoder", "embedding"]
    owned = [parameter for _, layer in model.layers() for parameter in layer.parameters()]
    assert {id(one) for one in owned} == {id(one) for one in model.parameters()}
    model.layers()[0][1].requires_grad_(False)
    resting = {name.partition(".")[0] for name, weight in model.named_parameters() if not weight.requires_grad}
    assert resting == {"head", "crf"} - ({"crf"} if decoder == "softmax" else set()), "a CRF is part of the head"


CRF = replace(SHAPE, decoder="crf", projection=20)


def test_a_crf_has_a_chain_on_top_of_its_logits() -> None:
    model, plain = build(CRF), build(replace(CRF, decoder="softmax"))
    ids, mask = padded(rows_of(4, 9), 12)
    found: Output = model(ids, mask, full=True)
    assert model.crf is not None and found.transitions is not None and found.start is not None
    assert torch.equal(found.transitions, model.crf.transitions) and found.transitions.shape == (7, 7)
    assert torch.equal(found.start, model.crf.start) and torch.equal(found[-1], model.crf.end)
    assert not torch.equal(model.crf.start, model.crf.end) and found.start.shape == (7,)
    assert all(part.grad_fn is not None for part in found[2:]), "bare parameters look unused to several processes"
    torch.testing.assert_close(model(ids, mask), plain(ids, mask))  # what is served is the emissions
    assert parameter_count(model) - parameter_count(plain) == 7 * 7 + 7 + 7
    chain, bare = found.chain(mask.bool()), plain(ids, mask, full=True).chain()
    assert chain.transitions is found.transitions and chain.mask is not None and bare.independent
    assert set(best_tags(chain)[0, 4:].tolist()) == {0}, "nothing is found behind a sentence's end"


def test_a_crf_is_folded_and_saved_with_its_transitions(tmp_path: Path) -> None:
    model = build(CRF)
    smaller = folded(model)
    save_student(smaller, tmp_path)
    again = load_student(tmp_path)
    assert again.config == smaller.config == replace(CRF, projection=0)
    ids, mask = padded(rows_of(5, 5), 5)
    for one, other, saved in zip(model(ids, mask, full=True)[2:], smaller.crf(), again.crf(), strict=True):  # type: ignore[misc]
        assert torch.equal(one, other) and torch.equal(one, saved)
    torch.testing.assert_close(again(ids, mask), model(ids, mask), atol=1e-5, rtol=1e-5)


def test_what_was_saved_before_there_were_crfs_is_a_softmax_student(tmp_path: Path) -> None:
    save_student(build(), tmp_path)
    config = json.loads((tmp_path / CONFIG_FILE).read_text(encoding="utf-8"))
    assert config.pop("decoder") == "softmax"
    (tmp_path / CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
    assert load_student(tmp_path).config == SHAPE and load_student(tmp_path).crf is None


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="bilstm, conv or transformer, got 'gru'"):
        Student(replace(SHAPE, kind="gru"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the kernel must be odd, got 4"):
        Student(replace(SHAPE, kind="conv", kernel=4))
