"""Training one stage: its schedule, the training loop, the model it leaves with how it came about."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from distill.console import console
from distill.dataset import Packed
from distill.files import write_json
from distill.sentences.materials import SentenceMaterials
from distill.sentences.model import SentenceEncoder, save
from distill.sentences.parallel import LICENCES
from distill.training import LossFunction, Schedule, train

RESULT = "result.json"
Learns = Literal["embedding", "all"]


def schedule_of(
    materials: SentenceMaterials, *, pieces: int, rate: float, embedding_rate: float, shallow: bool, seed: int
) -> Schedule:
    """A stage's schedule."""
    own = materials.recipe.schedule
    return Schedule(
        tokens=pieces,
        batch_tokens=own.shallow_batch if shallow else own.batch,
        learning_rate=rate,
        warmup=own.warmup,
        final=0.0,
        weight_decay=own.weight_decay,
        seed=seed,
        embedding_rate=embedding_rate,
        decay="linear",
    )


def train_stage(
    materials: SentenceMaterials,
    folder: Path,
    model: SentenceEncoder,
    data: Packed,
    loss: LossFunction,
    *,
    name: str,
    schedule: Schedule,
    learns: Learns = "all",
    stages: list[dict[str, Any]],
) -> None:
    """Train a model, save it with how it came about, and its dev scores."""
    recipe, own = materials.recipe, materials.recipe.schedule
    for parameter in model.parameters():
        parameter.requires_grad_(learns == "all")
    model.embedding.weight.requires_grad_(True)
    began = time.monotonic()
    train(
        model,
        data,
        loss,
        schedule=schedule,
        folder=folder / "work",
        evaluate=materials.evaluate,
        keep=own.keep,
        device=materials.device,
        checkpoint_minutes=own.checkpoint_minutes,
        evaluate_every=max(1, schedule.tokens // own.checks),
        name=name,
    )
    scores = materials.evaluate(model)
    minutes = round((time.monotonic() - began) / 60, 1)
    told = {"stage": name, "pieces": schedule.tokens, "minutes": minutes, "learns": learns, "dev": scores}
    finish(materials, folder, model, stages=[*stages, told], seed=schedule.seed)
    console.log(f"{recipe.name}: {name}: dev {scores}")


def finish(
    materials: SentenceMaterials, folder: Path, model: SentenceEncoder, *, stages: list[dict[str, Any]], seed: int
) -> None:
    """Write a stage's model, with where it comes from."""
    recipe = materials.recipe
    training = {
        "recipe": recipe.name,
        "kind": recipe.kind,
        "command": "onoma distill run RECIPE",
        "seed": seed,
        "stages": stages,
        "minutes": round(sum(stage["minutes"] for stage in stages), 1),
        "teacher": {"path": recipe.teacher.path, "sha256": materials.teacher.digest},
        "languages": list(recipe.data.languages),
        "data": recipe.data.hashes(),
        "licences": LICENCES,
        "keys": recipe.model_dump(mode="json", exclude={"variants", "expect", "tokenizer"}),
    }
    save(model.to("cpu"), materials.tokenizer, folder, training=training)
    write_json(folder / RESULT, {"stages": stages, "config": asdict(model.config)})
