"""Whole recipes on the small data folder: what is reused, what is made anew, and what survives a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from toydata import Breaking, Killed, Toy, sentences, told, write_conll, write_text
from transformers import AutoModelForTokenClassification

from distill import distillation, evaluation, teacher_cache
from distill.corpora import read_split
from distill.distillation import RESULT
from distill.judging import judge_teacher
from distill.materials import Materials
from distill.recipe import load_recipe
from distill.store import Store
from distill.students import WEIGHTS_FILE, load_student, parameter_count
from distill.studies import RESULTS, Place
from distill.torch_model import torch_tagger
from distill.transfer import JointLoss

# The artefacts of strategy D4.1; and those of a student that are made after its last step.
ALL = {"start": 1, "step": 3, "student": 1, "scores": 1}
AFTER = {"student": 1, "scores": 1}


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A store and a cache for all tests of this module: each asks what is new."""
    root = tmp_path_factory.mktemp("common")
    return Place(root / "store", root / "cache", "cpu")


def test_a_second_run_makes_nothing_anew(toy: Toy) -> None:
    first = toy.run()
    assert first["new"] == ALL and first["runs"][0]["made"] == sum(ALL.values())
    assert [step["stage"] for step in first["runs"][0]["steps"]] == ["representation", "logits", "labels"]
    again = toy.run()
    assert (again["runs"][0]["made"], again["new"]) == (0, {})
    assert told(again["runs"][0]) == told(first["runs"][0])
    student = load_student(toy.place.store / first["runs"][0]["student"])
    assert student.projection is None and parameter_count(student) == first["runs"][0]["parameters"]
    assert sorted(path.suffix for path in toy.place.store.glob("*-*")) == [""] * 7, "nothing is left unfinished"


@pytest.mark.parametrize(
    ("change", "new"),
    [
        ({"schedule.labels": 700}, {"step": 1, **AFTER}),
        ({"schedule.logits": 1000}, {"step": 2, **AFTER}),
        ({"schedule.label_rate": 0.003}, {"step": 1, **AFTER}),
        ({"schedule.batch": 64}, {"step": 3, **AFTER}),
        ({"schedule.keep": "last"}, {"step": 3, **AFTER}),
        ({"schedule.strategy": "D4.2"}, {"step": 8, **AFTER}),  # the first step is the same
        ({"schedule.strategy": "D0-S"}, {"step": 1, **AFTER}),
        ({"seeds": [2]}, ALL),
        ({"labels.wikiann": 15}, {"step": 1, **AFTER}),
        ({"transfer.wikiann": 30}, {"step": 3, **AFTER}),
        ({"transfer.pieces": 300}, {"step": 3, **AFTER}),
        ({"loss.imitation": "kl"}, {"step": 2, **AFTER}),
        ({"loss.pieces": "first"}, {"step": 3, **AFTER}),
        ({"teacher.layer": 2}, {"step": 3, **AFTER}),
        ({"student.dropout": 0.1}, ALL),
        ({"student.minimum_count": 1}, {"vocabulary": 1, **ALL}),
        ({"evaluation.dev": 8}, {"step": 3, **AFTER}),
        ({"evaluation.test": 8}, {"scores": 1}),
        ({"teacher.cache": "memory", "schedule.checkpoint_minutes": 9, "description": "the same"}, {}),
    ],
    ids=str,
)
def test_a_change_makes_anew_exactly_what_it_touches(
    toy: Toy, common: Place, change: dict[str, Any], new: dict[str, int]
) -> None:
    toy.place = common
    (first,) = toy.run()["runs"]
    changed = toy.run(change)
    assert changed["new"] == new
    assert (changed["runs"][0]["student"] == first["student"]) == ("student" not in new)


