"""What a study does around its runs: device, checks before anything is made, processes, the bundle's figures."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from toydata import Toy

from distill import checks, studies
from distill.recipe import Recipe
from distill.recipe_tables import Variant
from distill.studies import RESULTS, Place, counted_rows, metrics_of_run, run_one
from onoma.bundle import MANIFEST

LEAST: dict[str, Any] = {"name": "least", "tokenizer": "t", "teacher": {"path": "p"}}


def device_of(monkeypatch: pytest.MonkeyPatch, name: str) -> str:
    """The device that a run's materials get."""
    found: list[torch.device] = []
    monkeypatch.setattr(studies, "Materials", lambda *_, device, **__: found.append(device))
    monkeypatch.setattr(studies, "distil", lambda *_, **__: {})
    recipe = Recipe.model_validate(LEAST)
    run_one(recipe, Variant(name="least"), 1, Place(Path("store"), Path("cache"), name))
    return str(found[0])


def test_one_gpu_is_used_without_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of(monkeypatch, "auto") == "cuda"
    assert device_of(monkeypatch, "cpu") == "cpu"


def test_of_several_processes_each_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    launched = SimpleNamespace(use_distributed=True, device=torch.device("cuda:1"))
    monkeypatch.setattr(studies, "accelerator_for", lambda _: launched)
    assert device_of(monkeypatch, "cuda") == "cuda:1"
    assert device_of(monkeypatch, "cpu") == "cpu"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels.languages": ["de", "eng"]}, "labels.languages must be languages of the data, got eng$"),
        ({"evaluation.languages": ["de", "xx"]}, "evaluation.languages must have wikiann dev and test .*, got xx$"),
        ({"labels.languages": ["de", "fr"]}, r"evaluation.languages must have .* got fr \(as it is empty: those of"),
        ({"variants": [{"name": "a"}, {"name": "b", "set": {"labels.languages": ["eng"]}}]}, "labels.languages .* eng"),
        ({"bundle.path": "b", "schedule.strategy": "D0"}, "bundle.path is 'b', but schedule.strategy 'D0' gives no"),
        (
            {"bundle.path": "b", "schedule.strategy": "teachers", "student.projection": "none", "teachers.pieces": 9},
            "bundle.path is 'b', but schedule.strategy 'teachers' gives no student of all languages",
        ),
        ({"evaluation.zero_shot": ["ru", "fr"]}, "evaluation.zero_shot must have wikiann test sentences, got fr$"),
        ({"evaluation.zero_shot": ["ru", "en"]}, "evaluation.zero_shot must be languages without labels, got en$"),
        (
            {"evaluation.zero_shot": ["ru"], "labels.languages": [], "evaluation.languages": ["de"]},
            "evaluation.zero_shot must be languages without labels, got ru$",
        ),
    ],
)
def test_what_cannot_come_to_an_end_does_not_begin(toy: Toy, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        toy.run(changes)
    assert not toy.artefacts() and not (toy.root / "out").exists()


def test_a_place_that_holds_no_bundle_is_refused(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = toy.root / "precious"
    folder.mkdir()
    (folder / "letter.txt").write_text("x", encoding="utf-8")
    for path in (folder, folder / "letter.txt"):
        with pytest.raises(ValueError, match=f"bundle.path {path} exists and is no bundle"):
            toy.run({"bundle.path": str(path)})
    assert not toy.artefacts()
    recipe = Recipe.model_validate(LEAST | {"evaluation": {"languages": ["de"]}, "bundle": {"path": str(folder)}})
    (folder / MANIFEST).write_text("{}", encoding="utf-8")
    checks.check_run(recipe, [recipe])  # an older bundle is replaced
    shutil.rmtree(folder)
    checks.check_run(recipe, [recipe])
    find = util.find_spec
    monkeypatch.setattr(checks, "find_spec", lambda name: None if name == "onnx" else find(name))
    with pytest.raises(ModuleNotFoundError, match=r"bundle.path .* needs the extra export: pip install 'onoma\[export"):
        checks.check_run(recipe, [recipe])


def test_languages_of_text_alone_may_be_named_where_text_is_used(own_data: Path) -> None:
    for path in ("ner/wikiann/de/dev", "ner/wikiann/de/test", "ner/news/th/test"):
        file = own_data / f"{path}.conll.xz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (own_data / "text/am.txt.xz").touch()
    content = LEAST | {"labels": {"languages": ["de", "am", "th"]}, "evaluation": {"languages": ["de"]}}
    recipe = Recipe.model_validate(content | {"transfer": {"text": 5}})
    checks.check_run(recipe, [recipe])
    without = Recipe.model_validate(content)
    with pytest.raises(ValueError, match="labels.languages must be languages of the data, got am$"):
        checks.check_run(without, [without])


def test_teachers_of_one_language_each_are_judged_in_it(own_data: Path) -> None:
    for path in ("de/train", "de/dev", "de/test", "th/train", "th/test"):
        file = own_data / f"ner/wikiann/{path}.conll.xz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    content = LEAST | {"labels": {"languages": ["de", "th"]}, "evaluation": {"languages": ["de"]}}
    content |= {"student": {"projection": "none"}, "schedule": {"strategy": "D1"}}
    for teachers in (None, {"together": True, "pooled": 9}):
        recipe = Recipe.model_validate(content | {"teachers": teachers})
        checks.check_run(recipe, [recipe])
    recipe = Recipe.model_validate(content | {"teachers": {}})
    with pytest.raises(ValueError, match=r"must have wikiann dev and test sentences each for \[teachers\], got th$"):
        checks.check_run(recipe, [recipe])


def judged_together(monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], **content: Any) -> bool:
    """Whether a variant with the change shares the teacher's scores with one without."""
    monkeypatch.setattr(studies, "judge_teacher", lambda materials: {})
    variants = [{"name": "one"}, {"name": "other", "set": change}]
    recipe = Recipe.model_validate(LEAST | {"labels": {"languages": ["de", "en"]}, "variants": variants} | content)
    return bool(studies._teacher_scores(recipe, recipe.runs(), Place(Path("store"), Path("cache"), "cpu")))


@pytest.mark.parametrize(
    "change",
    [
        {"teacher.path": "q"},
        {"evaluation.test": 5},
        {"labels.languages": ["de"]},
        {"labels.types": ["LOC", "ORG", "PER"]},
        {"labels.source": "news"},
    ],
    ids=str,
)
def test_a_teacher_judged_otherwise_stands_for_nobody(monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]) -> None:
    assert not judged_together(monkeypatch, change)
    assert judged_together(monkeypatch, change | {"schedule.strategy": "D0-S"}), "who does not ask it does not count"


