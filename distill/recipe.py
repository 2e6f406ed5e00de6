"""Recipes: what to distil, from what, in which stages. TOML, validated; docs/distilling.md has every key.

A study is a recipe with variants: each changes some keys, named by their dotted paths.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from distill.corpora import WIKIANN_45
from distill.embeddings import Start
from distill.expectations import expected_pairs
from distill.keeping import Keep
from distill.losses import Imitation, Representation
from distill.mixture import Mixture
from distill.stages import plan
from distill.students import Activation, Kind
from distill.teacher_cache import Mode

Strategy = Literal["D0", "D0-S", "D1", "D2", "D3.1", "D3.2", "D4.1", "D4.2"]
SHARED = ("name", "description", "x_label", "expect", "seeds", "bundle", "variants")  # by all variants of a study


class Part(BaseModel):
    """A table of a recipe: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Labels(Part):
    """The labelled sentences, D_l. Limits are sentences per language, the first of each train split."""

    languages: tuple[str, ...] = Field(default=(), description="only these languages; none: all of WikiANN-45 and gold")
    wikiann: int | None = Field(default=None, ge=0, description="WikiANN sentences of each language (all)")
    gold: int = Field(default=0, ge=0, description="sentences of each gold source and language")
    gold_times: int = Field(default=1, ge=1, description="how often the gold sources are repeated")
    massive: int = Field(default=0, ge=0, description="lines of each MASSIVE locale")
    balance: int = Field(default=1, ge=1, description="most repeats of a WikiANN language under 10,000 sentences")
    joined: tuple[str, ...] = Field(default=("ja", "zh"), description="WikiANN languages also in their token form")
    mentions: float = Field(default=0.0, ge=0, le=1, description="share of sentences whose entities change places")
    gazetteer: str | None = Field(default=None, description="LABEL<TAB>name lines that join the mentions")
    together: float = Field(default=0.0, ge=0, le=1, description="share of examples put several in a row")


class Transfer(Part):
    """The transfer set, D_u: labelled sentences without their labels, and plain text; D_l itself where both are 0."""

    wikiann: int | None = Field(default=None, ge=0, description="WikiANN sentences of each language (all)")
    gold: int = Field(default=0, ge=0, description="sentences of each gold source and language")
    massive: int = Field(default=0, ge=0, description="lines of each MASSIVE locale")
    text: int = Field(default=0, ge=0, description="lines of unlabelled text of each language")
    pieces: int | None = Field(default=None, ge=1, description="word-pieces to draw at random from these (all)")
    together: float = Field(default=0.0, ge=0, le=1, description="share of examples put several in a row")


class Teacher(Part):
    """Who is imitated."""

    path: str = Field(description="a Hugging Face token classifier: a folder, or a name on the hub")
    layer: int = Field(default=-1, description="whose hidden states are the representation (0: the embeddings)")
    cache: Mode = Field(default="disk", description="its answers: disk, memory, or none (asked for each batch)")
    engine: Literal["local", "ray"] = Field(default="local", description="who computes them; --engine says otherwise")
    workers: int = Field(default=2, ge=1, description="Ray actors")


class StudentPart(Part):
    """The student's shape and how it starts."""

    kind: Kind = Field(default="bilstm", description="bilstm, conv (gated dilated convolutions) or transformer")
    embedding: int = Field(default=50, ge=1, description="E, width of the embeddings")
    hidden: int = Field(default=200, ge=1, description="H, per direction of a BiLSTM; else the encoder's width")
    layers: int = Field(default=1, ge=1, description="of a conv or transformer")
    kernel: int = Field(default=5, ge=1, description="width of a convolution, odd")
    heads: int = Field(default=4, ge=1, description="of a transformer")
    dropout: float = Field(default=0.2, ge=0, lt=1, description="on embeddings, states and projection")
    projection: Literal["none"] | Activation = Field(
        default="linear", description="into the teacher's width: linear (folded into the head when done), gelu, none"
    )
    start: Start = Field(default="svd", description="embeddings: svd or pca of the teacher's, or random")
    minimum_count: int = Field(default=0, ge=0, description="drop pieces seen less often in D_l and D_u (0: keep all)")
    checkpoint: str | None = Field(default=None, description="student of this shape to go on from")