@pytest.mark.parametrize(
    ("split", "new"),
    [
        ("train", {"step": 3, **AFTER}),
        ("dev", {"step": 3, **AFTER}),
        ("test", {"scores": 1}),
        ("the end of train", AFTER),  # which no step sees, but "unseen" depends on it
        ("text", {"step": 3, **AFTER}),
    ],
)
def test_another_file_makes_anew_exactly_what_it_touches(
    toy: Toy, common: Place, data: Path, split: str, new: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.place = common
    toy.run()
    root = shutil.copytree(data, toy.root / "data")
    monkeypatch.setenv("ONOMA_DATA", str(root))
    assert toy.run()["new"] == {}, "where the files lie does not count"
    if split == "text":
        write_text(root / "text/de.txt.xz", ["Emil fährt nach Elbtal ."] * 30)
    elif split == "the end of train":
        known = read_split("wikiann", "de", "train")
        write_conll(root / "ner/wikiann/de/train.conll.xz", [(one.tokens, one.tags) for one in known[:-1]])
    else:
        write_conll(root / f"ner/wikiann/de/{split}.conll.xz", sentences("de", 40, seed=77))
    assert toy.run()["new"] == new


def test_another_teacher_makes_everything_anew(toy: Toy) -> None:
    teacher = shutil.copytree(toy.content["teacher"]["path"], toy.root / "teacher")
    toy.content["teacher"]["path"] = str(teacher)
    first = toy.run()
    weights = load_file(teacher / "model.safetensors")
    weights["classifier.bias"] += 1
    save_file(weights, teacher / "model.safetensors", {"format": "pt"})
    second = toy.run()
    assert second["new"] == ALL
    assert not torch.equal(toy.weights(second["runs"][0])["head.bias"], toy.weights(first["runs"][0])["head.bias"])


def test_another_count_of_processes_makes_every_step_anew(
    toy: Toy, common: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.place = common
    toy.run()
    alone = distillation.accelerator_for(torch.device("cpu"))
    twins = SimpleNamespace(num_processes=2, is_main_process=True, wait_for_everyone=alone.wait_for_everyone)
    monkeypatch.setattr(distillation, "accelerator_for", lambda _: twins)
    assert toy.run()["new"]["step"] == 3


def checkpoint(toy: Toy, run: dict[str, Any]) -> dict[str, Any]:
    """A copy of a finished student, and the keys with which a recipe goes on from it."""
    folder = shutil.copytree(toy.place.store / run["student"], toy.root / "checkpoint")
    return {"student.checkpoint": str(folder), "student.projection": "none", "schedule.representation": 0}


def test_a_student_goes_on(toy: Toy) -> None:
    first = toy.run()["runs"][0]
    keys = checkpoint(toy, first)
    second = toy.run(keys)
    assert second["new"] == {"start": 1, "step": 2, **AFTER}
    told = [json.loads((toy.place.store / one["student"] / "training.json").read_text("utf-8"))
            for one in (first, second["runs"][0])]  # fmt: skip
    assert "begun_with" not in told[0]
    assert told[1]["begun_with"]["steps"] == told[0]["steps"] != told[1]["steps"]
    assert "data" not in told[1]["begun_with"], "that is the same"
    config = toy.root / "checkpoint/student.json"
    config.write_text(config.read_text("utf-8").replace('"heads": 4', '"heads": 2'), encoding="utf-8")
    assert toy.run(keys)["new"] == {"start": 1, "step": 2, **AFTER}, "another shape is another start"
    run = toy.run(keys | {"student.dropout": 0.5})["runs"][0]
    assert load_student(toy.place.store / run["student"]).config.dropout == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"student.hidden": 7}, "student.hidden is 7, but the checkpoint .*checkpoint has 5"),
        ({"student.embedding": 5}, "student.embedding is 5, but the checkpoint .* has 6"),
        ({"student.kind": "conv"}, "student.kind is 'conv', but the checkpoint .* has 'bilstm'"),
        ({"student.projection": "linear"}, "student.projection is 'linear', but the checkpoint .* has 'none'"),
    ],
)
def test_a_checkpoint_of_another_shape_is_refused(
    toy: Toy, common: Place, change: dict[str, Any], message: str
) -> None:
    toy.place = common
    keys = checkpoint(toy, toy.run()["runs"][0])
    with pytest.raises(ValueError, match=message):
        toy.run(keys | change)


