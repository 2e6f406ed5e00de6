"""Recipes of `kind = "sentence-encoder"`: the four stages, what they see, for how long. Every key: docs/sentences.md.

As in other recipes a study has variants, each of which changes some keys, named by their dotted paths.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from distill.expectations import expected_pairs
from distill.keeping import Keep
from distill.recipe import first_error
from distill.recipe_tables import Part, Variant
from distill.sentences.languages import LANGUAGES
from distill.sentences.losses import Matrix
from distill.sentences.parallel import parallel_hashes
from distill.sentences.splits import STS_LANGUAGES
from distill.sentences.start import Way
from distill.sentences.teacher import DEFAULT

SHARED = ("kind", "name", "description", "expect", "seeds", "variants")


def _known(languages: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := sorted(set(languages) - set(LANGUAGES)):
        raise ValueError(f"unknown languages {', '.join(unknown)}; known are {' '.join(LANGUAGES)}")
    return languages


Languages = Annotated[tuple[str, ...], AfterValidator(_known)]


class Data(Part):
    """What is seen, and how much of it: weights are how many times as often as it occurs."""

    languages: Languages = Field(default=LANGUAGES, min_length=1, description="to learn; English is one of them")
    english_lines: int = Field(default=30_000, ge=0, description="lines of English text beside the pairs' English")
    text_lines: int = Field(default=8_000, ge=1, description="lines of text of each language")
    focus_lines: int = Field(default=40_000, ge=1, description="lines of text of each language of focus")
    annotations: str | None = Field(default=None, description="folder of CLDR's names of everyday things (none)")
    dictionaries: str | None = Field(default=None, description="what `onoma dictionaries` wrote (none)")
    max_pieces: int = Field(default=48, ge=2, le=512, description="longer sentences are not trained on")
    tatoeba: float = Field(default=10, ge=0, description="weight of Tatoeba's pairs")
    ntrex: float = Field(default=3, ge=0, description="weight of NTREX-128's pairs")
    massive: float = Field(default=1, ge=0, description="weight of MASSIVE's pairs")
    cldr: float = Field(default=0.5, ge=0, description="weight of CLDR's names, where data.annotations has them")
    dictionary: float = Field(default=0.1, ge=0, description="weight of words of data.dictionaries with an English one")
    wordwise: float = Field(default=0.3, ge=0, description="weight of English put into other languages word by word")
    focus: Languages = Field(default=STS_LANGUAGES, description="languages that are seen more often")
    focus_weight: float = Field(default=2, gt=0, description="how many times as often")
    english: float = Field(default=0.2, ge=0, lt=1, description="share of English sentences alone, by pieces")

    @property
    def annotations_path(self) -> Path | None:
        """Where CLDR's names are."""
        return None if self.annotations is None else Path(self.annotations)

    @property
    def dictionaries_path(self) -> Path | None:
        """Where the words of dictionaries are."""
        return None if self.dictionaries is None else Path(self.dictionaries)

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each source."""
        return parallel_hashes(
            self.languages, annotations=self.annotations_path, dictionaries=self.dictionaries_path
        )

    @property
    def lines(self) -> dict[str, int]:
        """Lines of text by language."""
        return {name: self.focus_lines if name in self.focus else self.text_lines for name in self.languages}


class SentenceTeacher(Part):
    """Who is imitated."""

    path: str = Field(default=DEFAULT, description="sentence-transformers checkpoint: a folder, or package:NAME/FOLDER")
    normalise: bool = Field(
        default=False, description="vectors of unit length where the checkpoint asks for it; else its plain mean"
    )


class Start(Part):
    """Where the assistant's embeddings begin."""

    way: Literal[Way, "random"] = Field(default="neighbours", description="neighbours, linear, words, or random")
    vectors: str | None = Field(default=None, description="vectors of the pieces (.npy, V x D), instead of skip-gram")
    width: int = Field(default=100, ge=1, description="of the skip-gram vectors")
    epochs: int = Field(default=2, ge=1, description="of the skip-gram vectors")
    window: int = Field(default=6, ge=1, description="pieces to each side")
    pairs: int = Field(default=10_000_000, ge=0, description="pieces of the pairs that are also lines of two languages")
    align: int = Field(default=60_000_000, ge=0, description="pieces to see while means of embeddings are fitted")
    words: float = Field(default=8, ge=0, description="times the weights of cldr and dictionary in that fitting")
    align_rate: float = Field(default=5e-3, gt=0, description="learning rate of that")
    rare: int = Field(default=0, ge=0, description="pieces seen less often then get their neighbours' place; 0: none")


