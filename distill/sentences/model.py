"""The sentence encoder: pieces to one vector, by BERT's layers over factorised embeddings, some layers run repeatedly.

The layers are those of all-MiniLM-L6-v2 (post-norm, GELU), so that its weights can be copied in. Without layers it is
the mean of the embeddings: what stage 2 trains.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from distill.files import write_json
from distill.tokenizer import save_tokenizer
from onoma.bundle import TOKENIZER_FILE
from onoma.word_table import WORDS_FILE, WordTable, read_words

KIND = "sentence-encoder"
CONFIG_FILE, WEIGHTS_FILE, TRAINING_FILE = "config.json", "model.safetensors", "training.json"


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """The shape of a sentence encoder.

    :param embedding: width E of the factorised embeddings (V x E, E x H); None: V x H, no bottleneck.
    :param layers: n different layers; 0 for the mean of the embeddings.
    :param repeats: m, how often the n layers are run, one after another: n x m passes.
    :param max_length: pieces at most, as many positions as there are.
    :param first_id: a piece that stands before every text, as BERT's [CLS]; None: none does. It counts as a piece.
    """

    vocabulary: int
    embedding: int | None = None
    hidden: int = 384
    layers: int = 6
    repeats: int = 1
    heads: int = 12
    intermediate: int = 1536
    max_length: int = 256
    pad_id: int = 0
    dropout: float = 0.0
    epsilon: float = 1e-12
    first_id: int | None = None

    def __post_init__(self) -> None:
        least = {name: 1 for name in ("vocabulary", "hidden", "repeats", "heads", "intermediate", "max_length")}
        if self.embedding is not None:
            least["embedding"] = 1
        for name, low in (least | {"layers": 0}).items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if self.hidden % self.heads:
            raise ValueError(f"hidden must be a multiple of heads ({self.heads}), got {self.hidden}")


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward layer, each with its residual and normalised after (BERT)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        hidden = config.hidden
        self.heads = config.heads
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.output = nn.Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, eps=config.epsilon)
        self.inner = nn.Linear(hidden, config.intermediate)
        self.outer = nn.Linear(config.intermediate, hidden)
        self.norm = nn.LayerNorm(hidden, eps=config.epsilon)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, states: Tensor, bias: Tensor | None) -> Tensor:
        """States (B, T, H) from states (B, T, H); `bias` (B, 1, 1, T) is added to the attention's scores."""
        batch, length, width = states.shape

        def split(projected: Tensor) -> Tensor:
            return projected.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

        heads = F.scaled_dot_product_attention(
            split(self.query(states)), split(self.key(states)), split(self.value(states)), attn_mask=bias
        )
        seen = self.output(heads.transpose(1, 2).reshape(batch, length, width))
        states = self.attention_norm(states + self.dropout(seen))
        changed = self.outer(F.gelu(self.inner(states)))
        return self.norm(states + self.dropout(changed))  # type: ignore[no-any-return]


class SentenceEncoder(nn.Module):
    """Embedding (-> E x H) -> + position -> norm -> the n layers, m times -> mean over the real pieces."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.first_id = config.first_id  # None where inputs have it already
        width = config.embedding or config.hidden
        self.embedding = nn.Embedding(config.vocabulary, width, padding_idx=config.pad_id)
        self.expand = nn.Linear(width, config.hidden, bias=False) if config.embedding else None
        self.positions = nn.Embedding(config.max_length, config.hidden)
        self.norm = nn.LayerNorm(config.hidden, eps=config.epsilon)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def embedded(self, ids: Tensor) -> Tensor:
        """(B, T, H) what goes into the first layer."""
        words = self.embedding(ids)
        words = words if self.expand is None else self.expand(words)
        places = torch.arange(ids.shape[1], device=ids.device)
        return self.dropout(self.norm(words + self.positions(places)))  # type: ignore[no-any-return]

    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Vectors (B, H) of right-padded piece ids (B, T), not normalised; zeros for a row without any pieces.

        :param attention_mask: (B, T) 1 where a piece is real; None where all are, which is faster.
        """
        if self.first_id is not None:
            ids = F.pad(ids, (1, 0), value=self.first_id)
            attention_mask = None if attention_mask is None else F.pad(attention_mask, (1, 0), value=1)
        states = self.embedded(ids)
        bias = None
        if attention_mask is not None:
            bias = (1.0 - attention_mask[:, None, None, :].to(states.dtype)) * torch.finfo(states.dtype).min
        for _ in range(self.config.repeats):
            for layer in self.layers:
                states = layer(states, bias)
        if attention_mask is None:
            return states.mean(dim=1)
        kept = attention_mask[:, :, None].to(states.dtype)
        return (states * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1.0)


