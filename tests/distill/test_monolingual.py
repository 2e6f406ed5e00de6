"""Teachers of one language each: who answers what, and how the answers come to the losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from toydata import random_packed

from distill.alignment import Targets
from distill.batches import gather
from distill.dataset import LABELS, Packed
from distill.monolingual import ALL, Monolingual, WithTransitions, load_teachers, teacher_recipe
from distill.recipe import Recipe
from distill.students import Decoder, Student, StudentConfig, save_student
from distill.teacher_cache import Mode, teacher_targets

CPU = torch.device("cpu")
# Examples in German, English, German, ...: 0, 1 and 3 have three pieces, 2, 4 and 5 have five.
DATA = random_packed([3, 3, 5, 3, 5, 5], languages=("de", "en"))
THREES, FIVES = np.array([3, 0, 1]), np.array([2, 5, 4])


def student(seed: int, decoder: Decoder = "crf") -> Student:
    """In training mode, with dropout and with transitions: a new CRF has none."""
    torch.manual_seed(seed)
    model = Student(StudentConfig(40, 6, 5, LABELS.tags, decoder=decoder, dropout=0.5))
    for weight in model.parameters():
        nn.init.normal_(weight)
    return model


def answer(model: Student, row: int) -> torch.Tensor:
    """(T, C) what the model says of one example alone."""
    ids = gather(DATA, np.array([row])).ids
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(ids, torch.ones_like(ids))
    return logits[0]


class Counting(Monolingual):
    """Counts the examples it is asked about."""

    asked = 0

    def __call__(self, data: Packed, index: NDArray[np.int64]) -> Targets:
        self.asked += len(index)
        return super().__call__(data, index)


@pytest.mark.parametrize("index", [THREES, FIVES])
def test_each_sentence_is_answered_by_the_teacher_of_its_language(index: NDArray[np.int64]) -> None:
    teachers = {"de": student(1), "en": student(2), "fr": student(3)}
    found = Monolingual(teachers, device=CPU)(DATA, index)
    assert found.logits.shape == (3, DATA.lengths[index[0]], 7) and not found.logits.requires_grad
    assert found.transitions is None and found.hidden == {}
    for row, example in enumerate(index.tolist()):
        own, other = (teachers[name] for name in (("en", "de") if example % 2 else ("de", "en")))
        torch.testing.assert_close(found.logits[row], answer(own, example))
        assert not torch.allclose(found.logits[row], answer(other, example))


def test_a_language_without_a_teacher_is_named() -> None:
    alone = Monolingual({"de": student(1), "fr": student(2)}, device=CPU)
    assert alone(DATA, np.array([0])).logits.shape == (1, 3, 7)
    with pytest.raises(ValueError, match="no teacher for 'en', only for de, fr"):
        alone(DATA, THREES)
    with pytest.raises(ValueError, match="no teacher for 'en', only for de, fr"):
        WithTransitions(lambda batch: Targets(batch.ids[..., None].float()), DATA, alone)


def test_one_teacher_of_all_answers_for_those_without_one_of_their_own() -> None:
    teachers = {ALL: student(1), "en": student(2)}
    found = Monolingual(teachers, device=CPU)(DATA, THREES)
    for row, name in enumerate(("en", ALL, "en")):
        torch.testing.assert_close(found.logits[row], answer(teachers[name], THREES[row]))


@pytest.mark.parametrize("mode", get_args(Mode))
def test_the_losses_get_the_same_from_every_cache(mode: Mode, tmp_path: Path) -> None:
    teachers = {"de": student(1), "en": student(2)}
    several = Counting(teachers, device=CPU)

    def source() -> WithTransitions:
        stored = teacher_targets(several, DATA, mode=mode, cache=tmp_path, fingerprint="a", batch_tokens=6)
        return WithTransitions(stored, DATA, several)

    before = source()
    for targets in (before, before, source()):
        for index in (THREES, FIVES):
            batch = gather(DATA, index)
            chain = targets(batch).chain
            assert chain.transitions is not None and chain.start is not None and chain.end is not None
            for row, example in enumerate(index.tolist()):
                own = teachers["en" if example % 2 else "de"]
                torch.testing.assert_close(chain.emissions[row], answer(own, example), rtol=1e-3, atol=1e-4)
                assert torch.equal(chain.emissions[row], chain.emissions[row].half().float())
                parts = (chain.transitions[row], chain.start[row], chain.end[row])
                assert own.crf is not None
                assert all(torch.equal(one, other) for one, other in zip(parts, own.crf(), strict=True))
                assert not any(part.requires_grad for part in parts)
    assert several.asked == {"disk": 6, "memory": 12, "none": 18}[mode], "on disk they are there the second time"


def test_softmax_teachers_have_no_transitions() -> None:
    several = Monolingual({"de": student(1, "softmax"), "en": student(2, "softmax")}, device=CPU)
    found = WithTransitions(lambda batch: several(DATA, batch.index), DATA, several)(gather(DATA, THREES))
    assert found.transitions is None and found.chain.independent
    torch.testing.assert_close(found.logits, several(DATA, THREES).logits)


def test_teachers_are_loaded_from_their_folders(tmp_path: Path) -> None:
    folders = {"de": tmp_path / "one", "en": tmp_path / "two"}
    for seed, folder in enumerate(folders.values()):
        save_student(student(seed), folder)
    found = load_teachers(folders, device=CPU)
    for language, seed in (("de", 0), ("en", 1)):
        weights = student(seed).state_dict()
        assert all(torch.equal(value, weights[name]) for name, value in found.teacher_of(language).state_dict().items())


RECIPE: dict[str, Any] = {
    "name": "own", "tokenizer": "whole", "labels": {"languages": ["de", "en"], "wikiann": 7},
    "transfer": {"text": 5}, "loss": {"imitation": "posterior", "gamma": 3.0, "annealed": 1.0},
    "student": {"projection": "none", "start": "random", "hidden": 5, "minimum_count": 2},
    "teachers": {"pooled": 30, "pooled_rate": 0.5, "pieces": 20, "rate": 0.25, "keep": "last", "checks": 3,
                 "shape": {"hidden": 9, "start": "random"}},
    "schedule": {"strategy": "D1", "logits": 600, "checkpoint_minutes": 9}, "evaluation": {"zero_shot": ["fr"]},
}  # fmt: skip


def test_teachers_learn_from_labels_alone_with_the_students_pieces(tmp_path: Path) -> None:
    own = Recipe.model_validate(RECIPE)
    for begun in (None, tmp_path / "begun"):
        found = teacher_recipe(own, tmp_path / "trimmed", begun=begun)
        schedule = found.schedule
        assert found.tokenizer == str(tmp_path / "trimmed") and found.labels == own.labels
        assert (found.student.hidden, found.student.decoder, found.student.minimum_count) == (9, "crf", 0)
        assert found.student.checkpoint == (None if begun is None else str(begun))
        assert (schedule.strategy, schedule.keep, schedule.checks) == ("D0-S", "last", 3)
        assert (schedule.labels, schedule.rate) == ((30, 0.5) if begun is None else (20, 0.25))
        assert schedule.checkpoint_minutes == 9 and found.evaluation == own.evaluation
        Recipe.model_validate(found.model_dump())  # it is sound by itself
    alone = Recipe.model_validate(RECIPE | {"teachers": {"pieces": 20, "shape": {"start": "random"}}})
    assert teacher_recipe(alone, tmp_path / "trimmed").schedule.labels == 20
    with pytest.raises(ValueError, match=r"recipe 'own' has no \[teachers\]"):
        teacher_recipe(Recipe.model_validate(RECIPE | {"teachers": None, "teacher": {"path": "p"}}), tmp_path)
