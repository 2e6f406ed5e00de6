"""The four stages of papers.md 4.1, each an artefact made of the one before.

Assistant, bottleneck embedding, recurrent encoder, multilingual contrastive learning.

A stage that is given no pieces to see hands on what it starts from, so that students of fewer stages come from the same
recipe.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.dataset import Packed
from distill.files import write_array
from distill.sentences.beginning import begin
from distill.sentences.drawing import draw_anything, draw_pairs, draw_sentences
from distill.sentences.embedding import vectors_of
from distill.sentences.fitting import RESULT, Learns, finish, schedule_of, train_stage
from distill.sentences.materials import SentenceMaterials
from distill.sentences.model import EncoderConfig, SentenceEncoder, load_encoder
from distill.sentences.objectives import Contrast, Regression
from onoma.bundle import sha256


def stages_of(folder: Path) -> list[dict[str, Any]]:
    """What was done to come to a stage's model, with dev scores."""
    found: list[dict[str, Any]] = json.loads((folder / RESULT).read_text(encoding="utf-8"))["stages"]
    return found


def make_assistant(materials: SentenceMaterials, *, seed: int) -> Path:
    """Stage 1: MiniLM's layers learn to say of every language what the teacher says of English."""
    own = materials.recipe.assistant
    folder = begin(materials, seed=seed) if own.checkpoint is None else Path(own.checkpoint)
    if own.frozen:
        folder = _assistant(materials, folder, pieces=own.frozen, learns="embedding", seed=seed)
    if own.pieces:
        folder = _assistant(materials, folder, pieces=own.pieces, learns="all", seed=seed)
    return folder


def _assistant(materials: SentenceMaterials, before: Path, *, pieces: int, learns: Learns, seed: int) -> Path:
    recipe, own = materials.recipe, materials.recipe.assistant
    # Embeddings alone can go fast; where layers follow them, they keep the pace that layers bear.
    rates = (own.rate * own.embedding_rate, 1.0) if learns == "embedding" else (own.rate, own.embedding_rate)
    schedule = schedule_of(
        materials, pieces=pieces, rate=rates[0], embedding_rate=rates[1], shallow=False, seed=seed
    )
    facts = _facts(materials, before, schedule=schedule.facts, learns=learns, data=recipe.data.model_dump())

    def build(folder: Path) -> None:
        drawn = draw_sentences(materials.pool, recipe.data, pieces=pieces, seed=seed)
        loss = Regression(drawn, materials.teacher_vectors(drawn.rows))
        model = _with_dropout(load_encoder(before)[0], materials)
        train_stage(
            materials, folder, model, drawn.data, loss, name=f"assistant ({learns})", schedule=schedule, learns=learns,
            stages=stages_of(before) if (before / RESULT).exists() else [],
        )

    return materials.store.get("sentence-assistant", facts, build, together=True)


def make_bottleneck(materials: SentenceMaterials, assistant: Path, *, seed: int) -> Path:
    """Stage 2: a V x E table and E x H map that give the assistant's mean of embeddings, without any layers."""
    recipe, own = materials.recipe, materials.recipe.bottleneck
    schedule = schedule_of(
        materials, pieces=own.pieces, rate=own.rate, embedding_rate=1.0, shallow=True, seed=seed
    )
    facts = _facts(
        materials, assistant, embedding=own.embedding, schedule=schedule.facts, data=recipe.data.model_dump()
    )

    def build(folder: Path) -> None:
        whole = load_encoder(assistant)[0]
        bare = without_layers(whole)
        model = factorised(bare, own.embedding) if own.embedding else bare
        before = stages_of(assistant)
        if not own.embedding or not own.pieces:
            finish(materials, folder, model, stages=before, seed=seed)
            return
        different, drawn = draw_anything(materials.pool, recipe.data, text=0.5, pieces=own.pieces, seed=seed)
        targets = vectors_of(bare.to(materials.device), different, batch_pieces=65_536, progress="assistant's means")
        loss = Regression(drawn, targets)
        train_stage(
            materials, folder, model, drawn.data, loss, name="bottleneck", schedule=schedule, stages=before
        )

    return materials.store.get("sentence-bottleneck", facts, build, together=True)


def make_recurrent(materials: SentenceMaterials, assistant: Path, bottleneck: Path, *, seed: int) -> Path:
    """Stage 3: some of the assistant's layers over the new embeddings, run several times."""
    recipe, own = materials.recipe, materials.recipe.recurrent
    schedule = schedule_of(
        materials, pieces=own.pieces, rate=own.rate, embedding_rate=own.embedding_rate, shallow=False, seed=seed
    )
    shape = {"layers": own.layers, "repeats": own.repeats, "target": own.target, "text": own.text}
    facts = _facts(
        materials, bottleneck, assistant=assistant.name, shape=shape, schedule=schedule.facts,
        data=recipe.data.model_dump(),
    )

    def build(folder: Path) -> None:
        model = _with_dropout(
            stacked(load_encoder(bottleneck)[0], load_encoder(assistant)[0], layers=own.layers, repeats=own.repeats),
            materials,
        )
        before = stages_of(bottleneck)
        if not own.pieces:
            finish(materials, folder, model, stages=before, seed=seed)
            return
        if own.target == "teacher":
            drawn = draw_sentences(materials.pool, recipe.data, pieces=own.pieces, seed=seed)
            targets: NDArray[np.floating] = materials.teacher_vectors(drawn.rows)
        else:
            different, drawn = draw_anything(
                materials.pool, recipe.data, text=own.text, pieces=own.pieces, seed=seed
            )
            targets = _answers(materials, assistant, different)
        loss = Regression(drawn, targets)
        train_stage(materials, folder, model, drawn.data, loss, name="recurrent", schedule=schedule, stages=before)

    return materials.store.get("sentence-recurrent", facts, build, together=True)


