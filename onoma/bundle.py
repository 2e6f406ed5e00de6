"""The model bundle: a folder with bundle.json, model.onnx, tokenizer.json and a model card, bound by hashes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from onoma.errors import BundleError, LabelError
from onoma.labels import LabelSet, Scheme

FORMAT_VERSION = 1
MANIFEST = "bundle.json"
MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
CARD_FILE = "README.md"

Pieces = Literal["all", "first"]
"""Which of a word's pieces have a say in its tag."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TokenizerFacts(_Strict):
    """What the encoder must add to the pieces of tokenizer.json."""

    pad_id: int = Field(ge=0, description="id that fills a batch's shorter rows")
    prefix_ids: tuple[int, ...] = Field(default=(), description="ids before the pieces of a window, such as [CLS]")
    suffix_ids: tuple[int, ...] = Field(default=(), description="ids after the pieces of a window, such as [SEP]")


class Quantization(_Strict):
    """How the weights are stored and computed."""

    method: str = Field(description="for example 'int8-dynamic', 'int8-weights', 'fp32'")
    details: dict[str, Any] = Field(default_factory=dict)


class Calibration(_Strict):
    """Calibrated on dev: probabilities and confidence that mean what they say."""

    temperature: float = Field(default=1.0, gt=0, description="logits and transitions are divided by it")
    confidence: tuple[tuple[float, float], ...] = Field(
        default=(),
        description="(raw confidence, share of dev sentences with no error) points, raw ascending; linear in between",
    )
    fallback_threshold: float = Field(
        default=0.0, ge=0, le=1, description="below this confidence a cascade asks the teacher; chosen on dev"
    )

    def calibrated(self, raw: float) -> float:
        """The calibrated confidence of a raw one: interpolated, clamped at the ends."""
        points = self.confidence
        if not points:
            return raw
        if raw <= points[0][0]:
            return points[0][1]
        for (low, at_low), (high, at_high) in zip(points, points[1:], strict=False):
            if raw <= high:
                return at_high if high == low else at_low + (at_high - at_low) * (raw - low) / (high - low)
        return points[-1][1]


_Scores = tuple[Annotated[float, Field(allow_inf_nan=False)], ...]


class Transitions(_Strict):
    """The log potentials that a CRF adds to its emissions; never quantized."""

    transitions: tuple[_Scores, ...] = Field(description="C rows of C: of the column's label after the row's")
    start: _Scores = Field(description="of a sentence's first label")
    end: _Scores = Field(description="of a sentence's last label")

    def check(self, labels: int) -> None:
        """Refuse potentials of another number of labels.

        :raises ValueError: names the field and its size.
        """
        widths = sorted({len(row) for row in self.transitions})
        if len(self.transitions) != labels or widths != [labels]:
            found = f"{len(self.transitions)} rows of {' or '.join(map(str, widths)) or 0}"
            raise ValueError(f"crf.transitions must be {labels} rows of {labels}, one for each label, got {found}")
        for name, scores in (("start", self.start), ("end", self.end)):
            if len(scores) != labels:
                raise ValueError(f"crf.{name} must have {labels} numbers, one for each label, got {len(scores)}")


class BaseManifest(_Strict):
    """What bundle.json says of a model of any kind."""

    format_version: int
    name: str = Field(min_length=1)
    architecture: str = Field(description="for example 'bilstm E=100 H=200'")
    parameters: int = Field(ge=0)
    tokenizer: TokenizerFacts
    max_length: int = Field(ge=8, description="most pieces in one window, prefix and suffix included")
    overlap: int = Field(ge=0, description="fewest pieces that neighbouring windows share")
    languages: tuple[str, ...]
    licence: str
    quantization: Quantization
    training: dict[str, Any] = Field(default_factory=dict, description="recipe, data with hashes, seed, command")
    metrics: dict[str, Any] = Field(default_factory=dict, description="how good it is, per language and overall")
    created: str = Field(description="UTC date")
    files: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(description="sha256 of each file")

    @model_validator(mode="after")
    def _check_windows(self) -> Self:
        if self.overlap >= self.room:
            raise ValueError(f"overlap must be under {self.room}, the pieces that fit a window, got {self.overlap}")
        return self

    @property
    def room(self) -> int:
        """Most pieces of a text in one window: without prefix and suffix."""
        return self.max_length - len(self.tokenizer.prefix_ids) - len(self.tokenizer.suffix_ids)


