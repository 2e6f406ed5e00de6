"""Students: the BiLSTM tagger of XtremeDistil (Mukherjee & Awadallah 2020, section 3)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from distill.files import write_json

CONFIG_FILE = "student.json"
WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True, slots=True)
class StudentConfig:
    """Shape of a student: V pieces, E-dimensional embeddings, H hidden units per direction, C tags."""

    vocabulary: int
    embedding: int
    hidden: int
    labels: tuple[str, ...]
    pad_id: int = 0
    dropout: float = 0.2


class BiLstmTagger(nn.Module):
    """Embedding -> dropout -> one BiLSTM layer -> dropout -> linear head on h (eq. 1; no projection remains)."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.embedding, padding_idx=config.pad_id)
        self.lstm = nn.LSTM(config.embedding, config.hidden, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(2 * config.hidden, len(config.labels))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits (B, T, C) of right-padded piece ids (B, T); padding never changes the logits of real pieces.

        Rows of equal length, as the training batches have, skip the packing, which costs a third of the time on CPU.
        """
        lengths = attention_mask.sum(dim=1)
        vectors = self.dropout(self.embedding(input_ids))
        if int(lengths.min()) == input_ids.shape[1]:
            states, _ = self.lstm(vectors)
        else:
            packed = pack_padded_sequence(vectors, lengths.cpu(), batch_first=True, enforce_sorted=False)
            states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=input_ids.shape[1])
        logits: Tensor = self.head(self.dropout(states))
        return logits


def save_student(model: BiLstmTagger, folder: Path) -> None:
    """Write the student's shape and fp32 weights; the config last, so that a half-written student never loads."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / (WEIGHTS_FILE + ".tmp")
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, str(temporary))
    temporary.replace(folder / WEIGHTS_FILE)
    write_json(folder / CONFIG_FILE, asdict(model.config))


def load_student(folder: Path) -> BiLstmTagger:
    """Read a student that `save_student` wrote, on the CPU and in eval mode."""
    content = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    model = BiLstmTagger(StudentConfig(**{**content, "labels": tuple(content["labels"])}))
    model.load_state_dict(load_file(str(folder / WEIGHTS_FILE)))
    return model.eval()


def parameter_count(model: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def init_embedding_by_svd(model: BiLstmTagger, teacher_embedding: Tensor) -> None:
    """Start the embeddings from the best rank-E approximation of the teacher's (V, D) (section 3.1).

    Column i is u_i * s_i of V = U S W^T, scaled so that the mean row norm is 1.
    """
    width = model.config.embedding
    if teacher_embedding.shape[0] != model.config.vocabulary:
        sizes = f"{teacher_embedding.shape[0]} and {model.config.vocabulary} pieces"
        raise ValueError(f"teacher and student must share one vocabulary: {sizes}")
    matrix = teacher_embedding.float()
    # Eigenvectors of the small (D, D) Gram matrix give the same subspace as a full SVD of (V, D), faster.
    values, vectors = torch.linalg.eigh(matrix.T @ matrix)
    reduced = matrix @ vectors[:, values.argsort(descending=True)[:width]]
    reduced = reduced / reduced.norm(dim=1).mean().clamp_min(1e-6)
    model.embedding.weight[:, : reduced.shape[1]] = reduced
    model.embedding.weight[model.config.pad_id] = 0
