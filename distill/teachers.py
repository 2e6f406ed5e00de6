"""Teachers: Hugging Face token classifiers, trained from scratch or started from a pretrained body."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoModelForTokenClassification,
    BertConfig,
    ModernBertConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RoFormerConfig,
)

from distill.dataset import LABELS
from distill.tokenizer import MASK, PAD, UNK
from onoma.labels import LabelSet

Architecture = Literal["modernbert", "roformer", "bert"]


@dataclass(frozen=True, slots=True)
class TeacherConfig:
    """Shape of an encoder trained from scratch."""

    architecture: Architecture = "modernbert"
    layers: int = 4
    hidden: int = 256
    heads: int = 4
    intermediate: int = 512
    dropout: float = 0.1
    max_length: int = 512
    embedding: int | None = None  # factorised word embeddings (roformer); None: as wide as `hidden`


def build_teacher(config: TeacherConfig, *, vocabulary: int, labels: LabelSet = LABELS) -> PreTrainedModel:
    """A token classifier of the given shape with random weights."""
    shape: dict[str, Any] = {
        "id2label": dict(enumerate(labels.tags)),
        "label2id": dict(labels.index),
        "vocab_size": vocabulary,
        "hidden_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.intermediate,
        "max_position_embeddings": config.max_length,
        "pad_token_id": 0,
        "label_all_tokens": True,  # unlike most, it is taught on all pieces of a word: see export.teacher
    }
    if config.architecture == "modernbert":
        own: Any = ModernBertConfig(
            **shape,
            global_attn_every_n_layers=1,
            embedding_dropout=config.dropout,
            mlp_dropout=config.dropout,
            attention_dropout=0.0,
            classifier_dropout=config.dropout,
            cls_token_id=None,
            sep_token_id=None,
            bos_token_id=None,
            eos_token_id=None,
            reference_compile=False,
            attn_implementation="sdpa",
        )
    else:
        kind = RoFormerConfig if config.architecture == "roformer" else BertConfig
        own = kind(
            **shape,
            hidden_dropout_prob=config.dropout,
            attention_probs_dropout_prob=0.0,
            classifier_dropout=config.dropout,
            **({"embedding_size": config.embedding or config.hidden} if config.architecture == "roformer" else {}),
        )
    model: PreTrainedModel = AutoModelForTokenClassification.from_config(own)
    return model


def build_on_body(
    folder: Path, *, vocabulary: int, labels: LabelSet = LABELS, dropout: float = 0.1
) -> PreTrainedModel:
    """A token classifier on a pretrained body with a new vocabulary; word embeddings start random.

    Everything but the word embeddings and the head comes from the checkpoint in `folder`.
    """
    model: PreTrainedModel = AutoModelForTokenClassification.from_pretrained(
        str(folder),
        id2label=dict(enumerate(labels.tags)),
        label2id=dict(labels.index),
        classifier_dropout=dropout,
        attention_probs_dropout_prob=0.0,
    )
    old = model.get_input_embeddings()
    fresh = nn.Embedding(vocabulary, old.embedding_dim, padding_idx=0)
    nn.init.normal_(fresh.weight, std=float(old.weight.detach().std()))
    model.set_input_embeddings(fresh)
    model.config.vocab_size = vocabulary
    model.config.pad_token_id = 0
    model.config.label_all_tokens = True
    return model


@torch.no_grad()
def init_embeddings(model: PreTrainedModel, vectors: Tensor) -> None:
    """Start the word embeddings from pretrained piece vectors (V, D), scaled to the spread the model was built with.

    Pieces without a vector (all zeros, such as the mask) keep their random start.
    """
    weight = model.get_input_embeddings().weight
    if vectors.shape[0] != weight.shape[0] or vectors.shape[1] > weight.shape[1]:
        raise ValueError(f"piece vectors are {tuple(vectors.shape)}, the model's embeddings {tuple(weight.shape)}")
    known = vectors.ne(0).any(dim=1)
    scale = weight.std() / vectors[known].std().clamp_min(1e-6)
    weight[known, : vectors.shape[1]] = vectors[known] * scale
    weight[0] = 0


def save_teacher(model: PreTrainedModel, tokenizer: Tokenizer, folder: Path) -> None:
    """Write a checkpoint that `AutoModelForTokenClassification` and `AutoTokenizer` load."""
    temporary = folder.with_name(folder.name + ".tmp")
    model.save_pretrained(str(temporary))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNK,
        mask_token=MASK,
        model_max_length=model.config.max_position_embeddings,
    )
    fast.save_pretrained(str(temporary))
    folder.mkdir(parents=True, exist_ok=True)
    for file in list(temporary.iterdir()):
        file.replace(folder / file.name)
    temporary.rmdir()


def masked_language_loss(
    model: PreTrainedModel, ids: Tensor, *, mask_id: int, share: float = 0.2, negatives: int = 4096
) -> Tensor:
    """Masked-language-model loss with tied embeddings and a sampled softmax.

    Of `share` of the pieces, 80 % become the mask, 10 % a random piece, 10 % stay (Devlin et al. 2019). The softmax
    runs over the batch's own targets and `negatives` random pieces: a full one over 48k pieces would cost more than
    the encoder. The draw is uniform, so no correction of the logits is needed beyond leaving out accidental hits.
    With as many negatives as there are pieces, the softmax is the full one.
    """
    vocabulary = int(model.config.vocab_size)
    chosen = torch.rand(ids.shape, device=ids.device) < share
    if not bool(chosen.any()):
        chosen[0, 0] = True
    fate = torch.rand(ids.shape, device=ids.device)
    corrupted = torch.where(chosen & (fate < 0.8), torch.full_like(ids, mask_id), ids)
    random = torch.randint(3, vocabulary, ids.shape, device=ids.device)
    corrupted = torch.where(chosen & (fate >= 0.8) & (fate < 0.9), random, corrupted)
    states = model.base_model(input_ids=corrupted, attention_mask=torch.ones_like(ids)).last_hidden_state[chosen]
    narrow = getattr(model.base_model, "embeddings_project", None)  # where embeddings are narrower than states
    if narrow is not None:
        states = states @ narrow.weight
    targets, place = torch.unique(ids[chosen], return_inverse=True)
    if negatives < vocabulary:
        extra = torch.randint(3, vocabulary, (negatives,), device=ids.device)
    else:
        extra = torch.arange(vocabulary, device=ids.device)
    extra = extra[~torch.isin(extra, targets)]
    candidates = torch.cat([targets, extra])
    weights = model.get_input_embeddings().weight[candidates]
    return F.cross_entropy((states @ weights.T).float(), place)
