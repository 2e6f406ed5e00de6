"""Every recipe of a sentence encoder that comes with onoma runs: shrunk to the small data, with all of its variants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distill.sentences import runs as module
from distill.sentences.recipe import SentenceRecipe, is_sentence_recipe, load_sentence_recipe
from distill.studies import Place
from tests.distill.sentences.toy_recipe import add_words

RECIPES = Path(__file__).resolve().parents[3] / "distill/recipes"
COMMITTED = sorted(path for path in RECIPES.rglob("*.toml") if is_sentence_recipe(path))
# The most that a shrunk recipe has of each; where it has less, that stays.
MOST = {
    "data.english_lines": 20, "data.text_lines": 20, "data.focus_lines": 20, "start.width": 8, "start.epochs": 1,
    "start.pairs": 500, "start.align": 200, "assistant.frozen": 150, "assistant.pieces": 150,
    "bottleneck.embedding": 6, "bottleneck.pieces": 150, "recurrent.pieces": 150, "contrastive.pieces": 150,
    "schedule.batch": 100, "schedule.shallow_batch": 200, "schedule.checks": 1, "evaluation.rows": 8, "start.rare": 1,
}  # fmt: skip


def shrunk(key: str, value: Any, toy: dict[str, Any]) -> Any:
    if key in MOST:
        return min(value, MOST[key])
    same = {"tokenizer": toy["tokenizer"], "teacher.path": toy["teacher"]["path"], "data.languages": ["de", "en", "fr"]}
    same |= {"data.focus": ["de"], "evaluation.languages": ["en", "de"], "data.annotations": None}
    same |= {"data.dictionaries": toy["data"]["dictionaries"], "words": toy["words"]}
    same |= {"start.vectors": None, "assistant.checkpoint": None}
    if key == "recurrent.layers":  # the small teacher has two layers
        return [layer % 2 for layer in value]
    return same.get(key, value)


def test_there_is_a_product_and_a_study() -> None:
    assert {"sentence-encoder", "sentence-ablations"} <= {path.stem for path in COMMITTED}


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_every_committed_recipe_runs(
    path: Path, toy_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, toy_recipe = load_sentence_recipe(path), add_words(toy_recipe, tmp_path)
    content = recipe.model_dump(mode="json", exclude={"variants", "expect"}) | {"seeds": [recipe.seeds[0]]}
    small = {
        name: {key: shrunk(f"{name}.{key}", one, toy_recipe) for key, one in value.items()}
        if isinstance(value, dict) else shrunk(name, value, toy_recipe)
        for name, value in content.items()
    }
    variants = [
        {"name": one.name, "set": {key: shrunk(key, value, toy_recipe) for key, value in one.set.items()}}
        for one in recipe.variants
    ]
    own = SentenceRecipe.model_validate(small | {"variants": variants})
    monkeypatch.setattr(module, "load_sentence_recipe", lambda _: own)
    place = Place(tmp_path / "store", tmp_path / "cache", "cpu")
    results = module.run_sentence_recipe(path, out=tmp_path / "out", place=place)["runs"]
    assert [one["variant"] for one in results] == ([one.name for one in recipe.variants] or [recipe.name])
    assert all(Path(one["student"], "model.safetensors").is_file() for one in results)
    # No two variants come to the same student: each changes what it says.
    assert len({one["student"] for one in results}) == len(results)
