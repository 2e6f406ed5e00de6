"""Teachers of one language each, and who teaches what: a sentence is taught by the teacher of its own language.

Wang et al. 2020: each teacher is trained on one language's labels alone; one student learns from all of them. What a
teacher says is its emissions, computed once for all sentences and kept like any teacher's answers. Everything that
losses ask of its sequences follows from these and its few transitions in less time than it would take to read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.alignment import Targets
from distill.batches import Batch, gather
from distill.dataset import Packed
from distill.recipe import Recipe
from distill.recipe_tables import SchedulePart, Transfer
from distill.students import Student, load_student
from distill.teacher_cache import TargetSource

ALL = ""  # stands for the languages of a teacher of all


def teacher_recipe(recipe: Recipe, tokenizer: Path, *, begun: Path | None = None) -> Recipe:
    """The recipe of the teachers: students of labels alone, with the vocabulary of the one they will teach.

    :param begun: the teacher of all languages that each one goes on from; None for that teacher itself, or if there is
        none.
    :raises ValueError: if the recipe has no teachers.
    """
    own = recipe.teachers
    if own is None:
        raise ValueError(f"recipe {recipe.name!r} has no [teachers]")
    pooled = own.pooled > 0 and begun is None
    schedule = SchedulePart(
        strategy="D0-S",
        representation=0,
        logits=0,
        labels=own.pooled if pooled else own.pieces,
        batch=own.batch,
        rate=own.pooled_rate if pooled else own.rate,
        embedding_rate=own.embedding_rate,
        transition_rate=own.transition_rate,
        checks=own.checks,
        keep=own.keep,
        checkpoint_minutes=recipe.schedule.checkpoint_minutes,
    )
    changes = {
        "name": f"{recipe.name}-teachers",
        "tokenizer": str(tokenizer),
        "transfer": Transfer(),
        "student": own.shape if begun is None else own.shape.model_copy(update={"checkpoint": str(begun)}),
        "teachers": None,
        "loss": type(recipe.loss)(),
        "schedule": schedule,
        "bundle": None,
    }
    return recipe.model_copy(update=changes)


class Monolingual:
    """Answers of several teachers that share the student's pieces.

    :param teachers: by language; under "" the one of all others.
    """

    def __init__(self, teachers: Mapping[str, Student], *, device: torch.device) -> None:
        self._teachers = {name: model.to(device).eval() for name, model in teachers.items()}
        self._device = device

    def __call__(self, data: Packed, index: NDArray[np.int64]) -> Targets:
        """Targets of the examples (B,) of equal length.

        :raises ValueError: if an example is in a language without a teacher.
        """
        own = gather(data, index).to(self._device)
        found: Tensor | None = None
        languages = data.language[index]
        for language in np.unique(languages):
            rows = torch.from_numpy(np.flatnonzero(languages == language)).to(self._device)
            logits = self._logits(self.teacher_of(data.languages[language]), own.ids[rows])
            if found is None:
                found = logits.new_empty(*own.ids.shape, logits.shape[-1])
            found[rows] = logits
        assert found is not None
        return Targets(found)

    def teacher_of(self, language: str) -> Student:
        """The teacher of a language.

        :raises ValueError: if there is none.
        """
        teacher = self._teachers.get(language, self._teachers.get(ALL))
        if teacher is None:
            raise ValueError(f"no teacher for {language!r}, only for {', '.join(self._teachers)}")
        return teacher

    @torch.no_grad()
    def _logits(self, teacher: Student, ids: Tensor) -> Tensor:
        with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=ids.device.type == "cuda"):
            logits: Tensor = teacher(ids, torch.ones_like(ids))
        return logits.float()


class WithTransitions:
    """Targets that also have the transitions of each sentence's teacher.

    :param source: gives the emissions.
    """

    def __init__(self, source: TargetSource, data: Packed, teachers: Monolingual) -> None:
        self._source, self._language = source, data.language
        crfs = [teachers.teacher_of(language).crf for language in data.languages]
        self._parts = None
        if all(crf is not None for crf in crfs):
            own = [crf() for crf in crfs if crf is not None]
            self._parts = [torch.stack(part).detach().cpu() for part in zip(*own, strict=True)]

    def __call__(self, batch: Batch) -> Targets:
        """Targets of one batch."""
        found = self._source(batch)
        if self._parts is None:
            return found
        rows = torch.from_numpy(self._language[batch.index].astype(np.int64))
        return Targets(found.logits, found.hidden, *(part[rows].to(found.logits.device) for part in self._parts))


def load_teachers(folders: Mapping[str, Path], *, device: torch.device) -> Monolingual:
    """The finished teachers in these folders, by language."""
    return Monolingual({language: load_student(folder) for language, folder in folders.items()}, device=device)
