"""Every recipe that comes with onoma runs: shrunk to the small data, with its losses, strategies and kinds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from toydata import COMMITTED, POS, Toy, sentences, write_conll, write_data, write_pos

from distill.corpora import read_split
from distill.recipe import Recipe, load_recipe
from distill.students import Student, StudentConfig, save_student
from distill.study_report import write_report
from distill.teachers import TeacherConfig, build_teacher, save_teacher

# The most that a shrunk recipe has of each; where it has less, that stays.
MOST = {
    "labels.wikiann": 12, "labels.gold": 4, "labels.massive": 4, "labels.balance": 2,
    "transfer.wikiann": 10, "transfer.gold": 4, "transfer.massive": 4, "transfer.text": 6, "transfer.pieces": 150,
    "student.embedding": 6, "student.hidden": 8, "student.minimum_count": 1,
    "teachers.shape.embedding": 6, "teachers.shape.hidden": 8,
    "teachers.pooled": 60, "teachers.pieces": 60, "teachers.batch": 64, "teachers.checks": 1,
    "schedule.representation": 60, "schedule.logits": 60, "schedule.labels": 60, "schedule.batch": 64,
    "schedule.checks": 1, "evaluation.dev": 4, "evaluation.test": 4, "evaluation.gold": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Entities, with a gold source that has a test split and MASSIVE; parts of speech; lines of text."""
    root = tmp_path_factory.mktemp("both")
    write_data(root)
    write_pos(root)
    for source, split in (("news", "train"), ("news", "test"), ("massive_ner", "train")):
        write_conll(root / f"ner/{source}/en/{split}.conll.xz", sentences("en", 12, seed=4))
    return root


@torch.no_grad()
def places_of(recipe: Recipe, folder: Path, tokenizer: Path) -> dict[str, str]:
    """What stands in for the files that a recipe names, by key: a teacher of its labels, a student of its shape."""
    pieces, small = Tokenizer.from_file(str(tokenizer)), recipe.student
    torch.manual_seed(3)
    shape = TeacherConfig(architecture="bert", layers=2, hidden=12, heads=2, intermediate=16, max_length=256)
    model = build_teacher(shape, vocabulary=pieces.get_vocab_size(), labels=recipe.label_set)
    save_teacher(model, pieces, folder / "teacher")
    student = StudentConfig(
        pieces.get_vocab_size(), small.embedding, small.hidden, recipe.label_set.tags,
        kind=small.kind, layers=small.layers, kernel=small.kernel, heads=small.heads,
    )  # fmt: skip
    save_student(Student(student), folder / "student")
    shutil.copy(tokenizer, folder / "student")
    (folder / "names.tsv").write_text("ORG\tWerft Nord\n", encoding="utf-8")
    teacher = str(folder / "teacher")
    return {
        "tokenizer": str(tokenizer), "teacher.path": teacher, "student.embeddings": teacher,
        "teachers.shape.embeddings": teacher, "student.checkpoint": str(folder / "student"),
        "labels.gazetteer": str(folder / "names.tsv"),
    }  # fmt: skip


def shrunk(content: dict[str, Any], places: dict[str, str], unlabelled: str, path: str = "") -> dict[str, Any]:
    """The same keys with smaller values; those of tables, or dotted ones that a variant sets."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        key = path + name
        if isinstance(value, dict):
            found[name] = shrunk(value, places, unlabelled, f"{key}.")
        elif key in MOST:
            found[name] = MOST[key] if value is None else min(value, MOST[key])
        elif key == "labels.languages":
            found[name] = ["de", "en"]
        elif key == "evaluation.languages":
            found[name] = []
        elif key == "evaluation.zero_shot":
            found[name] = [unlabelled] if value else []
        elif value is not None:
            found[name] = places.get(key, value)
    return found


def small(path: Path, folder: Path, tokenizer: Path) -> dict[str, Any]:
    """A committed recipe, whole and with small values."""
    recipe = load_recipe(path)
    content = recipe.model_dump(mode="json", exclude={"bundle", "variants"}) | {"seeds": [recipe.seeds[0]]}
    unlabelled = "gv" if recipe.labels.source == POS else "ru"
    before = shrunk(content, {}, unlabelled)
    places = places_of(Recipe.model_validate(before | {"variants": [{"name": "any"}], "expect": []}), folder, tokenizer)
    content = shrunk(content, places, unlabelled)
    variants = [
        {"name": one.name, "set": shrunk(one.set, places, unlabelled)} | ({} if one.x is None else {"x": one.x})
        for one in recipe.variants
    ]
    return content | ({"variants": variants} if variants else {})


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_every_committed_recipe_runs(
    path: Path, both: Path, toy_tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONOMA_DATA", str(both))
    read_split.cache_clear()
    toy = Toy(tmp_path, small(path, tmp_path, toy_tokenizer))
    runs = toy.run()["runs"]
    before, after = load_recipe(path), load_recipe(toy.root / "recipe.toml")
    for large, variant, run in zip(before.variants or [None], after.variants or [None], runs, strict=True):
        asked, own = before.resolved(large), after.resolved(variant)
        assert own.schedule.strategy == asked.schedule.strategy and own.loss == asked.loss
        assert (own.student.kind, own.student.decoder) == (asked.student.kind, asked.student.decoder)
        assert list(run["test"]["all"]["f1"]) == ["de", "en"]
        assert ("gold" in run, "zero_shot" in run) == (own.evaluation.gold > 0, bool(own.evaluation.zero_shot))
    text = write_report(toy.root / "out", toy.root / "out").read_text(encoding="utf-8")
    assert "missing" not in text and "not run" not in text and "no seed in common" not in text
