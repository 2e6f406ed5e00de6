from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from distill.corpora import WIKIANN_45
from distill.recipe import Recipe, Variant, load_recipe

COMMITTED = sorted((Path(__file__).resolve().parents[2] / "distill/recipes").rglob("*.toml"))
LEAST: dict[str, Any] = {"name": "least", "tokenizer": "t", "teacher": {"path": "p"}}
TWO = """
name = "two"
seeds = [1, 2]
expect = ["slow < fast"]
tokenizer = "tokenizer.json"

[teacher]
path = "teacher"

[schedule]
labels = 1000

[[variants]]
name = "slow"
x = 1
set = { "schedule.rate" = 0.001, "labels.wikiann" = 5 }

[[variants]]
name = "fast"
"""


def load(folder: Path, text: str) -> Recipe:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_every_committed_recipe_loads(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.description and recipe.runs()
    if "studies" in path.parts:
        assert len(recipe.seeds) >= 3 and len(recipe.variants) > 1


def test_there_are_committed_recipes() -> None:
    assert {"strategies", "losses", "transfer-size", "few-labels", "shapes"} <= {path.stem for path in COMMITTED}


def test_what_a_recipe_leaves_out_has_defaults() -> None:
    recipe = Recipe.model_validate(LEAST)
    assert recipe.languages == tuple(WIKIANN_45)
    assert recipe.mixture().text == 0 and recipe.mixture().wikiann is None and not recipe.mixture().texts
    assert [(variant.name, seed) for variant, seed in recipe.runs()] == [("least", 1)]
    assert recipe.resolved(None) == recipe


def test_the_languages_of_a_recipe() -> None:
    labels = {"labels": {"languages": ["de", "en"]}}
    recipe = Recipe.model_validate(LEAST | labels)
    assert recipe.languages == recipe.mixture().languages == recipe.transfer_mixture().languages == ("de", "en")
    assert recipe.mixture(languages=("de",)).languages == ("de",)
    other = Recipe.model_validate(LEAST | labels | {"evaluation": {"languages": ["fr"]}})
    assert other.languages == ("fr",) and other.mixture().languages == ("de", "en")


def test_labels_and_transfer_set_have_limits_of_their_own() -> None:
    labels = {"wikiann": 7, "gold": 2, "massive": 3, "together": 0.5, "balance": 4, "gold_times": 2, "joined": ["zh"]}
    transfer = {"wikiann": 70, "gold": 20, "massive": 30, "text": 40, "together": 0.25, "pieces": 9}
    recipe = Recipe.model_validate(LEAST | {"labels": labels, "transfer": transfer})
    own, more = recipe.mixture(texts=True), recipe.transfer_mixture(texts=True)
    assert (own.wikiann, own.gold, own.massive, own.text) == (7, 2, 3, 0)
    assert (more.wikiann, more.gold, more.massive, more.text) == (70, 20, 30, 40)
    assert (own.together, own.balance, own.gold_times, own.joined) == (0.5, 4, 2, ("zh",))
    assert (more.together, more.balance, more.gold_times, more.joined) == (0.25, 1, 1, ("zh",))
    assert own.texts and more.texts and not recipe.mixture().texts


def test_variants_change_what_they_name_and_nothing_else(tmp_path: Path) -> None:
    recipe = load(tmp_path, TWO)
    slow, fast = recipe.variants
    assert [(variant.name, seed) for variant, seed in recipe.runs()] == [
        ("slow", 1), ("fast", 1), ("slow", 2), ("fast", 2)
    ]  # fmt: skip
    own = recipe.resolved(slow)
    assert (own.schedule.rate, own.labels.wikiann, own.schedule.labels) == (0.001, 5, 1000)
    assert own.variants == () and recipe.schedule.rate == 3e-3, "the recipe itself stays as it is"
    content = own.model_dump()
    content["schedule"]["rate"], content["labels"]["wikiann"] = 3e-3, None
    assert Recipe.model_validate(content) == recipe.resolved(fast) == recipe.resolved(None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule.rat": 1}, "variant 'slow' sets 'schedule.rat', which no recipe has"),
        ({"schedul.rate": 1}, "variant 'slow' sets 'schedul.rate', which no recipe has"),
        ({"schedule.rate.more": 1}, "variant 'slow' sets 'schedule.rate.more', which no recipe has"),
        ({"rate": 1}, "variant 'slow' sets 'rate', which no recipe has"),
        ({"seeds": [3]}, "variant 'slow' sets 'seeds', which all variants share"),
        ({"name": "other"}, "variant 'slow' sets 'name', which all variants share"),
        ({"schedule.rate": -1}, r"variant 'slow': schedule.rate: Input should be greater than 0 \(given: -1\)"),
        ({"schedule.strategy": "D5"}, r"variant 'slow': schedule.strategy: .*'D4.2' \(given: 'D5'\)"),
        ({"labels.gazetteer": "x"}, "variant 'slow': Value error, gazetteer x has no effect without mentions"),
    ],
)
def test_a_variants_wrong_key_or_value_is_named(change: dict[str, Any], message: str) -> None:
    recipe = Recipe.model_validate(LEAST)
    with pytest.raises(ValueError, match=message):
        recipe.resolved(Variant(name="slow", set=change))


def test_every_variant_is_checked_when_a_recipe_is_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="variant 'slow' sets 'schedule.pace', which no recipe has"):
        load(tmp_path, TWO.replace("schedule.rate", "schedule.pace"))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("slow < fast", "slow < quick", r"expect names 'quick', which is no variant; there are ['slow', 'fast']"),
        ("slow < fast", "slow > fast", r"expect wants orders such as 'a < b', got 'slow > fast'"),
        ("slow < fast", "slow", r"expect wants orders such as 'a < b', got 'slow'"),
        ('name = "fast"', 'name = "slow"', "variants must have different names, got ['slow', 'slow']"),
        ("[1, 2]", "[1, 1]", "seeds: Value error, seeds must differ, got [1, 1]"),
        ("[1, 2]", "[]", "seeds: "),
        ("labels = 1000", "label = 1000", "schedule.label: Extra inputs are not permitted (given: 1000)"),
        ("labels = 1000", "labels = -1", "schedule.labels: Input should be greater than or equal to 0 (given: -1)"),
        ("labels = 1000", "labels = ", "is not TOML"),
        ('path = "teacher"', "", "teacher.path: Field required"),
        ("[schedule]", "[schedules]", "schedules: Extra inputs are not permitted (given: a table)"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_named(tmp_path: Path, before: str, after: str, message: str) -> None:
    assert before in TWO
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load(tmp_path, TWO.replace(before, after))
    assert "recipe.toml" in str(caught.value)


def test_every_key_is_described() -> None:
    def missing(part: Any, path: str) -> list[str]:
        found = []
        for name, field in part.model_fields.items():
            inner = next((one for one in (field.annotation, *getattr(field.annotation, "__args__", ()))
                          if hasattr(one, "model_fields")), None)  # fmt: skip
            if inner is not None:
                found += missing(inner, f"{path}{name}.")
            elif not field.description and path + name != "variants":
                found.append(path + name)
        return found

    assert missing(Recipe, "") == []
