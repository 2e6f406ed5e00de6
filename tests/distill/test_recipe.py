from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from toydata import COMMITTED

from distill.corpora import WIKIANN_45
from distill.expectations import expected_pairs
from distill.recipe import Recipe, load_recipe
from distill.recipe_tables import Variant

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


def test_a_mixture_is_narrowed_down_never_widened() -> None:
    recipe = Recipe.model_validate(LEAST | {"labels": {"languages": ["de", "en"]}})
    assert recipe.mixture(languages=("fr", "en")).languages == ("en",)
    with pytest.raises(ValueError, match="labels.languages has none of fr, sw, got de, en"):
        recipe.mixture(languages=("fr", "sw"))
    assert Recipe.model_validate(LEAST).mixture(languages=("fr",)).languages == ("fr",), "all languages have labels"


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
        ({"student.kind": "conv", "student.kernel": 4}, "variant 'slow': .*student.kernel must be odd for a conv"),
        ({"teachers.pieces": 5}, "variant 'slow' sets 'teachers.pieces', which no recipe has"),
    ],
)
def test_a_variants_wrong_key_or_value_is_named(change: dict[str, Any], message: str) -> None:
    recipe = Recipe.model_validate(LEAST)
    with pytest.raises(ValueError, match=message):
        recipe.resolved(Variant(name="slow", set=change))


TAUGHT: dict[str, Any] = LEAST | {
    "labels": {"languages": ["de", "en"]},
    "teacher": {},
    "teachers": {"pooled": 7, "shape": {"start": "random"}},
    "student": {"projection": "none", "start": "random"},
    "schedule": {"strategy": "D1"},
}


def test_teachers_of_a_recipes_own() -> None:
    own = Recipe.model_validate(TAUGHT)
    assert own.teachers is not None and (own.teachers.pooled, own.teachers.together) == (7, False)
    assert (own.teachers.shape.decoder, own.teachers.shape.projection) == ("crf", "none")
    assert Recipe.model_validate(LEAST).teachers is None
    changes = {"teachers.shape.hidden": 9, "teachers.pieces": 5, "teachers.shape.decoder": "softmax"}
    changed = own.resolved(Variant(name="other", set=changes)).teachers
    assert changed is not None and (changed.shape.hidden, changed.pieces, changed.pooled) == (9, 5, 7)
    assert changed.shape.decoder == "softmax" and own.teachers.shape.hidden == 200
    with pytest.raises(ValueError, match=r"'slow': teachers.shape.projection: .*'none' \(given: 'linear'\)"):
        own.resolved(Variant(name="slow", set={"teachers.shape.projection": "linear"}))
    with pytest.raises(ValueError, match="variant 'slow' sets 'teachers.shape.width', which no recipe has"):
        own.resolved(Variant(name="slow", set={"teachers.shape.width": 9}))


def test_teachers_of_a_recipe_are_read_from_its_file(tmp_path: Path) -> None:
    text = TWO.partition("[[variants]]")[0].replace('expect = ["slow < fast"]', "").replace('path = "teacher"', "")
    own = load(tmp_path, text + 'strategy = "teachers"\n[labels]\nlanguages = ["de"]\n[teachers]\nkeep = "last"\n'
               '[teachers.shape]\nkind = "conv"\nstart = "random"\n[student]\nprojection = "none"\nstart = "random"\n')
    assert own.teachers is not None and (own.teachers.keep, own.teachers.shape.kind) == ("last", "conv")


