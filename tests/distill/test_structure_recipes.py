"""Structure-level distillation as a recipe: teachers of one language each, made once, and students of every kind."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file
from toydata import Breaking, Killed, Toy, told

from distill import distillation, teacher_cache
from distill.losses import Token
from distill.monolingual import Monolingual
from distill.structure import STRUCTURAL
from distill.students import WEIGHTS_FILE, load_student
from distill.studies import Place
from distill.study_report import write_report
from distill.transfer import JointLoss

KINDS = [kind for kind in (*get_args(Token), *STRUCTURAL) if kind != "token"]  # which is for softmax models alone
VARIANTS: dict[str, dict[str, Any]] = {
    "teachers": {"schedule.strategy": "teachers"},
    "D0": {"schedule.strategy": "D0"},
    "crf": {"schedule.strategy": "D0-S"},
    **{kind: {"loss.imitation": kind} for kind in KINDS},
    "softmax": {"schedule.strategy": "D0-S", "student.decoder": "softmax"},
    "into softmax": {"loss.imitation": "structural", "student.decoder": "softmax"},
    "token": {"loss.imitation": "token", "student.decoder": "softmax", "teachers.shape.decoder": "softmax"},
    "in stages": {
        "loss.imitation": "structural", "loss.annealed": 0.0, "schedule.strategy": "D4.2", "transfer.wikiann": 30,
        "schedule.logits": 300,
    },
    "one teacher": {"loss.imitation": "structural", "teachers.together": True, "teachers.pooled": 300},
    "begun together": {"loss.imitation": "structural", "teachers.pooled": 300},
}  # fmt: skip


@pytest.fixture
def structure(toy: Toy) -> Toy:
    """CRF teachers of two languages, into a CRF student, by labels and posteriors."""
    toy.content["teacher"] = {}
    toy.content["transfer"] = {"wikiann": 0}
    toy.content["student"] |= {"decoder": "crf", "projection": "none", "start": "random"}
    toy.content["teachers"] = {"pieces": 300, "batch": 128, "checks": 1, "rate": 0.02}
    toy.content["teachers"]["shape"] = {"embedding": 7, "hidden": 6, "start": "random"}
    toy.content["loss"] = {"imitation": "posterior", "annealed": 1.0, "best": 3}
    toy.content["schedule"] |= {"strategy": "D1", "representation": 0, "logits": 0, "checks": 1}
    toy.content["evaluation"] |= {"zero_shot": ["ru"]}
    return toy


def record(toy: Toy, student: str) -> dict[str, Any]:
    return dict(json.loads((toy.place.store / student / "training.json").read_text(encoding="utf-8")))


def test_every_kind_of_student_from_one_recipe(structure: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    original, asked = Monolingual.__call__, Counter[str]()

    def counted(self: Monolingual, *arguments: Any) -> Any:
        asked["batches"] += 1
        return original(self, *arguments)

    monkeypatch.setattr(Monolingual, "__call__", counted)
    variants = [{"name": name, "set": changes} for name, changes in VARIANTS.items()]
    whole = {"variants": variants, "expect": ["crf < structural"]}
    results = structure.run(whole)
    runs = {run["variant"]: run for run in results["runs"]}
    assert list(runs) == list(VARIANTS) and "teacher" not in results

    # One each, two of D0; 2 + 2 + 1 + 2 teachers: CRFs, softmax models, one of all languages, two that go on from it.
    # D4.2 has three steps for the logits and three for the labels.
    students = len(VARIANTS) - 1 + 1 + 7
    assert (results["new"]["student"], results["new"]["step"]) == (students, students + 5)
    made = {name: record(structure, run["student"])["teachers"] for name, run in runs.items() if run["student"]}
    assert list(made["structural"]) == ["de", "en"]
    for name in [*KINDS, "into softmax", "in stages"]:
        assert made[name] == made["structural"], "they are made once"
    assert list(made["one teacher"]) == [""] and made["begun together"] != made["structural"]
    assert made["crf"] == made["softmax"] == {}
    for language, folder in made["structural"].items():
        assert record(structure, folder)["languages"] == [language]
        teacher = load_student(structure.place.store / folder)
        assert (teacher.config.decoder, teacher.config.hidden) == ("crf", 6)
    assert load_student(structure.place.store / made["token"]["de"]).config.decoder == "softmax"

    for name, run in runs.items():
        assert list(run["test"]["all"]["f1"]) == ["de", "en"] and list(run["zero_shot"]["all"]["f1"]) == ["ru"], name
        if run["student"]:
            crf = load_student(structure.place.store / run["student"]).crf
            assert (crf is None) == ("softmax" in name or name == "token")
            assert crf is None or bool(crf.transitions.any()), "the transitions have learned"
    weights = {name: structure.weights(run)["embedding.weight"] for name, run in runs.items() if run["student"]}
    alike = [pair for pair in combinations(weights, 2) if torch.equal(*(weights[name] for name in pair))]
    assert alike == [("kl", "emission")], "one loss by two names; each other one makes another student"

    told_before, batches = [told(run) for run in results["runs"]], asked["batches"]
    again = structure.run(whole)
    assert again["new"] == {} and [told(run) for run in again["runs"]] == told_before
    assert asked["batches"] == batches > 0, "no teacher is asked again"
    text = write_report(structure.root / "out", structure.root / "out").read_text(encoding="utf-8")
    assert "one a language (bilstm crf, E=7 H=6)" in text and "## Zero-shot" in text and "zero-shot |" in text

    without = {key: value for key, value in structure.content.items() if key != "teachers"}
    structure.content = without
    for name in ("D0", "crf"):
        alone = structure.run(dict(VARIANTS[name]))
        assert alone["new"] == {}, "what is not taught does not depend on teachers"


def test_every_cache_gives_the_same_student(structure: Toy) -> None:
    keys = {"loss.imitation": "structural"}
    (first,) = structure.run(keys)["runs"]
    shards = set(structure.place.cache.glob("teacher-*"))
    for cache in ("memory", "none"):
        place = Place(structure.root / cache, structure.place.cache, "cpu")
        (run,) = structure.run(keys | {"teacher.cache": cache}, place=place)["runs"]
        assert run["student"] == first["student"]
        weights = load_file(place.store / run["student"] / WEIGHTS_FILE)
        for name, value in structure.weights(first).items():
            torch.testing.assert_close(weights[name], value, rtol=1e-2, atol=1e-3)
    assert set(structure.place.cache.glob("teacher-*")) == shards and len(shards) == 1


def test_what_the_students_change_leaves_the_teachers_as_they_are(structure: Toy) -> None:
    structure.run({})
    after = {"student": 1, "scores": 1}
    assert structure.run({"loss.imitation": "top-k"})["new"] == {"step": 1, **after}
    assert structure.run({"student.hidden": 8})["new"] == {"start": 1, "step": 1, **after}
    assert structure.run({"schedule.labels": 500})["new"] == {"step": 1, **after}
    # A teacher more, a student of another mixture, and all are judged anew, for there is no zero-shot language.
    more = {"labels.languages": ["de", "en", "ru"], "evaluation.zero_shot": []}
    assert structure.run(more)["new"] == {"step": 2, "student": 2, "scores": 4}


KILLS: dict[str, list[tuple[Any, str, int]]] = {
    "in the first teacher": [(JointLoss, "__call__", 2)],
    "in the second teacher": [(JointLoss, "__call__", 5)],
    "while the teachers label": [(teacher_cache, "write_shard", 1)],
    "in the student": [(JointLoss, "__call__", 9)],
    "while a teacher is written": [(distillation, "save_student", 3)],
    "again and again": [(JointLoss, "__call__", nth) for nth in (2, 3, 4, 3, 2)],
}


@pytest.mark.parametrize("kill", KILLS)
def test_a_killed_run_comes_to_the_very_same_student(
    structure: Toy, kill: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (whole,) = structure.run({}, place=Place(tmp_path / "whole", tmp_path / "cache of the whole", "cpu"))["runs"]
    for owner, name, nth in KILLS[kill]:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, Breaking(getattr(owner, name), nth))
            with pytest.raises(Killed):
                structure.run({})
        torch.rand(nth)  # the state of the world differs when it comes back
    (run,) = structure.run({})["runs"]
    assert told(run) == told(whole)
    weights = load_file(tmp_path / "whole" / whole["student"] / WEIGHTS_FILE)
    assert all(torch.equal(structure.weights(run)[name], value) for name, value in weights.items())
