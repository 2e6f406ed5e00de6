from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer
from torch import Tensor
from toyteachers import bert_pieces

from distill.dataset import LABELS
from distill.embeddings import Start, reduce, rows_for, start_embedding
from distill.students import Student, StudentConfig
from distill.tokenizer import MARK, build_tokenizer


def student(embedding: int = 6) -> Student:
    torch.manual_seed(3)
    return Student(StudentConfig(50, embedding, 5, LABELS.tags)).eval()


def teacher_matrix() -> Tensor:
    """(50, 12) with a mean that is not zero, singular values that differ, and the padding at zero."""
    torch.manual_seed(0)
    matrix = torch.randn(50, 12) @ torch.diag(torch.linspace(3, 0.1, 12)) @ torch.randn(12, 12) + torch.randn(12)
    matrix[0] = 0
    return matrix


@pytest.mark.parametrize("start", ["svd", "pca"])
def test_the_start_is_the_best_approximation_of_the_teachers_embeddings(start: Start) -> None:
    teacher = teacher_matrix()
    model = student()
    start_embedding(model, teacher, start=start)
    got = model.embedding.weight.detach()
    own = teacher - teacher.mean(dim=0) if start == "pca" else teacher
    u, s, _ = torch.linalg.svd(own, full_matrices=False)
    want = u[:, :6] * s[:6]
    want = want / want.norm(dim=1).mean()
    assert torch.equal(got[0], torch.zeros(6))
    # Rotations keep inner products, and nothing else does.
    torch.testing.assert_close(got[1:] @ got[1:].T, want[1:] @ want[1:].T, atol=1e-4, rtol=1e-3)
    assert float(reduce(teacher, 6, centre=start == "pca").norm(dim=1).mean()) == pytest.approx(1, abs=1e-4)


def test_svd_and_pca_differ_by_the_mean() -> None:
    teacher = teacher_matrix()
    gram = [one @ one.T for one in (reduce(teacher, 6), reduce(teacher, 6, centre=True))]
    assert not torch.allclose(*gram, atol=0.1)
    centred = teacher - teacher.mean(dim=0)
    torch.testing.assert_close(
        reduce(centred, 6) @ reduce(centred, 6).T, gram[1], atol=1e-4, rtol=1e-3
    )


def test_a_random_start_is_of_the_same_size() -> None:
    model = student()
    before = model.embedding.weight.detach().clone()
    start_embedding(model, None, start="random")
    after = model.embedding.weight.detach()
    assert float(after.norm(dim=1).mean()) == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(after / after.norm(), before / before.norm())


def test_a_narrower_teacher_fills_what_it_can() -> None:
    model = student()
    rest = model.embedding.weight.detach()[1:, 4:].clone()
    size = model.embedding.weight.detach().norm(dim=1).mean()
    teacher = torch.randn(50, 4)
    start_embedding(model, teacher, start="svd")
    got = model.embedding.weight.detach()
    torch.testing.assert_close(got[1:, 4:], rest / size)
    left, right = got[1:, :4] @ got[1:, :4].T, teacher[1:] @ teacher[1:].T
    torch.testing.assert_close(left / left.norm(), right / right.norm(), atol=1e-5, rtol=1e-3)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="51 rows for 50 pieces"):
        start_embedding(student(), torch.randn(51, 12), start="svd")
    with pytest.raises(ValueError, match="svd, pca or random, got 'glove'"):
        start_embedding(student(), torch.randn(50, 12), start="glove")  # type: ignore[arg-type]


def test_the_same_vocabulary_keeps_its_rows(tokenizer: Tokenizer) -> None:
    matrix = torch.randn(tokenizer.get_vocab_size(), 4)
    assert torch.equal(rows_for(tokenizer, tokenizer, matrix), matrix)


def test_pieces_that_the_teacher_lacks_are_the_mean_of_what_spells_them() -> None:
    words = ["Angela", "Merkel", "zz"]
    own = build_tokenizer([*((name, 0.0) for name in ("<pad>", "<unk>", "<mask>")), *((MARK + w, -1.0) for w in words)])
    teacher = bert_pieces()
    matrix = torch.randn(teacher.get_vocab_size(), 4)
    rows = rows_for(own, teacher, matrix)
    for word in words:
        spelled = teacher.encode(word, add_special_tokens=False).ids
        assert spelled and own.token_to_id(MARK + word) is not None
        torch.testing.assert_close(rows[own.token_to_id(MARK + word)], matrix[torch.tensor(spelled)].mean(dim=0))
    assert len(teacher.encode("Angela Merkel", add_special_tokens=False).ids) > 2, "some word is several pieces"