class Loss(Part):
    """What the stages minimise; see distill.losses."""

    imitation: Imitation = Field(default="mse", description="of the teacher's logits: mse, kl, or hard (its best tags)")
    temperature: float = Field(default=1.0, gt=0, description="of kl")
    likeness: Representation = Field(default="mse", description="of representations: mse (standardised) or kld")
    alpha: float = Field(default=1.0, ge=0, description="weight of the labels where stages are joint (eq. 7)")
    beta: float = Field(default=1.0, ge=0, description="weight of the representation where stages are joint")
    gamma: float = Field(default=1.0, ge=0, description="weight of the logits where stages are joint")
    pieces: Literal["all", "first"] = Field(
        default="all",
        description="which pieces the teacher is imitated on: all, or a word's first; labels count on all",
    )


class SchedulePart(Part):
    """How long, how fast. A joint stage gets the pieces of those that it joins, so strategies cost the same."""

    strategy: Strategy = Field(default="D4.2", description="D0, D0-S, D1, D2, D3.1, D3.2, D4.1 or D4.2 of the paper")
    representation: int = Field(default=2_000_000, ge=0, description="pieces for the representation (0: leave out)")
    logits: int = Field(default=4_000_000, ge=0, description="word-pieces for the logits (0: leave out)")
    labels: int = Field(default=2_000_000, ge=0, description="word-pieces for the labels (0: leave out)")
    batch: int = Field(default=4096, ge=1, description="word-pieces in a batch")
    rate: float = Field(default=3e-3, gt=0, description="peak learning rate for representation and logits")
    label_rate: float = Field(default=1e-3, gt=0, description="peak learning rate for labels after logits")
    embedding_rate: float = Field(default=1.0, ge=0, description="times the learning rate, for word embeddings")
    checks: int = Field(default=5, ge=1, description="evaluations on dev in each step")
    keep: Keep = Field(default="best", description="after each step: best on dev, average of late weights, or last")
    checkpoint_minutes: float = Field(default=5.0, ge=0, description="time between checkpoints")

    @property
    def taught(self) -> bool:
        """Whether any step of the strategy asks the teacher."""
        return self.strategy not in ("D0", "D0-S")


class Evaluation(Part):
    """Where the student is judged: chosen on dev, reported on test, both on raw text."""

    languages: tuple[str, ...] = Field(default=(), description="WikiANN languages; none: those of the labels")
    dev: int = Field(default=300, ge=1, description="dev sentences of each language")
    test: int | None = Field(default=1000, ge=1, description="test sentences of each language")
    gold: int = Field(default=0, ge=0, description="test sentences of each gold source and language as well")


class Bundle(Part):
    """Where the best student (on dev) is exported to."""

    path: str = Field(description="folder of the bundle, such as models/student")
    name: str = Field(default="student", description="its name")
    licence: str = Field(default="", description="its licence")
    max_bytes: int | None = Field(default=None, ge=1, description="export fails above this size")


class Variant(Part):
    """One line of a study: its name, the keys it changes, and its place on the x axis, if there is one."""

    name: str = Field(min_length=1, pattern=r"^[\w.+()= -]+$", description="shown in the report")
    set: dict[str, Any] = Field(default_factory=dict, description="dotted key = value")
    x: float | None = Field(default=None, description="where it stands on the study's x axis")


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
    teacher: Teacher
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
            self._fits_together()
        return self

    def _fits_together(self) -> None:
        """Refuse values that are sound each for itself, but not with one another."""
        student, loss, teacher, strategy = self.student, self.loss, self.teacher, self.schedule.strategy
        if student.kind == "conv" and student.kernel % 2 == 0:
            raise ValueError(f"student.kernel must be odd for a conv, got {student.kernel}")
        if student.kind == "transformer" and student.hidden % student.heads:
            raise ValueError(
                f"student.hidden must be a multiple of student.heads ({student.heads}) for a transformer, "
                f"got {student.hidden}"
            )
        if teacher.engine == "ray" and teacher.cache != "disk":
            raise ValueError(f"teacher.cache must be 'disk' for teacher.engine 'ray', got {teacher.cache!r}")
        weights = {"loss.alpha": loss.alpha, "loss.gamma": loss.gamma}
        if strategy == "D2":
            weights["loss.beta"] = loss.beta
        if strategy in ("D1", "D2", "D3.1", "D3.2") and not any(weights.values()):
            raise ValueError(f"{', '.join(weights)} must not all be 0 for the joint stage of {strategy}, got 0")

    @property
    def languages(self) -> tuple[str, ...]:
        """The WikiANN languages the student is judged on."""
        return self.evaluation.languages or self.labels.languages or tuple(WIKIANN_45)

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
        own = recipe.resolved(variant)
        try:
            plan(own)
        except ValueError as error:
            where = path if variant is None else f"{path}: variant {variant.name!r}"
            raise ValueError(f"{where}: {error}") from error
    return recipe