def make_contrastive(materials: SentenceMaterials, before: Path, *, seed: int) -> Path:
    """Stage 4: cosines between sentences and translations become those that the teacher sees between the English."""
    recipe, own = materials.recipe, materials.recipe.contrastive
    if not own.pieces:
        return before
    schedule = schedule_of(
        materials, pieces=own.pieces, rate=own.rate, embedding_rate=own.embedding_rate, shallow=False, seed=seed
    )
    facts = _facts(
        materials, before, matrix=own.matrix, weight=own.weight, schedule=schedule.facts, data=recipe.data.model_dump()
    )

    def build(folder: Path) -> None:
        pool = materials.pool
        drawn = draw_pairs(pool, recipe.data, pieces=own.pieces, seed=seed)
        loss = Contrast(
            drawn, pool.table, materials.teacher_vectors(drawn.rows), kind=own.matrix, weight=own.weight,
            longest=2 * recipe.data.max_pieces,
        )  # fmt: skip
        model = _with_dropout(load_encoder(before)[0], materials)
        stages = stages_of(before)
        train_stage(
            materials, folder, model, drawn.data, loss, name=f"contrastive ({own.matrix})", schedule=schedule,
            stages=stages,
        )

    return materials.store.get("sentence-contrastive", facts, build, together=True)


def _facts(materials: SentenceMaterials, before: Path, **own: Any) -> dict[str, Any]:
    recipe = materials.recipe
    made = before.parent == materials.store.root
    return {
        "before": before.name if made else sha256(before / "model.safetensors"),
        "pool": materials.pool_folder.name,
        "teacher": [materials.teacher.digest, recipe.teacher.normalise],
        "schedule": recipe.schedule.model_dump(include={"dropout", "checks", "keep"}),
        "evaluation": recipe.evaluation.model_dump(exclude={"test"}),
        "stage": own,
    }


def _answers(materials: SentenceMaterials, assistant: Path, different: Packed) -> NDArray[np.float16]:
    """(N, H) the assistant's vectors of sentences in any language, computed once."""

    def build(folder: Path) -> None:
        model = load_encoder(assistant)[0].to(materials.device)
        write_array(folder / "answers.npy", vectors_of(model, different, progress="assistant").astype(np.float16))

    folder = materials.store.get("sentence-answers", {"assistant": assistant.name, "data": different.digest}, build)
    answers: NDArray[np.float16] = np.load(folder / "answers.npy", mmap_mode="r")
    return answers


def _with_dropout(model: SentenceEncoder, materials: SentenceMaterials) -> SentenceEncoder:
    """The same weights with the recipe's dropout."""
    config = replace(model.config, dropout=materials.recipe.schedule.dropout)
    if config == model.config:
        return model
    other = SentenceEncoder(config)
    other.load_state_dict(model.state_dict())
    return other


def without_layers(model: SentenceEncoder) -> SentenceEncoder:
    """The model's embeddings alone: the mean of what would go into its first layer."""
    bare = SentenceEncoder(replace(model.config, layers=0, repeats=1))
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("layers.")}
    bare.load_state_dict(state)
    return bare


@torch.no_grad()
def factorised(model: SentenceEncoder, embedding: int) -> SentenceEncoder:
    """The model with its V x H embeddings as V x E and E x H: the truncated SVD, the nearest there is of that rank.

    :raises ValueError: if E is more than H, or the model has a bottleneck already.
    """
    if model.expand is not None or embedding > model.config.hidden:
        raise ValueError(
            f"the bottleneck's width must be at most {model.config.hidden} and replaces a full table, got {embedding}"
        )
    narrow = SentenceEncoder(replace(model.config, embedding=embedding))
    state = {name: value for name, value in model.state_dict().items() if name != "embedding.weight"}
    narrow.load_state_dict(state, strict=False)
    assert narrow.expand is not None
    table, directions = truncated(model.embedding.weight, embedding)
    narrow.embedding.weight.copy_(table)
    narrow.expand.weight.copy_(directions)
    return narrow


def truncated(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """(V, E) and (H, E) whose product A B^T is the best of that rank; columns of both share the singular values."""
    values, vectors = torch.linalg.eigh(matrix.T.double() @ matrix.double())
    chosen = vectors[:, values.argsort(descending=True)[:rank]]
    scale = values.clamp_min(0).sort(descending=True).values[:rank].clamp_min(1e-12).pow(0.25) / len(matrix) ** 0.25
    return (matrix.double() @ chosen / scale).float(), (chosen * scale).float()


def stacked(
    bare: SentenceEncoder, assistant: SentenceEncoder, *, layers: tuple[int, ...], repeats: int
) -> SentenceEncoder:
    """New embeddings under some of the assistant's layers.

    :raises ValueError: if the assistant lacks one of the layers.
    """
    if wrong := [layer for layer in layers if not 0 <= layer < assistant.config.layers]:
        raise ValueError(f"recurrent.layers must be of the assistant's {assistant.config.layers}, got {wrong}")
    config: EncoderConfig = replace(bare.config, layers=len(layers), repeats=repeats)
    model = SentenceEncoder(config)
    model.load_state_dict(bare.state_dict(), strict=False)
    for own, layer in zip(model.layers, layers, strict=True):
        own.load_state_dict(assistant.layers[layer].state_dict())
    return model


