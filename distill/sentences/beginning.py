"""Before stage 1: the teacher's layers over embeddings that already lie in its space."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.console import console
from distill.sentences.drawing import draw_sentences, pair_weights
from distill.sentences.embedding import vectors_of
from distill.sentences.fitting import finish, schedule_of
from distill.sentences.materials import SentenceMaterials
from distill.sentences.model import EncoderConfig, SentenceEncoder, copy_bert, load_encoder
from distill.sentences.objectives import Regression
from distill.sentences.pool import draw, pack_sentences
from distill.sentences.recipe import Data
from distill.sentences.start import NAMES_FILE, anchors, by_words, mapped, spread_out, start_vectors, word_lines
from distill.tokenizer import MASK, SPECIALS
from distill.training import train
from onoma.bundle import sha256
from onoma.word_table import MARK

POSITIONS = 256
FIRST = SPECIALS.index(MASK)  # what no text has


def begin(materials: SentenceMaterials, *, seed: int) -> Path:
    """The assistant before it has learnt: an artefact like any stage."""
    own = materials.recipe.start
    folder = _mapped(materials, seed=seed)
    if own.align:
        folder = _aligned(materials, folder, seed=seed)
    if own.align and own.rare and own.way in ("neighbours", "linear"):
        folder = _spread(materials, folder, seed=seed)
    return folder


def teacher_encoder(
    materials: SentenceMaterials, *, vocabulary: int, first_id: int, layers: int | None = None
) -> SentenceEncoder:
    """An encoder with the teacher's layers, positions and norms; its embeddings are random.

    :param first_id: the piece that stands where the teacher has [CLS].
    :raises ValueError: if the teacher is no BERT.
    """
    config = materials.teacher.model.config
    if config.model_type != "bert":
        path = materials.recipe.teacher.path
        raise ValueError(f"only a BERT's layers can be copied, {path} is {config.model_type!r}")
    shape = EncoderConfig(
        vocabulary=vocabulary,
        hidden=config.hidden_size,
        layers=config.num_hidden_layers if layers is None else layers,
        heads=config.num_attention_heads,
        intermediate=config.intermediate_size,
        max_length=min(POSITIONS, config.max_position_embeddings),
        epsilon=config.layer_norm_eps,
        first_id=first_id,
    )
    model = SentenceEncoder(shape)
    copy_bert(model, materials.teacher.model.state_dict(), layers=tuple(range(shape.layers)))
    return model


def _matrix(materials: SentenceMaterials) -> Tensor:
    matrix: Tensor = materials.teacher.model.get_input_embeddings().weight.detach().cpu()
    return matrix


def _word_vector(materials: SentenceMaterials) -> Callable[[str], Tensor]:
    """The mean of the teacher's embeddings of an English word's pieces, or what it has for one of onoma's pieces."""
    matrix, tokenizer = _matrix(materials), materials.teacher.tokenizer
    vocabulary = tokenizer.get_vocab()

    def vector(word: str) -> Tensor:
        own = word.removeprefix(MARK) if word.startswith(MARK) else word
        if own in vocabulary:
            return matrix[vocabulary[own]]
        ids = tokenizer(own, add_special_tokens=False)["input_ids"] if own and own.isascii() else []
        return matrix[torch.tensor(ids)].mean(dim=0) if ids else torch.zeros(matrix.shape[1])

    return vector


def _vectors(materials: SentenceMaterials, *, seed: int) -> NDArray[np.float32]:
    recipe, own, pool = materials.recipe, materials.recipe.start, materials.pool
    size = materials.vocabulary
    if own.vectors is not None:
        given: NDArray[np.float32] = np.load(own.vectors)
        if given.ndim != 2 or len(given) != size:
            raise ValueError(f"start.vectors {own.vectors} must be of {size} pieces, its shape is {given.shape}")
        return given
    rows = draw(pair_weights(pool, recipe.data), pool.pairs.lengths, pieces=own.pairs, seed=seed)
    given_words = recipe.data.dictionaries_path
    words = None if given_words is None else word_lines(given_words, materials.tokenizer)
    return start_vectors(
        pool, rows, vocabulary=size, width=own.width, epochs=own.epochs, window=own.window, cache=materials.cache,
        seed=seed, words=words,
    )  # fmt: skip