def test_the_record_tells_what_made_the_student_and_nothing_else(toy: Toy) -> None:
    def record(run: dict[str, Any]) -> dict[str, Any]:
        return dict(json.loads((toy.place.store / run["student"] / "training.json").read_text(encoding="utf-8")))

    labels_alone = {"schedule.strategy": "D0-S"}
    (first,) = toy.run(labels_alone)["runs"]
    (again,) = toy.run(labels_alone | {"name": "other", "transfer.text": 10, "loss.imitation": "kl"})["runs"]
    assert again["student"] == first["student"]
    alone, taught = record(first), record(toy.run()["runs"][0])
    assert list(alone["data"]) == list(alone["licences"]) == ["wikiann"], "gold was not asked for"
    assert alone["unlabelled_text"] is None and taught["unlabelled_text"]
    assert "transfer" not in alone["recipe"] and taught["recipe"]["transfer"]["wikiann"] == 40
    assert alone["teacher"] is None and alone["teachers"] == taught["teachers"] == {}
    assert alone["embeddings"] == taught["embeddings"] == taught["teacher"] is not None, "either starts from those"
    assert [step["stage"] for step in taught["steps"]] == ["representation", "logits", "labels"]


def test_the_teacher_is_judged_like_a_student(toy: Toy, common: Place) -> None:
    recipe = load_recipe(toy.write({}))
    materials = Materials(recipe, store=Store(common.store), cache=common.cache, device=torch.device("cpu"))
    scores = judge_teacher(materials)
    teacher = AutoModelForTokenClassification.from_pretrained(recipe.teacher.path).eval()
    tagger = torch_tagger(teacher, Tokenizer.from_file(recipe.tokenizer))
    found = Counter(
        label
        for language in ("de", "en")
        for spans in evaluation.predict(tagger, read_split("wikiann", language, "test")[:10], raw=True)
        for _, _, label in spans
    )
    for label in ("PER", "ORG", "LOC"):
        assert sum(row[label] for row in scores["test"]["confusion"].values()) == found[label]
    results = toy.run()
    assert results["teacher"] == scores and "teacher" not in toy.run({"schedule.strategy": "D0-S"})
    assert sum(found.values()) > 20 and scores["parameters"] == parameter_count(teacher)


# Where a run of D4.2 is killed; negative: counted from the last call.
KILLS: dict[str, list[tuple[Any, str, int]]] = {
    "while the teacher labels": [(teacher_cache, "write_shard", 1)],
    "first batch": [(JointLoss, "__call__", 1)],
    "first stage": [(JointLoss, "__call__", 4)],
    "second stage": [(JointLoss, "__call__", 12)],
    "last stage": [(JointLoss, "__call__", -5)],
    "last batch": [(JointLoss, "__call__", -1)],
    "first evaluation": [(distillation, "macro_f1", 1)],
    "an evaluation in the middle": [(distillation, "mean_loss", 9)],
    "last evaluation of a step": [(distillation, "macro_f1", 3)],
    "while a step's student is written": [(distillation, "save_student", 4)],
    "while a step's scores are written": [(distillation, "write_json", 5)],
    "while its checkpoint is removed": [(shutil, "rmtree", 2)],
    "while the finished student is written": [(distillation, "save_student", 11)],
    "in the final evaluation": [(evaluation, "predict", 3)],
    "again and again": [(JointLoss, "__call__", nth) for nth in (3, 2, 5, 9, 1)],
}
BY_STEPS = {"schedule.strategy": "D4.2", "schedule.keep": "average", "schedule.checks": 3}


@pytest.mark.parametrize(
    ("kill", "minutes"), [*((kill, 0) for kill in KILLS), ("second stage", 60), ("again and again", 60)]
)
def test_a_killed_run_comes_to_the_very_same_student(
    toy: Toy, kill: str, minutes: int, common: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (whole,) = toy.run(BY_STEPS, place=common)["runs"]
    changes = BY_STEPS | {"schedule.checkpoint_minutes": minutes}
    toy.place = Place(toy.root / "store", toy.root / "cache" if "labels" in kill else common.cache, "cpu")
    for owner, name, nth in KILLS[kill]:
        if nth < 0:
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, counter := Breaking(getattr(owner, name), 0))
                toy.run(changes, place=Place(toy.root / "counting", common.cache, "cpu"))
            nth += counter.calls + 1
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, Breaking(getattr(owner, name), nth))
            with pytest.raises(Killed):
                toy.run(changes)
        torch.rand(nth)  # the state of the world differs when it comes back
    (run,) = toy.run(changes)["runs"]
    assert told(run) == told(whole)
    weights = load_file(common.store / whole["student"] / WEIGHTS_FILE)
    assert all(torch.equal(toy.weights(run)[name], value) for name, value in weights.items())
    assert not list(toy.place.store.glob("*.work"))


