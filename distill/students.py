"""Students: embedding, encoder, an optional projection into the teacher's space, head (XtremeDistil, section 3)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from distill.crf import Chain, Crf
from distill.encoders import BiLstmEncoder, ConvEncoder, TransformerEncoder
from distill.files import write_json

CONFIG_FILE = "student.json"
WEIGHTS_FILE = "model.safetensors"
TRAINING_FILE = "training.json"
"""What a student was made from: recipe, data, seed; also of the checkpoint that it began with."""

Kind = Literal["bilstm", "conv", "transformer"]
Activation = Literal["linear", "gelu"]
Decoder = Literal["softmax", "crf"]


@dataclass(frozen=True, slots=True)
class StudentConfig:
    """Shape of a student: V pieces, E-dimensional embeddings, H hidden units (per direction of a BiLSTM), C tags.

    `layers` counts those of a `conv` or `transformer`, `kernel` is the width of a convolution, `heads` are a
    Transformer's. `projection` is the teacher's width D, or 0 for a head on the encoder's states. The logits of a `crf`
    are the emissions of a chain.
    """

    vocabulary: int
    embedding: int
    hidden: int
    labels: tuple[str, ...]
    pad_id: int = 0
    dropout: float = 0.2
    kind: Kind = "bilstm"
    layers: int = 1
    kernel: int = 5
    heads: int = 4
    projection: int = 0
    activation: Activation = "linear"
    decoder: Decoder = "softmax"


class Output(NamedTuple):
    """All that a student says of a batch; tensors alone, so that training on several GPUs sees every one of them.

    :param logits: (B, T, C).
    :param states: what the head reads, before dropout: the projection (B, T, D), or the encoder's states (B, T, S).
    :param transitions: (C, C) of a CRF, else None; `start` and `end` (C,) likewise.
    """

    logits: Tensor
    states: Tensor
    transitions: Tensor | None = None
    start: Tensor | None = None
    end: Tensor | None = None

    def chain(self, mask: Tensor | None = None) -> Chain:
        """The chain of the tags; `mask` (B, T) as in `Chain`."""
        return Chain(self.logits, self.transitions, self.start, self.end, mask)


def build_encoder(config: StudentConfig) -> BiLstmEncoder | ConvEncoder | TransformerEncoder:
    """The encoder of the shape's kind, with random weights.

    :raises ValueError: for another kind.
    """
    match config.kind:
        case "bilstm":
            return BiLstmEncoder(config.embedding, config.hidden)
        case "conv":
            return ConvEncoder(
                config.embedding, config.hidden, layers=config.layers, kernel=config.kernel, dropout=config.dropout
            )
        case "transformer":
            return TransformerEncoder(
                config.embedding, config.hidden, layers=config.layers, heads=config.heads, dropout=config.dropout
            )
    raise ValueError(f"a student is bilstm, conv or transformer, got {config.kind!r}")


class Student(nn.Module):
    """Embedding -> dropout -> encoder -> dropout -> (projection -> dropout ->) linear head.

    Eq. (3) puts the head on the encoder's states; the paper's code, and its tables of stages and sizes, put it on the
    projection that learns the teacher's representation (eq. 5). So it is here while there is a projection; a linear
    one then folds into the head (`folded`).
    """

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.embedding, padding_idx=config.pad_id)
        self.encoder = build_encoder(config)
        self.dropout = nn.Dropout(config.dropout)
        self.projection = nn.Linear(self.encoder.width, config.projection) if config.projection else None
        self.head = nn.Linear(config.projection or self.encoder.width, len(config.labels))
        self.crf = Crf(len(config.labels)) if config.decoder == "crf" else None

    def forward(self, input_ids: Tensor, attention_mask: Tensor, *, full: bool = False) -> Tensor | Output:
        """Logits (B, T, C) of right-padded piece ids (B, T); padding never changes the logits of real pieces.

        :param full: return all that there is, as losses need it.
        """
        states: Tensor = self.encoder(self.dropout(self.embedding(input_ids)), attention_mask)
        if self.projection is not None:
            states = self.projection(self.dropout(states))
            states = F.gelu(states) if self.config.activation == "gelu" else states
        logits: Tensor = self.head(self.dropout(states))
        if not full:
            return logits
        return Output(logits, states) if self.crf is None else Output(logits, states, *self.crf())

    def layers(self) -> list[tuple[str, nn.Module]]:
        """The layers from the top down: the order in which gradual unfreezing thaws them (Algorithm 1)."""
        top = self.head if self.crf is None else nn.ModuleList([self.head, self.crf])
        found: list[tuple[str, nn.Module]] = [("head", top)]
        if self.projection is not None:
            found.append(("projection", self.projection))
        return [*found, ("encoder", self.encoder), ("embedding", self.embedding)]


@torch.no_grad()
def folded(model: Student) -> Student:
    """The same function without its projection, where that is linear; else the model itself."""
    if model.projection is None or model.config.activation != "linear":
        return model
    smaller = Student(replace(model.config, projection=0))
    smaller.embedding.load_state_dict(model.embedding.state_dict())
    smaller.encoder.load_state_dict(model.encoder.state_dict())
    if model.crf is not None and smaller.crf is not None:
        smaller.crf.load_state_dict(model.crf.state_dict())
    smaller.head.weight.copy_(model.head.weight @ model.projection.weight)
    smaller.head.bias.copy_(model.head.weight @ model.projection.bias + model.head.bias)
    return smaller.train(model.training)


def save_student(model: Student, folder: Path) -> None:
    """Write the student's shape and fp32 weights; the config last, so that a half-written student never loads."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / (WEIGHTS_FILE + ".tmp")
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, str(temporary))
    temporary.replace(folder / WEIGHTS_FILE)
    write_json(folder / CONFIG_FILE, asdict(model.config))


def load_student(folder: Path) -> Student:
    """Read a student that `save_student` wrote, on the CPU and in eval mode."""
    content = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    model = Student(StudentConfig(**{**content, "labels": tuple(content["labels"])}))
    model.load_state_dict(load_file(str(folder / WEIGHTS_FILE)))
    return model.eval()


def parameter_count(model: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(parameter.numel() for parameter in model.parameters())