def _mapped(materials: SentenceMaterials, *, seed: int) -> Path:
    recipe, own = materials.recipe, materials.recipe.start
    facts: dict[str, Any] = {
        "pool": materials.pool_folder.name,
        "start": own.model_dump(exclude={"align", "align_rate", "vectors", "rare", "words"}),
        "vectors": own.vectors and sha256(Path(own.vectors)),
        "teacher": materials.teacher.digest,
        "data": recipe.data.model_dump(),
        "seed": seed,
    }

    def build(folder: Path) -> None:
        torch.manual_seed(seed)
        size = materials.vocabulary
        model = teacher_encoder(materials, vocabulary=size, first_id=FIRST)
        if own.way == "words":
            assert materials.words_path is not None
            names = json.loads(materials.words_path.with_name(NAMES_FILE).read_text(encoding="utf-8"))
            found, many = by_words(names, recipe.data.dictionaries_path, _word_vector(materials))
            console.log(f"start: {many:,} of {size:,} embeddings are of words with a translation")
        elif own.way != "random":
            pool = materials.pool
            vectors = _vectors(materials, seed=seed)
            known = anchors(pool, materials.tokenizer, materials.teacher.tokenizer.get_vocab())
            console.log(f"start: {len(known):,} of {size:,} pieces are words of the teacher")
            found = mapped(vectors, known, _matrix(materials), way=own.way)
        with torch.no_grad():
            if own.way != "random":
                model.embedding.weight.copy_(found)
                model.embedding.weight[model.config.pad_id] = 0
            model.embedding.weight[FIRST] = _matrix(materials)[materials.teacher.tokenizer.cls_token_id]
        scores = materials.evaluate(model.to(materials.device).eval())
        console.log(f"start ({own.way}): dev {scores}")
        told = {"stage": f"start ({own.way})", "pieces": 0, "minutes": 0.0, "dev": scores}
        finish(materials, folder, model, stages=[told], seed=seed)

    return materials.store.get("sentence-start", facts, build)


def _aligned(materials: SentenceMaterials, before: Path, *, seed: int) -> Path:
    """Fit means of embeddings to the mean of the teacher's embeddings of the English: cheap, as there are no layers."""
    recipe, own = materials.recipe, materials.recipe.start
    schedule = schedule_of(
        materials, pieces=own.align, rate=own.align_rate, embedding_rate=1.0, shallow=True, seed=seed
    )
    data = _word_heavy(materials)
    facts = {"before": before.name, "schedule": schedule.facts, "data": data.model_dump()}

    def build(folder: Path) -> None:
        whole = load_encoder(before)[0]
        bare = teacher_encoder(materials, vocabulary=whole.config.vocabulary, first_id=FIRST, layers=0)
        bare.embedding.load_state_dict(whole.embedding.state_dict())
        for name, parameter in bare.named_parameters():
            parameter.requires_grad_(name == "embedding.weight")
        drawn = draw_sentences(materials.pool, data, pieces=own.align, seed=seed)
        train(
            bare, drawn.data, Regression(drawn, bags(materials)), schedule=schedule, folder=folder / "work",
            device=materials.device, checkpoint_minutes=recipe.schedule.checkpoint_minutes, name="start: alignment",
        )  # fmt: skip
        whole.embedding.load_state_dict(bare.embedding.state_dict())
        scores = materials.evaluate(whole.to(materials.device).eval())
        console.log(f"start, aligned: dev {scores}")
        told = {"stage": "start, aligned", "pieces": own.align, "minutes": 0.0, "dev": scores}
        finish(materials, folder, whole, stages=[told], seed=seed)

    return materials.store.get("sentence-aligned", facts, build, together=True)


def _spread(materials: SentenceMaterials, before: Path, *, seed: int) -> Path:
    """What alignment has taught the frequent pieces, handed on to the others."""
    own, pool = materials.recipe.start, materials.pool

    def build(folder: Path) -> None:
        model, _ = load_encoder(before)
        data = _word_heavy(materials)
        drawn = draw_sentences(pool, data, pieces=own.align, seed=seed)
        counts = np.bincount(drawn.data.ids, minlength=model.config.vocabulary)
        found = spread_out(_vectors(materials, seed=seed), model.embedding.weight.detach(), counts, rare=own.rare)
        with torch.no_grad():
            model.embedding.weight.copy_(found)
            model.embedding.weight[model.config.pad_id] = 0
        scores = materials.evaluate(model.to(materials.device).eval())
        console.log(f"start, spread: dev {scores}")
        told = {"stage": "start, spread", "pieces": 0, "minutes": 0.0, "dev": scores}
        finish(materials, folder, model, stages=[told], seed=seed)

    return materials.store.get("sentence-spread", {"before": before.name, "rare": own.rare}, build)


def _word_heavy(materials: SentenceMaterials) -> Data:
    """Where there are no layers single words cost nothing: they are seen often there, and seldom later."""
    own, data = materials.recipe.start, materials.recipe.data
    return data.model_copy(update={"cldr": data.cldr * own.words, "dictionary": data.dictionary * own.words})


def bags(materials: SentenceMaterials) -> NDArray[np.float32]:
    """(M, H) for each English sentence the mean of what the teacher's first layer gets, with [CLS], without [SEP]."""
    matrix, tokenizer = _matrix(materials), materials.teacher.tokenizer
    model = teacher_encoder(materials, vocabulary=len(matrix), first_id=tokenizer.cls_token_id, layers=0)
    with torch.no_grad():
        model.embedding.weight.copy_(matrix)
    fast = tokenizer.backend_tokenizer
    fast.no_truncation()
    fast.no_padding()
    data = pack_sentences(materials.pool.originals, tokenizer=fast, language="en")
    return vectors_of(model.to(materials.device), data, batch_pieces=65_536)
