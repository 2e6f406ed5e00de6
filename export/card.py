"""The model card: a manifest in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onoma.bundle import Manifest

_DECODERS = {
    "softmax": "softmax: each piece has probabilities of its own",
    "crf": "linear-chain CRF: probabilities are marginals over all legal sequences of tags",
}
_METHODS = {
    "int8-weights": "Weights are stored as int8 and computed in fp32: an answer depends on the text alone, never on "
    "its batch-mates.",
    "int8-static": "Weights and activations are int8, in ranges fixed beforehand: an answer depends on the text alone, "
    "never on its batch-mates.",
    "int8-dynamic": "Weights and activations are int8; the activations of a batch share one scale, so that logits "
    "move a little with a text's batch-mates.",
    "fp32": "Not quantized.",
}


def card(manifest: Manifest) -> str:
    """README.md of a bundle, in Markdown.

    `manifest.metrics` becomes a table if it has F1 by language under `per_language` (`{"de": 0.9}` or
    `{"de": {"f1": 0.9}}`), directly or inside named sections (`{"tokens": {"per_language": ...}, "raw": {...}}`: one
    column each); its other entries are listed. F1 may be a share, as here, or a percentage.
    """
    return "\n".join(line.rstrip() for line in _lines(manifest)).rstrip() + "\n"


def _lines(manifest: Manifest) -> Iterator[str]:
    types = ", ".join(manifest.label_set.types)
    yield f"# {manifest.name}"
    yield ""
    yield f"Multilingual named entity recognition ({types}): the {manifest.role} of the onoma project, as a bundle that"
    yield "`onoma.Tagger` and the onoma service read."
    yield ""
    yield f"- architecture: {manifest.architecture}, {manifest.parameters:,} parameters"
    yield f"- decoder: {_DECODERS[manifest.decoder]}"
    yield f"- labels: {', '.join(manifest.labels)}"
    yield f"- languages: {', '.join(manifest.languages) or 'not stated'}"
    yield f"- licence: {manifest.licence}"
    yield f"- created: {manifest.created}"
    yield from section("Use", ["```python", "from onoma import Tagger", ""])
    yield 'tagger = Tagger.load("path/to/this/folder")'
    yield 'print(tagger.tag("Angela Merkel visited Siemens in München.").entities)'
    yield "```"
    yield from section("Training and data", list(items(manifest.training)) or ["Not stated."])
    yield from section("F1", list(_metrics(manifest.metrics)) or ["Not measured yet: `onoma evaluate` measures it."])
    method = manifest.quantization.method
    yield from section("Quantization", [f"`{method}`. {_METHODS.get(method, '')}", ""])
    yield from items(manifest.quantization.details)
    yield from section(
        "Limits",
        [
            f"- Knows only {types}; other kinds of names, dates and amounts are not found.",
            f"- Reads windows of {manifest.max_length} pieces that share at least {manifest.overlap}; longer texts are",
            "  cut into windows and merged, never truncated.",
            "- Was measured on the data above; expect less on other languages, domains, spellings and noise.",
            "- Names of people in a text are personal data: what may be done with them is for the user to settle.",
        ],
    )
    calibration = manifest.calibration
    if calibration.confidence or calibration.temperature != 1.0:
        text = f"Temperature {calibration.temperature:.4g}; a cascade asks the teacher below confidence"
        yield from section("Calibration", [f"{text} {calibration.fallback_threshold:.4g}. Chosen on dev data."])
    command = manifest.training.get("export_command")
    if command:
        yield from section("Made by", ["```sh", str(command), "```"])


def section(title: str, lines: list[str]) -> list[str]:
    """A heading and what stands under it."""
    return ["", f"## {title}", "", *lines]


def items(content: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """A mapping as nested bullets."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield f"{indent}- {key}:"
            yield from items(value, indent + "  ")
        elif isinstance(value, list | tuple) and any(isinstance(entry, Mapping) for entry in value):
            yield f"{indent}- {key}:"
            for number, entry in enumerate(value, start=1):
                yield from items(entry if isinstance(entry, Mapping) else {str(number): entry}, indent + "  ")
        elif isinstance(value, list | tuple):
            yield f"{indent}- {key}: {', '.join(str(entry) for entry in value)}"
        else:
            yield f"{indent}- {key}: {value:.4g}" if isinstance(value, float) else f"{indent}- {key}: {value}"


def _metrics(metrics: Mapping[str, Any]) -> Iterator[str]:
    columns: dict[str, Mapping[str, Any]] = {}
    rest: dict[str, Any] = {}
    for name, section in {"F1": metrics, **metrics}.items():
        if isinstance(section, Mapping) and isinstance(table := section.get("per_language"), Mapping):
            columns[name] = table
            rest[name] = {key: value for key, value in section.items() if key != "per_language"}
        elif name in metrics and name != "per_language":
            rest[name] = section
    if "F1" in columns:  # the metrics themselves are the only section
        columns, rest = {"F1": columns["F1"]}, rest["F1"]
    # Languages in one table, the rows of the gold sources (source/language) in another.
    tables: dict[bool, list[str]] = {}
    for name, table in columns.items():
        tables.setdefault(any("/" in row for row in table), []).append(name)
    for gold, members in tables.items():
        percents = [_percents(columns[name]) for name in members]
        rows = sorted({row for name in members for row in columns[name]})
        first = "source/language" if gold else "language"
        yield f"| {first} | {' | '.join(members)} |"
        yield f"|---|{'---:|' * len(members)}"
        for row in rows:
            yield f"| {row} | {' | '.join(column.get(row, '–') for column in percents)} |"
        yield ""
    yield from items(rest)


def _percents(table: Mapping[str, Any]) -> dict[str, str]:
    """F1 of each language that has one, in percent; a column with no value above 1 holds shares."""
    values = {language: entry.get("f1") if isinstance(entry, Mapping) else entry for language, entry in table.items()}
    known = {language: float(value) for language, value in values.items() if isinstance(value, int | float)}
    factor = 100 if max(known.values(), default=0) <= 1 else 1
    return {language: f"{factor * value:.1f}" for language, value in known.items()}