class Assistant(Part):
    """Stage 1: the teacher's layers over embeddings of all languages."""

    checkpoint: str | None = Field(default=None, description="an assistant to go on from, instead of the start")
    frozen: int = Field(default=0, ge=0, description="pieces to see first, while only embeddings learn")
    pieces: int = Field(default=20_000_000, ge=0, description="pieces to see then")
    rate: float = Field(default=1.6e-4, gt=0, description="learning rate")
    embedding_rate: float = Field(default=5, gt=0, description="times the rate, for the embeddings")


class Bottleneck(Part):
    """Stage 2: the embeddings through a narrow space."""

    embedding: int = Field(default=128, ge=0, description="its width E; 0: none, the student keeps the assistant's")
    pieces: int = Field(default=10_000_000, ge=0, description="pieces to see; 0: the truncated SVD as it is")
    rate: float = Field(default=1e-3, gt=0, description="learning rate")


class Recurrent(Part):
    """Stage 3: some of the assistant's layers, run several times."""

    layers: tuple[int, ...] = Field(default=(0, 2, 4), description="which of the assistant's layers, counted from 0")
    repeats: int = Field(default=1, ge=1, description="how often they are run")
    target: Literal["assistant", "teacher"] = Field(default="assistant", description="whose vectors are learnt")
    text: float = Field(default=0.3, ge=0, lt=1, description="share of text without translation (target assistant)")
    pieces: int = Field(default=20_000_000, ge=0, description="pieces to see; 0: left out")
    rate: float = Field(default=1.6e-4, gt=0, description="learning rate")
    embedding_rate: float = Field(default=2, gt=0, description="times the rate, for the embeddings")


class Contrastive(Part):
    """Stage 4: multilingual contrastive learning."""

    checkpoint: str | None = Field(default=None, description="a student to go on from; the stages before are left out")
    matrix: Matrix = Field(default="soft", description="what cosines within a batch should be")
    weight: float = Field(default=1, ge=0, description="of the matrix beside the vectors")
    pieces: int = Field(default=20_000_000, ge=0, description="pieces of translations to see; 0: left out")
    rate: float = Field(default=1.6e-4, gt=0, description="learning rate")
    embedding_rate: float = Field(default=2, gt=0, description="times the rate, for the embeddings")


class SentenceSchedule(Part):
    """What all stages share."""

    batch: int = Field(default=2048, ge=1, description="pieces in a batch")
    shallow_batch: int = Field(default=16_384, ge=1, description="pieces in a batch where there are no layers")
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of a stage in which the rate rises")
    weight_decay: float = Field(default=0.01, ge=0, description="not of biases, norms and embeddings")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="of embeddings and layers")
    checks: int = Field(default=6, ge=1, description="evaluations in a stage")
    keep: Keep = Field(default="last", description="weights a stage ends with: last, best on dev, or average")
    checkpoint_minutes: float = Field(default=5.0, gt=0, description="time between checkpoints")


class SentenceEvaluation(Part):
    """What a stage is judged by while it runs: Spearman on the first rows of STS-B *train*, which nothing learns."""

    languages: tuple[str, ...] = Field(
        default=("en", "de", "es", "zh", "ja", "ru", "pl"), min_length=2, description="each alone, and with English"
    )
    rows: int = Field(default=300, ge=2, description="of each language")
    test: bool = Field(default=False, description="judge every stage on STS-B test and Tatoeba test in the end")