def test_variants_that_ask_one_teacher_share_its_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judged_together(monkeypatch, {"labels.wikiann": 5, "student.hidden": 9})
    own = {"student": {"projection": "none"}, "schedule": {"strategy": "D1"}, "teachers": {}}
    assert not judged_together(monkeypatch, {}, **own), "a recipe's own teachers have a variant of their own"


def test_an_engine_of_the_command_line_must_fit_the_recipe(toy: Toy) -> None:
    place = Place(toy.place.store, toy.place.cache, "cpu", engine="ray")
    with pytest.raises(ValueError, match="teacher.cache must be 'disk' for teacher.engine 'ray', got 'memory'"):
        toy.run({"teacher.cache": "memory"}, place=place)
    assert not toy.artefacts()


def test_rows_without_gold_spans_do_not_count() -> None:
    f1 = {"de": 50.0, "xx": 0.0, "en": 60.0}
    assert counted_rows({"worst": ["de", 50.0], "f1": f1}) == {"de": 50.0, "en": 60.0}
    assert counted_rows({"worst": None, "f1": {"xx": 0.0}}) == {}
    assert counted_rows({"worst": ["xx", 0.0], "f1": f1}) == f1


def summary(**f1: float) -> dict[str, Any]:
    return {"macro_f1": 55.0, "std": 5.0, "worst": ["de", 50.0], "f1": f1}