def test_the_strategy_of_every_variant_is_checked_when_a_recipe_is_read(tmp_path: Path) -> None:
    without = TWO.replace('"labels.wikiann" = 5', '"student.projection" = "none"')
    with pytest.raises(ValueError, match=r"recipe.toml: variant 'slow': student.projection is none, but strategy D4.2"):
        load(tmp_path, without)
    single = TWO.partition("[[variants]]")[0].replace('expect = ["slow < fast"]', "")
    with pytest.raises(ValueError, match=r"recipe.toml: strategy D1 has no word-pieces to see"):
        load(tmp_path, single.replace("labels = 1000", 'strategy="D1"\nrepresentation=0\nlogits=0\nlabels=0'))
    apart = '[labels]\nlanguages=["de"]\n[evaluation]\nlanguages=["de", "fr"]\n'
    with pytest.raises(ValueError, match=r"recipe.toml: labels.languages has none of fr, got de"):
        load(tmp_path, single.replace("labels = 1000", 'strategy="D0"') + apart)


def test_a_study_need_not_be_sound_before_its_variants_change_it(tmp_path: Path) -> None:
    changed = TWO.replace('"labels.wikiann" = 5', '"student.heads" = 5').replace(
        'name = "fast"', 'name = "fast"\nset = { "student.heads" = 10 }'
    )
    recipe = load(tmp_path, changed + '[student]\nkind = "transformer"\nhidden = 50\n')
    assert [recipe.resolved(variant).student.heads for variant in recipe.variants] == [5, 10]


NAMES = ("a", "b", "c", "mse", "mse gelu+kld", "a + 2", "x+1")


@pytest.mark.parametrize(
    ("order", "pairs"),
    [
        ("a < b", [("a", 0.0, "b")]),
        ("a + 15 < b", [("a", 15.0, "b")]),
        ("a+1.5<b + 3 < c", [("a", 1.5, "b"), ("b", 3.0, "c")]),
        ("mse < mse gelu+kld", [("mse", 0.0, "mse gelu+kld")]),
        ("mse gelu+kld + 2 < mse", [("mse gelu+kld", 2.0, "mse")]),
        ("a + 2 < b", [("a + 2", 0.0, "b")]),  # a whole name first
        ("a + 2 + 3 < b < x+1", [("a + 2", 3.0, "b"), ("b", 0.0, "x+1")]),
        ("x+1 + 1 < a", [("x+1", 1.0, "a")]),
    ],
)
def test_expected_orders_have_margins(order: str, pairs: list[tuple[str, float, str]]) -> None:
    assert expected_pairs(order, NAMES) == pairs


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ("a < b + 3", "expect names 'b + 3', which is no variant"),
        ("a + b < c", "expect names 'a + b', which is no variant"),
        ("d + 3 < c", "expect names 'd', which is no variant"),
        ("a + -3 < c", "expect names 'a + -3'"),
        ("a", "expect wants orders such as 'a < b' or 'a + 2 < b', got 'a'"),
    ],
)
def test_what_is_no_order_is_named(order: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        expected_pairs(order, NAMES)


def test_every_variant_is_checked_when_a_recipe_is_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="variant 'slow' sets 'schedule.pace', which no recipe has"):
        load(tmp_path, TWO.replace("schedule.rate", "schedule.pace"))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("slow < fast", "slow < quick", r"expect names 'quick', which is no variant; there are ['slow', 'fast']"),
        ("slow < fast", "slow > fast", r"expect wants orders such as 'a < b' or 'a + 2 < b', got 'slow > fast'"),
        ("slow < fast", "slow", r"expect wants orders such as 'a < b' or 'a + 2 < b', got 'slow'"),
        ('name = "fast"', 'name = "slow"', "variants must have different names, got ['slow', 'slow']"),
        ("[1, 2]", "[1, 1]", "seeds: Value error, seeds must differ, got [1, 1]"),
        ("[1, 2]", "[]", "seeds: "),
        ("labels = 1000", "label = 1000", "schedule.label: Extra inputs are not permitted (given: 1000)"),
        ("labels = 1000", "labels = -1", "schedule.labels: Input should be greater than or equal to 0 (given: -1)"),
        ("labels = 1000", "labels = ", "is not TOML"),
        ('path = "teacher"', "", "teacher.path is missing, but schedule.strategy is 'D4.2'"),
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
