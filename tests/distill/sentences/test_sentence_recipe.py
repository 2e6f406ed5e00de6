from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from distill.sentences.recipe import SentenceRecipe, is_sentence_recipe, load_sentence_recipe

LEAST = 'kind = "sentence-encoder"\nname = "small"\ntokenizer = "t.json"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(LEAST + text, encoding="utf-8")
    return path


def test_the_kind_tells_recipes_apart(tmp_path: Path) -> None:
    assert is_sentence_recipe(written(tmp_path, ""))
    (tmp_path / "other.toml").write_text('name = "tagger"', encoding="utf-8")
    (tmp_path / "broken.toml").write_text("name =", encoding="utf-8")
    assert not is_sentence_recipe(tmp_path / "other.toml") and not is_sentence_recipe(tmp_path / "broken.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[data]\nlanguages = ['de']", "data.languages must have en"),
        ("[data]\nlanguages = ['en', 'tlh']", "data.languages: .*unknown languages tlh"),
        ("[bottleneck]\nwidth = 3", r"bottleneck.width: Extra inputs are not permitted \(given: 3\)"),
        ("[contrastive]\nmatrix = 'hard'", "contrastive.matrix: .*'soft'.*given: 'hard'"),
        ("[recurrent]\ntarget = 'teacher'\ntext = 0.5", "recurrent.text must be 0 where recurrent.target is teacher"),
        ("seeds = [1, 1]", "seeds must differ"),
        ("[[variants]]\nname = 'a'\n[[variants]]\nname = 'a'", "variants must have different names"),
        ("[[variants]]\nname = 'a'\nset = { 'bottleneck.width' = 1 }", "variant 'a' sets 'bottleneck.width', which no"),
        ("[[variants]]\nname = 'a'\nset = { 'seeds' = [2] }", "variant 'a' sets 'seeds', which all variants share"),
        ("[[variants]]\nname = 'a'\nset = { 'recurrent.repeats' = 0 }", "variant 'a': recurrent.repeats: .*given: 0"),
        ("expect = ['a < b']", "expect names 'a', which is no variant"),
        ("= 3", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"(?s)recipe.toml.*{message}"):
        load_sentence_recipe(written(tmp_path, text))


def test_variants_change_what_they_name(tmp_path: Path) -> None:
    text = (
        "seeds = [3, 4]\n[recurrent]\nrepeats = 2\n[[variants]]\nname = 'one'\n"
        "[[variants]]\nname = 'other'\nset = { 'bottleneck.embedding' = 0, 'recurrent.repeats' = 1 }\n"
    )
    recipe = load_sentence_recipe(written(tmp_path, text))
    assert [(variant.name, seed) for variant, seed in recipe.runs()] == [
        ("one", 3), ("other", 3), ("one", 4), ("other", 4),
    ]  # fmt: skip
    one, other = (recipe.resolved(variant) for variant in recipe.variants)
    assert (one.recurrent.repeats, other.recurrent.repeats) == (2, 1)
    assert (one.bottleneck.embedding, other.bottleneck.embedding) == (128, 0)
    assert not one.variants and recipe.resolved(None).recurrent.repeats == 2


def test_a_recipe_without_variants_is_one_of_its_own_name(tmp_path: Path) -> None:
    recipe = load_sentence_recipe(written(tmp_path, ""))
    assert [(variant.name, seed) for variant, seed in recipe.runs()] == [("small", 1)]


def test_lines_of_text_by_language() -> None:
    keys: dict[str, Any] = {"kind": "sentence-encoder", "name": "a", "tokenizer": "t"}
    data = {"languages": ["de", "en", "fi"], "text_lines": 5, "focus_lines": 9, "focus": ["de"]}
    assert SentenceRecipe.model_validate(keys | {"data": data}).data.lines == {"de": 9, "en": 5, "fi": 5}
    with pytest.raises(ValidationError, match="unknown languages xx"):
        SentenceRecipe.model_validate(keys | {"data": data | {"focus": ["xx"]}})
