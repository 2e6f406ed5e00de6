"""The tables of a recipe: every key with its default, its bounds and what it means."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from distill.corpora import ENTITY_TYPES, WIKIANN, check_source, check_types
from distill.embeddings import Start
from distill.keeping import Keep
from distill.losses import Imitation, Representation
from distill.students import Activation, Decoder, Kind
from distill.teacher_cache import Mode

Strategy = Literal["teachers", "D0", "D0-S", "D1", "D2", "D3.1", "D3.2", "D4.1", "D4.2"]


class Part(BaseModel):
    """A table of a recipe: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Labels(Part):
    """The labelled sentences, D_l. Limits are sentences per language, the first of each train split."""

    types: Annotated[tuple[str, ...], AfterValidator(check_types)] = Field(
        default=ENTITY_TYPES, description="what is tagged; other types in the data become O"
    )
    source: Annotated[str, AfterValidator(check_source)] = Field(
        default=WIKIANN, description="main source: a folder of ner/, or with a slash (pos/ud) of the data folder"
    )
    languages: tuple[str, ...] = Field(default=(), description="only these languages; none: all of source and gold")
    wikiann: int | None = Field(default=None, ge=0, description="sentences of each language of source (all)")
    gold: int = Field(default=0, ge=0, description="sentences of each gold source and language")
    gold_times: int = Field(default=1, ge=1, description="how often the gold sources are repeated")
    massive: int = Field(default=0, ge=0, description="lines of each MASSIVE locale")
    balance: int = Field(default=1, ge=1, description="most repeats of a language of source under 10,000 sentences")
    joined: tuple[str, ...] = Field(default=("ja", "zh"), description="languages of source also in their token form")
    mentions: float = Field(default=0.0, ge=0, le=1, description="share of sentences whose entities change places")
    gazetteer: str | None = Field(default=None, description="LABEL<TAB>name lines that join the mentions")
    together: float = Field(default=0.0, ge=0, le=1, description="share of examples put several in a row")

    @property
    def other_task(self) -> dict[str, Any]:
        """Types and source where they are not the default: hashes hold only these, and so stay what they were."""
        return self.model_dump(mode="json", include={"types", "source"}, exclude_defaults=True)


class Transfer(Part):
    """The transfer set, D_u: labelled sentences without their labels, and plain text; D_l itself where both are 0."""

    wikiann: int | None = Field(default=None, ge=0, description="sentences of each language of labels.source (all)")
    gold: int = Field(default=0, ge=0, description="sentences of each gold source and language")
    massive: int = Field(default=0, ge=0, description="lines of each MASSIVE locale")
    text: int = Field(default=0, ge=0, description="lines of unlabelled text of each language")
    pieces: int | None = Field(default=None, ge=1, description="word-pieces to draw at random from these (all)")
    together: float = Field(default=0.0, ge=0, le=1, description="share of examples put several in a row")

    @property
    def given(self) -> bool:
        """Whether there is a transfer set of its own."""
        return self.wikiann != 0 or any((self.gold, self.massive, self.text))


class Teacher(Part):
    """Who is imitated."""

    path: str | None = Field(
        default=None, description="a Hugging Face token classifier: a folder, or a name on the hub (none: [teachers])"
    )
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
    decoder: Decoder = Field(default="softmax", description="of the logits: softmax, each for itself, or crf, a chain")
    start: Start = Field(default="svd", description="embeddings: svd or pca of the teacher's, or random")
    embeddings: str | None = Field(default=None, description="checkpoint to take them from instead, as teacher.path")
    minimum_count: int = Field(default=0, ge=0, description="drop pieces seen less often in D_l and D_u (0: keep all)")
    checkpoint: str | None = Field(default=None, description="student of this shape to go on from")


class TeacherShape(StudentPart):
    """As of [student], but for two defaults."""

    projection: Literal["none"] = Field(default="none", description="there is no teacher to project into: none")
    decoder: Decoder = Field(default="crf", description="of the logits: crf, a chain, or softmax, each for itself")


