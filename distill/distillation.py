"""One student, from its start through every step to its scores: a chain of artefacts."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from distill.batches import epoch_batches, gather
from distill.console import console
from distill.dataset import Packed, types_in_key
from distill.embeddings import rows_for, start_embedding
from distill.files import write_json
from distill.judging import judge
from distill.materials import Materials
from distill.mixture import TEXT_SOURCES, data_hashes, data_licences
from distill.piece_scores import macro_f1
from distill.recipe import Recipe
from distill.recipe_tables import Labels, SchedulePart, StudentPart
from distill.stages import Step, plan
from distill.students import (
    CONFIG_FILE,
    TRAINING_FILE,
    WEIGHTS_FILE,
    Decoder,
    Student,
    StudentConfig,
    folded,
    load_student,
    parameter_count,
    save_student,
)
from distill.teacher_cache import standard_of
from distill.training import Schedule, accelerator_for, train
from distill.transfer import JointLoss
from onoma.bundle import TOKENIZER_FILE, sha256

RESULT = "result.json"
# Keys of a recipe that tell how a student came about; where files lie does not, nor what no step used. Types and source
# are added where they are not the default.
_ABOUT_UNTAUGHT: dict[str, Any] = {
    "labels": set(Labels.model_fields) - {"gazetteer", "languages", "types", "source"},
    "student": set(StudentPart.model_fields) - {"checkpoint", "embeddings"},
    "schedule": {"batch", "rate", "embedding_rate", "transition_rate", "checks", "keep"},
}
_ABOUT = _ABOUT_UNTAUGHT | {
    "transfer": True,
    "loss": True,
    "teacher": {"layer"},
    "schedule": set(SchedulePart.model_fields) - {"checkpoint_minutes"},
}


def distil(materials: Materials, *, seed: int) -> dict[str, Any]:
    """Run every step of the recipe's strategy with one seed; what is already there is not made again.

    :return: steps with their dev scores, scores on dev and test, size, and the folder of the student.
    :raises ValueError: if the recipe's strategy does not fit its student, or labels differ.
    """
    steps = plan(materials.recipe)
    place = _start(materials, seed=seed)
    told: list[dict[str, Any]] = []
    for step in steps:
        place = _run_step(materials, step, place, seed=seed)
        told.append(_read(place) | {"artefact": place.name})
    student = _finish(materials, place, seed=seed, steps=told)
    scores = judge(materials, student)
    about = {"seed": seed, "steps": told, "student": student.name, "coverage": materials.coverage}
    return about | _read(student) | scores


def _read(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    return content


def _start(materials: Materials, *, seed: int) -> Path:
    """The student before its first step: its shape, random weights, embeddings from the teacher's."""
    own = materials.recipe.student
    if own.checkpoint is not None:
        folder = Path(own.checkpoint)
        check_shape(materials.recipe, folder)
        files = [sha256(folder / name) for name in (WEIGHTS_FILE, CONFIG_FILE, TOKENIZER_FILE)]
        facts: dict[str, Any] = {"checkpoint": files, "dropout": own.dropout, "decoder": own.decoder}
    else:
        facts = {"shape": own.model_dump(exclude={"checkpoint", "embeddings"}), "seed": seed}
        if own.start != "random":
            facts["embeddings"] = materials.embeddings.fingerprint
        if own.projection != "none":
            facts["teacher"] = materials.teacher.fingerprint
    facts["tokenizer"] = sha256(materials.tokenizer_path)
    facts |= types_in_key(materials.recipe.labels.types)

    def build(folder: Path) -> None:
        if own.checkpoint is not None:
            student = with_vocabulary(
                Path(own.checkpoint), materials.tokenizer, dropout=own.dropout, decoder=own.decoder
            )
        else:
            torch.manual_seed(seed)
            student = Student(_config(materials))
            rows = None
            if own.start != "random":
                source = materials.embeddings
                matrix = source.model.get_input_embeddings().weight.detach()  # type: ignore[operator]
                rows = rows_for(materials.tokenizer, source.tokenizer, matrix)
            start_embedding(student, rows, start=own.start)
        save_student(student, folder)
        write_json(folder / RESULT, {})

    return materials.store.get("start", facts, build)