def parameter_count(config: EncoderConfig) -> int:
    """Numbers in an encoder of this shape, as its modules have them."""
    hidden, inner = config.hidden, config.intermediate
    words = config.vocabulary * (config.embedding or hidden) + (config.embedding or 0) * hidden
    layer = 4 * (hidden * hidden + hidden) + 2 * hidden * inner + inner + hidden + 4 * hidden
    return words + config.max_length * hidden + 2 * hidden + config.layers * layer


# Where BERT's checkpoints keep what a layer has here.
_BERT_LAYER = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "inner": "intermediate.dense",
    "outer": "output.dense",
    "norm": "output.LayerNorm",
}


@torch.no_grad()
def copy_bert(model: SentenceEncoder, weights: Mapping[str, Tensor], *, layers: tuple[int, ...]) -> None:
    """Copy a BERT's layers, norms and positions into an encoder; its word embeddings are of another vocabulary.

    The first piece gets the position that [CLS] had: attention rests there.

    :param weights: of a transformers BertModel, by name.
    :param layers: which of its layers, in order: as many as the encoder has.
    :raises ValueError: if there are more or fewer layers than the encoder has.
    """
    if len(layers) != model.config.layers:
        raise ValueError(f"the encoder has {model.config.layers} layers, got {len(layers)} to copy")
    kinds = weights["embeddings.token_type_embeddings.weight"]
    positions = weights["embeddings.position_embeddings.weight"] + kinds[0]
    most = min(len(positions), len(model.positions.weight))
    model.positions.weight[:most] = positions[:most]
    model.norm.weight.copy_(weights["embeddings.LayerNorm.weight"])
    model.norm.bias.copy_(weights["embeddings.LayerNorm.bias"])
    for own, theirs in zip(model.layers, layers, strict=True):
        for name, place in _BERT_LAYER.items():
            for part in ("weight", "bias"):
                own.get_submodule(name).get_parameter(part).copy_(weights[f"encoder.layer.{theirs}.{place}.{part}"])


def save(
    model: SentenceEncoder, tokenizer: Tokenizer | WordTable, folder: Path, *, training: Mapping[str, Any] | None = None
) -> None:
    """Write config.json, model.safetensors, tokenizer.json and training.json (how it came about)."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous().cpu() for name, value in model.state_dict().items()}, folder / WEIGHTS_FILE)
    if isinstance(tokenizer, WordTable):
        tokenizer.save(folder / WORDS_FILE)
        tokenizer = tokenizer.tokenizer
    save_tokenizer(tokenizer, folder / TOKENIZER_FILE)
    write_json(folder / TRAINING_FILE, dict(training or {}))
    write_json(folder / CONFIG_FILE, {"kind": KIND} | asdict(model.config))


def load_encoder(folder: Path) -> tuple[SentenceEncoder, Tokenizer | WordTable]:
    """The encoder that `save` wrote, in evaluation mode, and its tokenizer.

    :raises ValueError: if the folder holds another kind of model.
    """
    content = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    if (kind := content.pop("kind", None)) != KIND:
        raise ValueError(f"{folder / CONFIG_FILE}: kind must be {KIND!r}, got {kind!r}")
    model = SentenceEncoder(EncoderConfig(**content))
    model.load_state_dict(load_file(folder / WEIGHTS_FILE))
    words = folder / WORDS_FILE
    return model.eval(), load_tokenizer(folder / TOKENIZER_FILE, words if words.is_file() else None)


def load_tokenizer(path: Path, words: Path | None) -> Tokenizer | WordTable:
    """A tokenizer, with a table of words if there is one."""
    tokenizer = Tokenizer.from_file(str(path))
    return tokenizer if words is None else WordTable(tokenizer, read_words(words))


def vocabulary_of(tokenizer: Tokenizer | WordTable) -> int:
    """How many ids there are."""
    return tokenizer.size if isinstance(tokenizer, WordTable) else int(tokenizer.get_vocab_size())