class Manifest(BaseManifest):
    """bundle.json of a tagger."""

    kind: Literal["token-classification"] = "token-classification"
    role: Literal["student", "teacher"]
    labels: tuple[str, ...] = Field(description="tag of each column")
    scheme: Scheme = Field(default="iob2", description="what the tags mean; see onoma.labels.LabelSet")
    pieces: Pieces = Field(default="all", description="which pieces of a word have a say in its tag")
    decoder: Literal["softmax", "crf"] = "softmax"
    crf: Transitions | None = Field(default=None, description="of decoder crf, and of no other")
    calibration: Calibration = Calibration()

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            single = LabelSet(self.labels, self.scheme).single_pieces
        except LabelError as error:
            raise ValueError(str(error)) from error
        if single and self.pieces == "all":
            raise ValueError(f"pieces must be first: there is no tag inside a word for {', '.join(single)}")
        if (self.crf is None) == (self.decoder == "crf"):
            raise ValueError(f"crf must be there for decoder crf and for no other, the decoder is {self.decoder}")
        if self.crf is not None:
            if (self.scheme, self.pieces) != ("iob2", "all"):
                raise ValueError(f"decoder crf needs scheme iob2 and pieces all, got {self.scheme} and {self.pieces}")
            self.crf.check(len(self.labels))
        return self

    @property
    def label_set(self) -> LabelSet:
        """The labels as a LabelSet."""
        return LabelSet(self.labels, self.scheme)


class EncoderManifest(BaseManifest):
    """bundle.json of a sentence encoder."""

    kind: Literal["sentence-encoder"] = "sentence-encoder"
    role: Literal["encoder"] = "encoder"
    dimensions: int = Field(ge=1, description="numbers in the vector of a text")


AnyManifest = Manifest | EncoderManifest

_M = TypeVar("_M", Manifest, EncoderManifest)
_LOADED_BY = {"token-classification": "Tagger", "sentence-encoder": "Embedder"}  # by kind

# Of bundle.json, for people who read it: what the model is, then what it needs, then where it comes from.
_ORDER = (
    *("format_version", "kind", "name", "role", "architecture", "parameters", "dimensions", "labels", "scheme"),
    *("pieces", "tokenizer", "max_length", "overlap", "decoder", "crf", "languages", "licence", "quantization"),
    *("calibration", "training", "metrics", "created", "files"),
)


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read and verify a tagger's manifest and the hashes of its files.

    :raises BundleError: if a file is missing or differs from its hash, the format is not this version's, or it is a
        bundle of another kind.
    """
    return _read(folder, Manifest)


def read_encoder_manifest(folder: Path) -> EncoderManifest:
    """As `read_manifest`, of a sentence encoder."""
    return _read(folder, EncoderManifest)


def read_any_manifest(folder: Path) -> AnyManifest:
    """As `read_manifest`, of a model of either kind."""
    content = _content(folder)
    if content.get("kind") == "sentence-encoder":
        return _checked(folder, content, EncoderManifest)
    return _checked(folder, content, Manifest)


def _read(folder: Path, model: type[_M]) -> _M:
    content = _content(folder)
    kind, wanted = content.get("kind"), model.model_fields["kind"].default
    if isinstance(kind, str) and kind in _LOADED_BY and kind != wanted:
        loader = f"onoma.{_LOADED_BY[kind]} loads it"
        raise BundleError(f"{folder / MANIFEST}: this is a {kind} bundle, not a {wanted} one; {loader}")
    return _checked(folder, content, model)


def _content(folder: Path) -> dict[str, Any]:
    """What bundle.json says, in this version's format."""
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"no bundle at {folder}: {MANIFEST} is missing")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BundleError(f"{path} is not JSON: {error}") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise BundleError(f"{path}: format_version is {version!r}, this onoma reads {FORMAT_VERSION}")
    known: dict[str, Any] = content
    return known


def _checked(folder: Path, content: dict[str, Any], model: type[_M]) -> _M:
    """The manifest, whose files are all there and as they should be."""
    path = folder / MANIFEST
    try:
        manifest = model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{path}: {where}: {first['msg']}") from error
    for required in (MODEL_FILE, TOKENIZER_FILE):
        if required not in manifest.files:
            raise BundleError(f"{path}: files has no hash of {required}")
    for name, expected in manifest.files.items():
        file = folder / name
        if name == ".." or Path(name).name != name:
            raise BundleError(f"{path}: files may not leave the bundle, got {name!r}")
        if not file.is_file():
            raise BundleError(f"{folder}: {name} is missing")
        if (actual := sha256(file)) != expected:
            found = f"sha256 is {actual[:12]}…, bundle.json says {expected[:12]}…"
            raise BundleError(f"{folder}: {name} is damaged: {found}")
    return manifest


def write_manifest(folder: Path, manifest: AnyManifest) -> None:
    """Write bundle.json last and at once, so that a half-written bundle never loads."""
    temporary = folder / (MANIFEST + ".tmp")
    # What is younger than the format stands there only where it says something: older readers refuse unknown fields.
    younger = {"crf": None, "scheme": "iob2", "pieces": "all"}
    content = manifest.model_dump(mode="json")
    wanted = [name for name in _ORDER if name in content and content[name] != younger.get(name, ...)]
    text = json.dumps({name: content[name] for name in wanted}, ensure_ascii=False, indent=1)
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(folder / MANIFEST)
