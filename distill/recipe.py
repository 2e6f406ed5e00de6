"""Recipes: what to distil, from what, in which stages. TOML, validated; docs/distilling.md has every key.

A study is a recipe with variants: each changes some keys, named by their dotted paths.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from distill.corpora import judged_languages
from distill.expectations import expected_pairs
from distill.fitting import check_fit
from distill.mixture import Mixture
from distill.recipe_tables import (
    Bundle,
    Evaluation,
    Labels,
    Loss,
    Part,
    SchedulePart,
    StudentPart,
    Teacher,
    Teachers,
    Transfer,
    Variant,
)
from distill.stages import plan
from onoma.labels import LabelSet

SHARED = ("name", "description", "x_label", "expect", "seeds", "bundle", "variants")  # by all variants of a study


class Recipe(Part):
    """A whole recipe."""

    name: str = Field(min_length=1, pattern=r"^[\w-]+$", description="of the recipe")
    description: str = Field(default="", description="what it is for; opens the report")
    x_label: str = Field(default="", description="name of the study's x axis, where variants have x")
    expect: tuple[str, ...] = Field(
        default=(), description='orders of variants to check, such as "D0-S < D1 < D4.1", or "a + 2 < b": by 2 points'
    )
    seeds: tuple[int, ...] = Field(default=(1,), min_length=1, description="each variant is run with each seed")
    tokenizer: str = Field(description="tokenizer.json that `onoma train-tokenizer` wrote, or a bundle's")
    labels: Labels = Labels()
    transfer: Transfer = Transfer()
    teacher: Teacher = Teacher()
    teachers: Teachers | None = None
    student: StudentPart = StudentPart()
    loss: Loss = Loss()
    schedule: SchedulePart = SchedulePart()
    evaluation: Evaluation = Evaluation()
    bundle: Bundle | None = None
    variants: tuple[Variant, ...] = ()

    @field_validator("seeds")
    @classmethod
    def _different_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds must differ, got {list(seeds)}")
        return seeds

    @model_validator(mode="after")
    def _sound(self) -> Recipe:
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            raise ValueError(f"variants must have different names, got {names}")
        for order in self.expect:
            expected_pairs(order, names)
        self.mixture()  # its own checks
        if not self.variants:  # of a study only what comes of its variants must fit together
            check_fit(self)
        return self

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages of the main source that the student is judged on."""
        return self.evaluation.languages or self.labels.languages or tuple(judged_languages(self.labels.source))

    @property
    def label_set(self) -> LabelSet:
        """The student's tags."""
        return LabelSet.of_types(self.labels.types)

    def mixture(self, *, texts: bool = False, languages: tuple[str, ...] = ()) -> Mixture:
        """The labelled data D_l; `languages` narrows it down further.

        :raises ValueError: if `languages` has none of labels.languages.
        """
        own = self.labels.languages
        chosen = tuple(language for language in languages if language in own) if own and languages else languages or own
        if languages and not chosen:
            raise ValueError(f"labels.languages has none of {', '.join(languages)}, got {', '.join(own)}")
        return Mixture(**self.labels.model_dump() | {"text": 0, "texts": texts, "languages": chosen})

    def transfer_mixture(self, *, texts: bool = False) -> Mixture:
        """What the transfer set is drawn from."""
        own = self.transfer
        return Mixture(
            wikiann=own.wikiann,
            gold=own.gold,
            massive=own.massive,
            text=own.text,
            balance=1,
            joined=self.labels.joined,
            together=own.together,
            languages=self.labels.languages,
            texts=texts,
            types=self.labels.types,
            source=self.labels.source,
        )

    def resolved(self, variant: Variant | None) -> Recipe:
        """The recipe with a variant's changes, without variants.

        :raises ValueError: naming the variant and the key, if it sets one that does not exist or is wrong.
        """
        content = self.model_dump() | {"variants": (), "expect": ()}
        if variant is None:
            return Recipe.model_validate(content)
        for path, value in variant.set.items():
            *tables, key = path.split(".")
            place: Any = content
            for table in tables:
                place = place.get(table) if isinstance(place, dict) else None
            if not isinstance(place, dict) or key not in place:
                raise ValueError(f"variant {variant.name!r} sets {path!r}, which no recipe has")
            if path.partition(".")[0] in SHARED:
                raise ValueError(f"variant {variant.name!r} sets {path!r}, which all variants share")
            place[key] = value
        try:
            return Recipe.model_validate(content)
        except ValidationError as error:
            raise ValueError(f"variant {variant.name!r}: {first_error(error)}") from error

    def runs(self) -> list[tuple[Variant, int]]:
        """Every variant with every seed; a recipe without variants is one variant of its own name."""
        variants = self.variants or (Variant(name=self.name),)
        return [(variant, seed) for seed in self.seeds for variant in variants]


def first_error(error: ValidationError) -> str:
    """The first thing that is wrong, with its key and the value given."""
    one = error.errors()[0]
    where = ".".join(map(str, one["loc"]))
    given = "a table" if isinstance(one["input"], dict) else repr(one["input"])
    return f"{where}: {one['msg']} (given: {given})" if where else one["msg"]


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe with all of its variants, down to the steps of their strategies.

    :raises ValueError: naming file, key and value.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        recipe = Recipe.model_validate(content)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        raise ValueError(f"{path}: {first_error(error)}") from error
    for variant in recipe.variants or (None,):
        try:
            own = recipe.resolved(variant)
        except ValueError as error:  # which names the variant
            raise ValueError(f"{path}: {error}") from error
        try:
            plan(own)
        except ValueError as error:
            where = path if variant is None else f"{path}: variant {variant.name!r}"
            raise ValueError(f"{where}: {error}") from error
    return recipe
