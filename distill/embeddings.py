"""How a student's embeddings start: from the teacher's, reduced to E dimensions, or random (XtremeDistil 3.1)."""

from __future__ import annotations

from typing import Literal

import torch
from tokenizers import Tokenizer
from torch import Tensor

from distill.students import Student

Start = Literal["svd", "pca", "random"]


def reduce(matrix: Tensor, width: int, *, centre: bool = False) -> Tensor:
    """(V, D) to (V, min(E, D)): the rank-E approximation's coordinates, U S of the SVD, at a mean row norm of 1.

    :param centre: take the mean row off first: principal components, as the paper's second code release has it.
    """
    matrix = matrix.float()
    if centre:
        matrix = matrix - matrix.mean(dim=0)
    # Eigenvectors of the small (D, D) Gram matrix give the same subspace as a full SVD of (V, D), faster.
    values, vectors = torch.linalg.eigh(matrix.T @ matrix)
    reduced: Tensor = matrix @ vectors[:, values.argsort(descending=True)[:width]]
    reduced = reduced / reduced.norm(dim=1).mean().clamp_min(1e-6)
    return reduced


@torch.no_grad()
def start_embedding(model: Student, teacher_rows: Tensor | None, *, start: Start) -> None:
    """Start the embeddings of a student from the teacher's (V, D), a row for each of the student's own pieces.

    Random ones (`start` random, and the columns beyond the teacher's width) are of the same size: their rows have a
    mean norm of 1.

    :raises ValueError: if the rows do not match the student's vocabulary, or for another start.
    """
    if start not in ("svd", "pca", "random"):
        raise ValueError(f"embeddings start from svd, pca or random, got {start!r}")
    table = model.embedding.weight
    table.div_(table.norm(dim=1).mean().clamp_min(1e-6))
    if start != "random":
        if teacher_rows is None or teacher_rows.shape[0] != len(table):
            sizes = f"{0 if teacher_rows is None else len(teacher_rows)} rows for {len(table)} pieces"
            raise ValueError(f"the teacher's embeddings must have a row for each of the student's pieces: {sizes}")
        reduced = reduce(teacher_rows, model.config.embedding, centre=start == "pca")
        table[:, : reduced.shape[1]] = reduced
    table[model.config.pad_id] = 0


@torch.no_grad()
def rows_for(student: Tokenizer, teacher: Tokenizer, matrix: Tensor) -> Tensor:
    """(V, D) rows of the teacher's embeddings (V', D) for the student's pieces.

    A piece that both have keeps its row; any other gets the mean of the rows of the teacher's pieces that spell it.
    """
    theirs = teacher.get_vocab()
    size = student.get_vocab_size()
    rows = matrix.new_zeros((size, matrix.shape[1]), dtype=torch.float32)
    for piece, at in student.get_vocab().items():
        if (same := theirs.get(piece)) is not None:
            rows[at] = matrix[same].float()
        elif spelled := teacher.encode(piece.replace("▁", " ").strip() or piece, add_special_tokens=False).ids:
            rows[at] = matrix[torch.tensor(spelled)].float().mean(dim=0)
    return rows