class SentenceRecipe(Part):
    """A whole recipe."""

    kind: Literal["sentence-encoder"] = Field(description="tells these recipes from those of taggers")
    name: str = Field(min_length=1, pattern=r"^[\w-]+$", description="of the recipe")
    description: str = Field(default="", description="what it is for")
    expect: tuple[str, ...] = Field(default=(), description='orders of variants to check, such as "soft > none"')
    seeds: tuple[int, ...] = Field(default=(1,), min_length=1, description="each variant is run with each seed")
    words: str | None = Field(default=None, description="words.xz that `onoma train-tokenizer --words` wrote (none)")
    tokenizer: str = Field(description="tokenizer.json that `onoma train-tokenizer --sentence-encoder` wrote")
    data: Data = Data()
    teacher: SentenceTeacher = SentenceTeacher()
    start: Start = Start()
    assistant: Assistant = Assistant()
    bottleneck: Bottleneck = Bottleneck()
    recurrent: Recurrent = Recurrent()
    contrastive: Contrastive = Contrastive()
    schedule: SentenceSchedule = SentenceSchedule()
    evaluation: SentenceEvaluation = SentenceEvaluation()
    variants: tuple[Variant, ...] = ()

    @model_validator(mode="after")
    def _sound(self) -> SentenceRecipe:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must differ, got {list(self.seeds)}")
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            raise ValueError(f"variants must have different names, got {names}")
        for order in self.expect:
            expected_pairs(order, names)
        if "en" not in self.data.languages:
            raise ValueError(f"data.languages must have en, which all pairs lead to, got {list(self.data.languages)}")
        if (self.start.way == "words") != (self.words is not None) and self.start.way != "random":
            raise ValueError(f"words and start.way = words go together, got {self.words!r} and {self.start.way!r}")
        if self.recurrent.target == "teacher" and "text" in self.recurrent.model_fields_set and self.recurrent.text:
            raise ValueError(f"recurrent.text must be 0 where recurrent.target is teacher, got {self.recurrent.text}")
        return self

    def resolved(self, variant: Variant | None) -> SentenceRecipe:
        """The recipe with a variant's changes, without variants.

        :raises ValueError: naming the variant and the key, if it sets one that does not exist or is wrong.
        """
        content = self.model_dump(exclude_unset=True) | {"variants": (), "expect": ()}
        for path, value in variant.set.items() if variant is not None else ():
            assert variant is not None
            table, _, key = path.rpartition(".")
            part = getattr(self, table, None) if table else self
            if not isinstance(part, Part) or key not in type(part).model_fields:
                raise ValueError(f"variant {variant.name!r} sets {path!r}, which no recipe has")
            if path in SHARED:
                raise ValueError(f"variant {variant.name!r} sets {path!r}, which all variants share")
            place: dict[str, Any] = content.setdefault(table, {}) if table else content
            place[key] = value
        try:
            return SentenceRecipe.model_validate(content)
        except ValidationError as error:
            name = variant.name if variant is not None else self.name
            raise ValueError(f"variant {name!r}: {first_error(error)}") from error

    def runs(self) -> list[tuple[Variant, int]]:
        """Every variant with every seed; a recipe without variants is one variant of its own name."""
        variants = self.variants or (Variant(name=self.name),)
        return [(variant, seed) for seed in self.seeds for variant in variants]


def is_sentence_recipe(path: Path) -> bool:
    """Whether a recipe file is of this kind; what else may be wrong with it is for its loader to say."""
    with path.open("rb") as file:
        try:
            return tomllib.load(file).get("kind") == "sentence-encoder"
        except tomllib.TOMLDecodeError:
            return False


def load_sentence_recipe(path: Path) -> SentenceRecipe:
    """Read and check a recipe with all of its variants.

    :raises ValueError: naming file, key and value.
    """
    try:
        recipe = SentenceRecipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        raise ValueError(f"{path}: {first_error(error)}") from error
    for variant in recipe.variants:
        try:
            recipe.resolved(variant)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    return recipe


