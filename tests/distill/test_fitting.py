"""Which values of a recipe do not go together. Those of a source that stands alone are in test_other_task.py."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from distill.recipe import Recipe
from distill.structure import STRUCTURAL

LEAST: dict[str, Any] = {
    "name": "least", "tokenizer": "t", "teacher": {"path": "p"}, "labels": {"languages": ["de", "en"]},
}  # fmt: skip
ALONE: dict[str, Any] = LEAST | {"teacher": {}, "student": {"projection": "none", "start": "random"}}
TAUGHT: dict[str, Any] = ALONE | {
    "teachers": {"shape": {"start": "random"}},
    "student": {"projection": "none", "start": "random", "decoder": "crf"},
    "schedule": {"strategy": "D1"},
}


def recipe(base: dict[str, Any], changes: dict[str, Any]) -> Recipe:
    """A recipe with changes, named by their dotted paths."""
    content = deepcopy(base)
    for path, value in changes.items():
        *tables, key = path.split(".")
        place = content
        for table in tables:
            place = place.setdefault(table, {})
        place[key] = value
    return Recipe.model_validate(content)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student.kind": "conv", "student.kernel": 4}, "student.kernel must be odd for a conv, got 4"),
        (
            {"student.kind": "transformer", "student.hidden": 50},
            r"student.hidden must be a multiple of student.heads \(4\) for a transformer, got 50",
        ),
        (
            {"teacher.engine": "ray", "teacher.cache": "none"},
            "teacher.cache must be 'disk' for teacher.engine 'ray', got 'none'",
        ),
        (
            {"schedule.strategy": "D3.2", "loss.alpha": 0, "loss.gamma": 0},
            "loss.alpha, loss.gamma must not all be 0 for the joint stage of D3.2, got 0",
        ),
        ({"schedule.strategy": "D1", "loss.alpha": 0, "loss.gamma": 0}, "loss.alpha, loss.gamma must not all be 0"),
        (
            {"schedule.strategy": "D2", "loss.alpha": 0, "loss.beta": 0, "loss.gamma": 0},
            "loss.alpha, loss.gamma, loss.beta must not all be 0 for the joint stage of D2, got 0",
        ),
        (
            {"schedule.strategy": "D1", "loss.alpha": 0, "loss.annealed": 0.5},
            "loss.alpha must be above 0 for loss.annealed, which moves all weight to it, got 0",
        ),
        ({"loss.annealed": 0.5}, "loss.annealed is for joint stages, which D4.2 has not, got 0.5"),
        ({"schedule.strategy": "teachers"}, r"schedule.strategy 'teachers' trains those of \[teachers\], which is mis"),
        *(
            (
                {"loss.imitation": kind, "loss.pieces": "first"},
                rf"loss.pieces must be 'all' for loss.imitation '{kind.replace('+', '.')}', got 'first'",
            )
            for kind in STRUCTURAL
        ),
        (
            {"loss.imitation": "token", "student.decoder": "crf"},
            "loss.imitation 'token' is for softmax models: student.decoder is 'crf', the teacher's 'softmax'",
        ),
        (
            {"loss.imitation": "emission", "student.decoder": "crf"},
            "loss.imitation 'emission' is for crf models: student.decoder is 'crf', the teacher's 'softmax'",
        ),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(LEAST, changes)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, "schedule.strategy is 'D4.2'"),
        ({"student.checkpoint": "c", "student.embeddings": "e"}, "schedule.strategy is 'D4.2'"),
        ({"schedule.strategy": "D0-S", "student.projection": "gelu"}, "student.projection is 'gelu'"),
        ({"schedule.strategy": "D0", "student.start": "pca"}, "student.start is 'pca'"),
    ],
)
def test_a_teacher_that_is_needed_must_be_named(changes: dict[str, Any], missing: str) -> None:
    with pytest.raises(ValueError, match=f"teacher.path is missing, but {missing}"):
        recipe(ALONE | {"schedule": {"strategy": "D0-S"}}, {"schedule.strategy": "D4.2"} | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teachers.together": True}, "teachers.pooled must be above 0 for teachers.together, got 0"),
        ({"labels.languages": []}, r"labels.languages must name the languages of \[teachers\], one each; it is empty"),
        *(
            ({"schedule.strategy": name}, rf"\[teachers\] have no representation to learn: .*strategy is '{name}'")
            for name in ("D2", "D3.1", "D3.2")
        ),
        *(
            (
                {"schedule.strategy": name, "schedule.representation": 5},
                r"schedule.representation must be 0: \[teachers\] have none to learn, got 5",
            )
            for name in ("D4.1", "D4.2")
        ),
        (
            {"evaluation.languages": ["de", "fr"]},
            r"evaluation.languages must have \[teachers\], got fr; others go into evaluation.zero_shot",
        ),
        ({"teacher.engine": "ray"}, r"teacher.engine must be 'local' with \[teachers\], got 'ray'"),
        ({"teachers.shape.minimum_count": 2}, r"teachers.shape.minimum_count is not for \[teachers\]: they start anew"),
        ({"teachers.shape.checkpoint": "c"}, r"teachers.shape.checkpoint is not for \[teachers\]: they start anew"),
        ({"student.projection": "linear"}, r"student.projection must be 'none' with \[teachers\], got 'linear'"),
        (
            {"student.start": "svd"},
            "student.start is 'svd', but neither student.embeddings nor teacher.path is given",
        ),
        (
            {"teachers.shape.start": "pca"},
            "teachers.shape.start is 'pca', but neither teachers.shape.embeddings nor teacher.path is given",
        ),
        (
            {"loss.imitation": "token"},
            "loss.imitation 'token' is for softmax models: student.decoder is 'crf', the teacher's 'crf'",
        ),
        (
            {"loss.imitation": "emission", "student.decoder": "softmax"},
            "loss.imitation 'emission' is for crf models: student.decoder is 'softmax', the teacher's 'crf'",
        ),
    ],
)
def test_what_does_not_fit_teachers_of_the_recipes_own_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(TAUGHT, changes)


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        (LEAST, {"student.kernel": 4, "student.hidden": 50, "student.heads": 4}),
        (LEAST, {"student.kind": "transformer", "student.hidden": 52}),
        (LEAST, {"teacher.engine": "ray"}),
        (LEAST, {"schedule.strategy": "D2", "loss.alpha": 0, "loss.gamma": 0}),
        (LEAST, {"loss.alpha": 0, "loss.gamma": 0}),  # no stage of D4.2 is joint
        (LEAST, {"loss.annealed": 1.0, "schedule.strategy": "D0-S", "loss.alpha": 0}),
        (LEAST, {"loss.imitation": "structural", "loss.pieces": "first", "schedule.strategy": "D0"}),
        (LEAST, {"loss.imitation": "structural", "student.decoder": "crf"}),  # from a softmax teacher
        (ALONE, {"schedule.strategy": "D0-S"}),
        (ALONE, {"schedule.strategy": "D0-S", "student.start": "svd", "student.embeddings": "e"}),
        (ALONE, {"schedule.strategy": "D0", "student.start": "svd", "student.checkpoint": "c"}),
        (TAUGHT, {"teachers.together": True, "teachers.pooled": 9, "labels.languages": []}),
        (TAUGHT, {"schedule.strategy": "D4.2", "schedule.representation": 0, "evaluation.languages": ["de"]}),
        (TAUGHT, {"evaluation.languages": ["de", "fr"], "teachers.together": True, "teachers.pooled": 9}),
        (TAUGHT, {"schedule.strategy": "teachers", "schedule.representation": 5}),
        (TAUGHT, {"student.start": "svd", "teachers.shape.start": "svd", "teacher.path": "p"}),
        (TAUGHT, {"teachers.shape.start": "svd", "teachers.shape.embeddings": "e"}),
        (TAUGHT, {"student.start": "svd", "student.checkpoint": "c"}),
        (TAUGHT, {"loss.imitation": "emission"}),
        (TAUGHT, {"loss.imitation": "structural", "student.decoder": "softmax"}),
        (TAUGHT, {"loss.imitation": "token", "student.decoder": "softmax", "teachers.shape.decoder": "softmax"}),
    ],
    ids=str,
)
def test_what_has_no_effect_or_fits_is_not_refused(base: dict[str, Any], changes: dict[str, Any]) -> None:
    recipe(base, changes)