def test_the_metrics_of_a_run_say_what_they_are() -> None:
    part = {"all": summary(de=50.0, en=60.0), "unseen": summary(de=49.0) | {"worst": None}, "confusion": {}}
    run = {"dev": part, "test": part, "gold": {"all": summary(**{"news/en": 40.0}), "unseen": summary()}}
    own = Recipe.model_validate(LEAST | {"evaluation": {"test": 100, "gold": 20}})
    metrics = metrics_of_run(run, own)
    names = ["WikiANN test, first 100 sentences", "gold test, first 20 sentences"]
    assert list(metrics) == ["measured_on", names[0], f"{names[0]}, unseen", names[1], f"{names[1]}, unseen"]
    assert metrics[names[0]] == {
        "per_language": {"de": 50.0, "en": 60.0}, "macro_f1": 55.0, "std": 5.0, "worst": "de 50.00",
    }  # fmt: skip
    assert metrics[f"{names[0]}, unseen"]["worst"] == "none 0.00"
    assert metrics[names[1]]["per_language"] == {"news/en": 40.0}
    whole = Recipe.model_validate(LEAST | {"evaluation": {"test": None}})
    assert set(metrics_of_run({"test": part}, whole)) == {"measured_on", "WikiANN test", "WikiANN test, unseen"}
    words = Recipe.model_validate(LEAST | {"labels": {"source": "pos/ud"}, "evaluation": {"languages": ["de"]}})
    assert "pos/ud test, first 1000 sentences" in metrics_of_run({"test": part}, words)


TWO = """
import os, sys
from pathlib import Path
import torch
from torch import distributed
from distill import commands, studies
from onoma.cli import main

rank, notes = os.environ["RANK"], Path(sys.argv[1])


def noted(name, original):
    def call(*arguments, **options):
        (notes / f"{name}-{rank}").touch()
        return original(*arguments, **options)

    return call


studies.write_json = noted("writes", studies.write_json)
commands._bundle = noted("exports", lambda *_, **__: 0)
status = main(sys.argv[2:])
group = distributed.distributed_c10d._get_default_group()
seconds = group._get_backend(torch.device("cpu")).options._timeout.total_seconds()
(notes / f"timeout-{rank}").write_text(str(seconds))
sys.exit(status)
"""


@pytest.mark.slow
def test_of_two_processes_the_first_one_writes(toy: Toy) -> None:
    notes, script = toy.root / "notes", toy.root / "two.py"
    notes.mkdir()
    script.write_text(TWO, encoding="utf-8")
    recipe = toy.write({"bundle.path": str(toy.root / "bundle"), "seeds": [1, 2]})
    words = ["distill", "run", recipe, "--out", toy.root / "out", "--device", "cpu"]
    words += ["--store", toy.place.store, "--cache", toy.place.cache]
    # Nothing that the tests' own process has set for its accelerator may reach the two.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ACCELERATE_")}
    environment = kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launcher, str(script), str(notes), *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (toy.root / "out").iterdir()] == [RESULTS]
    runs = toy.results()["runs"]
    assert [run["seed"] for run in runs] == [1, 2] and all(toy.weights(run) for run in runs)
    assert done.stdout.count("toy, seed 1: ") == 1, "one process tells the figures"
    assert sorted(path.name for path in notes.iterdir()) == ["exports-0", "timeout-0", "timeout-1", "writes-0"]
    assert (notes / "timeout-1").read_text(encoding="utf-8") == "86400.0", "the first process may score for long"


def test_jobs_and_a_launcher_exclude_each_other(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ValueError, match="jobs must be 1 where accelerate or torchrun has started the process, got 2"):
        toy.run(jobs=2)