def check_shape(recipe: Recipe, checkpoint: Path) -> None:
    """A student to go on from must have the recipe's shape; vocabulary and dropout may differ.

    :raises ValueError: naming the key, the recipe's value and the checkpoint's.
    """
    found, own = load_student(checkpoint).config, recipe.student
    if found.labels != (tags := recipe.label_set.tags):
        raise ValueError(f"labels differ: {checkpoint} has {list(found.labels)}, labels.types gives {list(tags)}")
    projection = found.activation if found.projection else "none"
    pairs: dict[str, tuple[Any, Any]] = {"kind": (own.kind, found.kind), "embedding": (own.embedding, found.embedding)}
    pairs |= {"hidden": (own.hidden, found.hidden), "projection": (own.projection, projection)}
    if found.kind != "bilstm":
        pairs["layers"] = (own.layers, found.layers)
        other = "kernel" if found.kind == "conv" else "heads"
        pairs[other] = (getattr(own, other), getattr(found, other))
    for name, (asked, has) in pairs.items():
        if asked != has:
            raise ValueError(f"student.{name} is {asked!r}, but the checkpoint {checkpoint} has {has!r}")


def with_vocabulary(
    checkpoint: Path, tokenizer: Tokenizer, *, dropout: float, decoder: Decoder = "softmax"
) -> Student:
    """A finished student with the embeddings of another vocabulary, such as a trimmed one; the rest is as it was.

    :param decoder: a softmax student becomes a CRF without preferences; the other way round its transitions are lost.
    """
    student = load_student(checkpoint)
    before = Tokenizer.from_file(str(checkpoint / TOKENIZER_FILE))
    config = replace(student.config, vocabulary=tokenizer.get_vocab_size(), dropout=dropout, decoder=decoder)
    moved = Student(config)
    own = moved.state_dict()
    weights = own | {name: value for name, value in student.state_dict().items() if name in own}
    if before.get_vocab() != tokenizer.get_vocab():
        weights["embedding.weight"] = rows_for(tokenizer, before, student.embedding.weight.detach())
    moved.load_state_dict(weights)
    return moved


def _config(materials: Materials) -> StudentConfig:
    own = materials.recipe.student
    width = 0
    if own.projection != "none":
        config: Any = materials.teacher.model.config
        width = int(config.hidden_size)
    return StudentConfig(
        vocabulary=materials.tokenizer.get_vocab_size(),
        embedding=own.embedding,
        hidden=own.hidden,
        labels=materials.recipe.label_set.tags,
        dropout=own.dropout,
        kind=own.kind,
        layers=own.layers,
        kernel=own.kernel,
        heads=own.heads,
        projection=width,
        activation="gelu" if own.projection == "gelu" else "linear",
        decoder=own.decoder,
    )