KILLER = """
import os, signal, sys
from distill.torch_model import torch_tagger
from distill.transfer import JointLoss
from onoma.cli import main
original, calls = JointLoss.__call__, 0
def instead(self, model, batch):
    global calls
    calls += model.training
    if calls == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, model, batch)
JointLoss.__call__ = instead
main(sys.argv[1:])
"""


def test_a_process_killed_outright_comes_to_the_very_same_student(toy: Toy, common: Place) -> None:
    (whole,) = toy.run(BY_STEPS, place=common)["runs"]
    shutil.rmtree(toy.root / "out")
    words = ["distill", "run", toy.write(BY_STEPS), "--out", toy.root / "out", "--device", "cpu"]
    words += ["--store", toy.place.store, "--cache", toy.place.cache]
    # With as many threads as here: sums over threads differ in their last bits.
    arguments = [sys.executable, "-c", KILLER, *map(str, words)]
    killed = subprocess.run(arguments, capture_output=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    (work,) = toy.place.store.glob("*.work")
    assert (work / "checkpoint/checkpoint.pt").is_file() and not (toy.root / "out" / RESULTS).exists()
    (run,) = toy.run(BY_STEPS)["runs"]
    assert told(run) == told(whole) and run["reused"] > 0
    for name, value in load_file(common.store / whole["student"] / WEIGHTS_FILE).items():
        assert torch.equal(toy.weights(run)[name], value)


def test_a_checkpoint_of_another_run_is_never_picked_up(toy: Toy, common: Place) -> None:
    toy.run(place=common)
    works = []
    for seed in (1, 2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(JointLoss, "__call__", Breaking(JointLoss.__call__, 3))
            with pytest.raises(Killed):
                toy.run({"seeds": [seed]})
        works.append(next(path for path in toy.place.store.glob("*.work") if path not in works))
    foreign, own = (work / "checkpoint/checkpoint.pt" for work in works)
    shutil.copy(foreign, own)
    with pytest.raises(ValueError, match=f"{own} belongs to another run"):
        toy.run({"seeds": [2]})


def test_half_an_artefact_is_written_over(toy: Toy, common: Place) -> None:
    (whole,) = toy.run(place=common)["runs"]
    for name in [whole["steps"][0]["artefact"], whole["student"]]:
        shutil.copytree(common.store / whole["steps"][2]["artefact"], toy.place.store / f"{name}.work")
        (toy.place.store / f"{name}.work" / RESULT).write_text("{}", encoding="utf-8")
    (run,) = toy.run()["runs"]
    assert told(run) == told(whole) and run["made"] == sum(ALL.values())
    assert all(torch.equal(toy.weights(run)[name], value)
               for name, value in load_file(common.store / whole["student"] / WEIGHTS_FILE).items())  # fmt: skip


def test_two_jobs_find_what_one_does_even_with_nothing_in_the_cache(toy: Toy, common: Place) -> None:
    changes = {"seeds": [1, 2], "schedule.strategy": "D4.1", "student.minimum_count": 1}
    one = toy.run(changes, place=common)["runs"]
    both = toy.run(changes, jobs=2)["runs"]
    assert [(run["variant"], run["seed"]) for run in both] == [("toy", 1), ("toy", 2)]
    assert [told(run) for run in both] == [told(run) for run in one]
    for run in one:
        for name, value in load_file(common.store / run["student"] / WEIGHTS_FILE).items():
            assert torch.equal(toy.weights(run)[name], value)
    assert sum(run["made"] for run in both) == 2 * sum(ALL.values()) + 1, "the vocabulary is made once"
