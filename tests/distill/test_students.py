from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from distill.dataset import LABELS
from distill.students import (
    BiLstmTagger,
    StudentConfig,
    init_embedding_by_svd,
    load_student,
    parameter_count,
    save_student,
)


def student(vocabulary: int = 50, embedding: int = 6, hidden: int = 5) -> BiLstmTagger:
    torch.manual_seed(3)
    return BiLstmTagger(StudentConfig(vocabulary, embedding, hidden, LABELS.tags)).eval()


@torch.no_grad()
def test_padding_never_changes_the_logits() -> None:
    model = student()
    rows = [torch.randint(3, 50, (length,)) for length in (4, 9, 1)]
    ids, mask = torch.zeros(3, 12, dtype=torch.long), torch.zeros(3, 12, dtype=torch.long)
    for at, row in enumerate(rows):
        ids[at, : len(row)], mask[at, : len(row)] = row, 1
    together = model(ids, mask)
    assert together.shape == (3, 12, 7)
    for at, row in enumerate(rows):
        alone = model(row[None], torch.ones_like(row[None]))[0]
        torch.testing.assert_close(together[at, : len(row)], alone, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("v", "e", "h"), [(50, 6, 5), (48_000, 96, 200)])
def test_the_number_of_parameters(v: int, e: int, h: int) -> None:
    model = student(v, e, h)
    lstm = 2 * 4 * h * (e + h + 2)
    assert parameter_count(model) == v * e + lstm + (2 * h + 1) * 7


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = student()
    save_student(model, tmp_path / "student")
    assert sorted(path.name for path in (tmp_path / "student").iterdir()) == ["model.safetensors", "student.json"]
    again = load_student(tmp_path / "student")
    assert again.config == model.config and not again.training
    ids = torch.randint(3, 50, (2, 8))
    assert torch.equal(again(ids, torch.ones_like(ids)), model(ids, torch.ones_like(ids)))
    assert json.loads((tmp_path / "student/student.json").read_text(encoding="utf-8"))["labels"] == list(LABELS.tags)


def test_the_start_is_the_best_approximation_of_the_teachers_embeddings() -> None:
    torch.manual_seed(0)
    teacher = torch.randn(50, 12) @ torch.diag(torch.linspace(3, 0.1, 12)) @ torch.randn(12, 12)
    teacher[0] = 0  # the padding, as in a trained teacher
    model = student(embedding=6)
    init_embedding_by_svd(model, teacher)
    got = model.embedding.weight.detach()
    u, s, _ = torch.linalg.svd(teacher, full_matrices=False)
    want = u[:, :6] * s[:6]
    want = want / want.norm(dim=1).mean()
    # Rotations keep inner products, and nothing else does.
    torch.testing.assert_close(got @ got.T, want @ want.T, atol=1e-4, rtol=1e-3)
    assert torch.equal(got[0], torch.zeros(6))
    assert float(got.norm(dim=1).mean()) == pytest.approx(1, abs=1e-4)


def test_a_narrower_teacher_fills_what_it_can() -> None:
    model = student(embedding=6)
    rest = model.embedding.weight.detach()[1:, 4:].clone()
    teacher = torch.randn(50, 4)
    init_embedding_by_svd(model, teacher)
    got = model.embedding.weight.detach()
    assert torch.equal(got[1:, 4:], rest)
    left, right = got[1:, :4] @ got[1:, :4].T, teacher[1:] @ teacher[1:].T
    torch.testing.assert_close(left / left.norm(), right / right.norm(), atol=1e-5, rtol=1e-3)


def test_vocabularies_must_be_the_same() -> None:
    with pytest.raises(ValueError, match="share one vocabulary: 51 and 50 pieces"):
        init_embedding_by_svd(student(), torch.randn(51, 12))