def _run_step(materials: Materials, step: Step, before: Path, *, seed: int) -> Path:
    recipe = materials.recipe
    asked = bool(step.objective.logits or step.objective.representation)
    data, dev = materials.of(step.data), materials.dev
    schedule = Schedule(
        tokens=step.pieces,
        batch_tokens=recipe.schedule.batch,
        learning_rate=step.rate,
        seed=seed,
        embedding_rate=recipe.schedule.embedding_rate,
        transition_rate=recipe.schedule.transition_rate if recipe.student.decoder == "crf" else 1.0,
    )
    keep, checks = recipe.schedule.keep, recipe.schedule.checks
    facts = {
        "before": before.name,
        "step": asdict(step),
        "schedule": schedule.facts,
        "data": data.digest,
        "dev": dev.digest,
        "keep": keep,
        "checks": checks,
        "pieces": recipe.loss.pieces,
        "teacher": materials.taught_by if asked else None,
        # A GPU computes in bf16; several processes make larger batches.
        "on": [materials.device.type, accelerator_for(materials.device).num_processes],
    }

    def build(folder: Path) -> None:
        began = time.monotonic()
        student = load_student(before)
        for name, layer in student.layers():
            layer.requires_grad_(name in step.thawed)
        loss = _loss(materials, step, data)
        dev_loss = _loss(materials, step, dev, standard=loss.standard) if step.judge == "loss" else None

        def score(model: nn.Module) -> dict[str, float]:
            f1 = round(macro_f1(model, dev, labels=recipe.label_set), 3)
            if dev_loss is None:
                return {"score": f1, "f1": f1}
            mean = mean_loss(model, dev, dev_loss)
            return {"score": -mean, "f1": f1, "loss": round(mean, 5)}

        name = f"{recipe.name} {recipe.schedule.strategy} {step.stage} {step.thawed[-1]}"
        train(
            student,
            data,
            loss,
            schedule=schedule,
            folder=folder / "checkpoint",
            evaluate=score,
            keep=keep,
            evaluate_every=-(-step.pieces // checks),
            device=materials.device,
            checkpoint_minutes=recipe.schedule.checkpoint_minutes,
            name=name,
            facts=facts,
        )
        student.to("cpu").eval()
        accelerator = accelerator_for(materials.device)
        accelerator.wait_for_everyone()
        scores = score(student)
        if accelerator.is_main_process:
            save_student(student, folder)
            minutes = round((time.monotonic() - began) / 60, 2)
            about = {"stage": step.stage, "thawed": list(step.thawed), "pieces": step.pieces, "minutes": minutes}
            write_json(folder / RESULT, about | scores)
            shutil.rmtree(folder / "checkpoint")

    return materials.store.get("step", facts, build, together=True)


def _loss(materials: Materials, step: Step, data: Packed, *, standard: Tensor | None = None) -> JointLoss:
    objective = step.objective
    if not (objective.logits or objective.representation):
        return JointLoss(objective, None, chosen=materials.chosen)
    targets = materials.targets(data, representation=bool(objective.representation))
    if standard is None and objective.representation and objective.likeness == "mse":
        standard = standard_of(targets, data, objective.layer)
    return JointLoss(objective, targets, standard=standard, chosen=materials.chosen)


@torch.no_grad()
def mean_loss(model: nn.Module, data: Packed, loss: JointLoss) -> float:
    """The loss over all of `data`, weighted by pieces."""
    device = next(model.parameters()).device
    total = 0.0
    for index in epoch_batches(data, batch_tokens=8192, seed=0, epoch=0):
        batch = gather(data, index).to(device)
        total += float(loss(model, batch)) * batch.ids.numel()
    return total / max(1, data.pieces)


def _finish(materials: Materials, place: Path, *, seed: int, steps: list[dict[str, Any]]) -> Path:
    """The student as `onoma export student` takes it: without its projection where that folds, with tokenizer."""
    recipe = materials.recipe
    taught = recipe.schedule.taught
    mixtures = [recipe.mixture(languages=materials.languages), *([recipe.transfer_mixture()] if taught else [])]
    own = recipe.student
    started = own.checkpoint is None and own.start != "random"
    keys = recipe.model_dump(mode="json", include=_ABOUT if taught else _ABOUT_UNTAUGHT)
    keys["labels"] |= recipe.labels.other_task
    about = {
        "recipe": keys,
        "languages": materials.languages or recipe.labels.languages,
        "seed": seed,
        "steps": [{key: value for key, value in step.items() if key != "minutes"} for step in steps],
        "teacher": materials.taught_by if taught else None,
        "teachers": {language: folder.name for language, folder in materials.teachers.items()} if taught else {},
        "embeddings": materials.embeddings.fingerprint if started else None,
        "data": data_hashes(*mixtures),
        "licences": data_licences(*mixtures),
        "unlabelled_text": TEXT_SOURCES if any(mixture.text for mixture in mixtures) else None,
        "tokenizer": sha256(materials.tokenizer_path),
    }
    if own.checkpoint is not None and (earlier := Path(own.checkpoint) / TRAINING_FILE).is_file():
        told = json.loads(earlier.read_text(encoding="utf-8"))
        about["begun_with"] = {key: value for key, value in told.items() if key not in about or about[key] != value}

    def build(folder: Path) -> None:
        student = folded(load_student(place))
        save_student(student, folder)
        (folder / TOKENIZER_FILE).write_bytes(materials.tokenizer_path.read_bytes())
        write_json(folder / TRAINING_FILE, about)
        write_json(
            folder / RESULT,
            {"parameters": parameter_count(student), "vocabulary": student.config.vocabulary},
        )

    facts = {"before": place.name, "about": about}
    console.log(f"{recipe.name}: {recipe.schedule.strategy} seed {seed} is through its steps")
    return materials.store.get("student", facts, build)
