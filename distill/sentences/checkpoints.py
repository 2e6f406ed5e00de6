"""A sentence encoder in torch behind onoma's Embedder, so that it is judged by the same code that serves it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from distill.hugging_face import UNLIMITED_LENGTH, longest_input, probe_facts
from distill.sentences.model import CONFIG_FILE, KIND, EncoderConfig, SentenceEncoder, load_encoder
from onoma.bundle import TokenizerFacts
from onoma.embedder import Embedder, PieceEncoder
from onoma.model import padded
from onoma.word_table import WordTable

OVERLAP = 48
"""Pieces that neighbouring windows of a long text share, at most a quarter of a window."""
_KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")


class MeanOfStates(nn.Module):
    """A transformers encoder with the mean over its last states, [CLS] and [SEP] included, behind it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Vectors (B, H) of piece ids and their mask (B, T), not normalised."""
        states = self.model(input_ids=ids, attention_mask=attention_mask).last_hidden_state
        kept = attention_mask[:, :, None].to(states.dtype)
        vectors: Tensor = (states * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1.0)
        return vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderCheckpoint:
    """A sentence encoder in torch, ready to run.

    :param model: in eval mode: piece ids and mask (B, T) to vectors (B, H), not normalised.
    :param longest: most pieces that it takes, those around the text included.
    :param rows: of its embedding table.
    """

    model: SentenceEncoder | MeanOfStates
    tokenizer: Tokenizer | WordTable
    facts: TokenizerFacts
    architecture: str
    dimensions: int
    longest: int
    rows: int

    @property
    def parameters(self) -> int:
        """How many numbers the model has; layers that run several times count once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def embedder(self) -> Embedder:
        """An Embedder over this model."""
        room = self.longest - len(self.facts.prefix_ids) - len(self.facts.suffix_ids)
        return Embedder(
            encoder=PieceEncoder(self.tokenizer, facts=self.facts, limit=room, overlap=min(OVERLAP, room // 4)),
            model=_TorchModel(self.model, self.facts),
            dimensions=self.dimensions,
        )


class _TorchModel:
    """onoma's SentenceModel protocol over a torch model."""

    def __init__(self, model: nn.Module, facts: TokenizerFacts) -> None:
        self._model, self._facts = model, facts
        self._device = next(model.parameters()).device

    @torch.inference_mode()
    def infer(self, inputs: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """The vector (D,) of each window (T_i,)."""
        if not inputs:
            return []
        ids, mask, _ = padded(inputs, self._facts)
        vectors = self._model(torch.from_numpy(ids).to(self._device), torch.from_numpy(mask).to(self._device))
        return list(vectors.float().cpu().numpy())


def read_checkpoint(folder: Path) -> EncoderCheckpoint:
    """A checkpoint that `distill` saved, or any sentence-transformers one that pools by the mean.

    :raises FileNotFoundError: if there is neither.
    :raises ValueError: if it pools otherwise, or does more than pool and normalise.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"no sentence encoder at {folder}: it has neither bundle.json nor {CONFIG_FILE}")
    if json.loads(path.read_text(encoding="utf-8")).get("kind") == KIND:
        model, tokenizer = load_encoder(folder)
        config = model.config
        prefix = () if config.first_id is None else (config.first_id,)
        model.first_id = None  # windows bring it
        return EncoderCheckpoint(
            model=model,
            tokenizer=tokenizer,
            facts=TokenizerFacts(pad_id=config.pad_id, prefix_ids=prefix),
            architecture=architecture(config),
            dimensions=config.hidden,
            longest=config.max_length,
            rows=config.vocabulary,
        )
    return _sentence_transformer(folder)


def architecture(config: EncoderConfig) -> str:
    """The name of a shape in manifests, such as `encoder V=48000 E=128 H=384 L=3x2 A=12 F=1536`."""
    bottleneck = f" E={config.embedding}" if config.embedding is not None else ""
    layers = f"L={config.layers}x{config.repeats} A={config.heads} F={config.intermediate}"
    return f"encoder V={config.vocabulary}{bottleneck} H={config.hidden} {layers}"


def _sentence_transformer(folder: Path) -> EncoderCheckpoint:
    from transformers import AutoModel, AutoTokenizer

    steps = _settings(folder / "modules.json")
    if not steps:
        raise FileNotFoundError(f"{folder} is no sentence-transformers checkpoint: modules.json is missing")
    kinds = [str(module["type"]).rpartition(".")[2] for module in steps]
    if unknown := [kind for kind in kinds if kind not in _KNOWN_MODULES]:
        raise ValueError(f"{folder}: only {', '.join(_KNOWN_MODULES)} are known, modules.json has {', '.join(unknown)}")
    pooling = _settings(folder / "1_Pooling" / CONFIG_FILE)
    modes = sorted(name for name, value in pooling.items() if name.startswith("pooling_mode_") and value)
    if modes != ["pooling_mode_mean_tokens"]:
        asked = ", ".join(modes) or "nothing"
        raise ValueError(f"{folder}: only mean pooling is known, its 1_Pooling/{CONFIG_FILE} asks for {asked}")
    loaded = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # a layer over the first piece's state, which no mean asks for
    trained = _settings(folder / "sentence_bert_config.json").get("max_seq_length")
    limits = [limit for limit in (trained, longest_input(model, loaded)) if limit is not None]
    config = model.config
    layers = getattr(config, "num_hidden_layers", None) or getattr(config, "n_layers", "?")
    return EncoderCheckpoint(
        model=MeanOfStates(model).eval(),
        tokenizer=loaded.backend_tokenizer,
        facts=probe_facts(loaded, config, str(folder)),
        architecture=f"{config.model_type} V={config.vocab_size} H={config.hidden_size} L={layers}",
        dimensions=config.hidden_size,
        longest=min(limits, default=UNLIMITED_LENGTH),
        rows=model.get_input_embeddings().weight.shape[0],
    )


def _settings(path: Path) -> Any:
    """What a JSON file says; nothing where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