class Teachers(Part):
    """Teachers that are trained before the student, on the labels of one language each: its sentences' teacher."""

    together: bool = Field(default=False, description="one teacher of all languages instead, of `pooled` word-pieces")
    pooled: int = Field(default=0, ge=0, description="word-pieces of all languages that all teachers have begun with")
    pooled_rate: float = Field(default=3e-3, gt=0, description="peak learning rate for these")
    pieces: int = Field(default=1_000_000, ge=1, description="word-pieces of its language that each teacher sees")
    batch: int = Field(default=2048, ge=1, description="word-pieces in a batch")
    rate: float = Field(default=3e-3, gt=0, description="peak learning rate of each teacher")
    embedding_rate: float = Field(default=1.0, ge=0, description="times the learning rate, for word embeddings")
    transition_rate: float = Field(default=10.0, ge=0, description="times the learning rate, for a CRF's transitions")
    checks: int = Field(default=5, ge=1, description="evaluations on dev")
    keep: Keep = Field(default="best", description="best on dev, average of late weights, or last")
    shape: TeacherShape = Field(default=TeacherShape(), description="keys as of [student]")


class Loss(Part):
    """What the stages minimise; see distill.losses and distill.structure."""

    imitation: Imitation = Field(
        default="mse",
        description="of the teacher: logits by mse, kl (token, emission) or hard (its best tags); its sequences by "
        "top-k, top-wk, posterior, posterior+top-wk or structural",
    )
    temperature: float = Field(default=1.0, gt=0, description="of kl, token, emission, posterior and structural")
    best: int = Field(default=5, ge=1, description="of top-k and top-wk: how many of the teacher's best sequences")
    annealed: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of a joint stage over which all weight moves from the teacher to the labels (0: never)",
    )
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

    strategy: Strategy = Field(
        default="D4.2", description="D0, D0-S, D1, D2, D3.1, D3.2, D4.1, D4.2 of the paper, or teachers: these alone"
    )
    representation: int = Field(default=2_000_000, ge=0, description="pieces for the representation (0: leave out)")
    logits: int = Field(default=4_000_000, ge=0, description="word-pieces for the logits (0: leave out)")
    labels: int = Field(default=2_000_000, ge=0, description="word-pieces for the labels (0: leave out)")
    batch: int = Field(default=4096, ge=1, description="word-pieces in a batch")
    rate: float = Field(default=3e-3, gt=0, description="peak learning rate for representation and logits")
    label_rate: float = Field(default=1e-3, gt=0, description="peak learning rate for labels after logits")
    embedding_rate: float = Field(default=1.0, ge=0, description="times the learning rate, for word embeddings")
    transition_rate: float = Field(default=10.0, ge=0, description="times the learning rate, for a CRF's transitions")
    checks: int = Field(default=5, ge=1, description="evaluations on dev in each step")
    keep: Keep = Field(default="best", description="after each step: best on dev, average of late weights, or last")
    checkpoint_minutes: float = Field(default=5.0, ge=0, description="time between checkpoints")

    @property
    def taught(self) -> bool:
        """Whether any step of the strategy asks the teacher."""
        return self.strategy not in ("teachers", "D0", "D0-S")


class Evaluation(Part):
    """Where the student is judged: chosen on dev, reported on test, both on raw text."""

    languages: tuple[str, ...] = Field(default=(), description="languages of labels.source; none: those of the labels")
    dev: int = Field(default=300, ge=1, description="dev sentences of each language")
    test: int | None = Field(default=1000, ge=1, description="test sentences of each language")
    gold: int = Field(default=0, ge=0, description="test sentences of each gold source and language as well")
    zero_shot: tuple[str, ...] = Field(default=(), description="languages of the main source without labels to test on")


class Bundle(Part):
    """Where the best student (on dev) is exported to."""

    path: str = Field(description="folder of the bundle, such as models/student")
    name: str = Field(default="student", description="its name")
    licence: str = Field(default="", description="its licence")
    quantization: Literal["int8-weights", "int8-static", "int8-dynamic", "fp32"] = Field(
        default="int8-weights", description="how weights are stored and computed: see `onoma export student --help`"
    )
    max_bytes: int | None = Field(default=None, ge=1, description="export fails above this size")


class Variant(Part):
    """One line of a study: its name, the keys it changes, and its place on the x axis, if there is one."""

    name: str = Field(min_length=1, pattern=r"^[\w.+()= -]+$", description="shown in the report")
    set: dict[str, Any] = Field(default_factory=dict, description="dotted key = value")
    x: float | None = Field(default=None, description="where it stands on the study's x axis")
