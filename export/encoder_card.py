"""The model card of a sentence encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from export.card import items, section
from onoma.bundle import EncoderManifest

_METHODS = {
    "int8-rows": "Weights and activations are int8, with a scale for each word-piece's activations: a vector depends "
    "on the text alone, never on its batch-mates.",
    "int4-tables": "The table of embeddings is in 4 bits, with a scale for each 32 numbers; other weights, and "
    "activations, are int8, with a scale for each word-piece's activations: a vector depends on the text alone, never "
    "on its batch-mates.",
    "int8-weights": "Weights are stored as int8 and computed in fp32: a vector depends on the text alone, never on its "
    "batch-mates.",
    "fp32": "Not quantized.",
}


def encoder_card(manifest: EncoderManifest) -> str:
    """README.md of an encoder's bundle, in Markdown.

    Of `manifest.metrics`, `sts` and `tatoeba` become tables if they have figures under `per_language`; what else there
    is in them is listed.
    """
    return "\n".join(line.rstrip() for line in _lines(manifest)).rstrip() + "\n"


def _lines(manifest: EncoderManifest) -> Iterator[str]:
    yield f"# {manifest.name}"
    yield ""
    yield f"A sentence encoder: texts become vectors of {manifest.dimensions} numbers, and texts that mean the same, in"
    yield "one language or in two, get vectors with a cosine near 1. A bundle of the onoma project, which"
    yield "`onoma.Embedder` and the onoma service read."
    yield ""
    yield f"- architecture: {manifest.architecture}, {manifest.parameters:,} parameters"
    yield f"- vector: mean over the word-pieces, {manifest.dimensions} numbers; `Embedder` makes its length 1"
    yield f"- languages: {', '.join(manifest.languages) or 'not stated'}"
    yield f"- licence: {manifest.licence}"
    yield f"- created: {manifest.created}"
    yield from section("Use", ["```python", "from onoma import Embedder", "from onoma.embedder import cosine", ""])
    yield 'embedder = Embedder.load("path/to/this/folder")'
    yield 'one, other = embedder.embed(["The weather is fine.", "Das Wetter ist schön."])'
    yield "print(cosine(one, other))"
    yield "```"
    yield from section("Training and data", list(items(manifest.training)) or ["Not stated."])
    metrics = list(_metrics(manifest.metrics)) or ["Not measured yet: `onoma evaluate-encoder` measures it."]
    yield from section("Quality", metrics)
    method = manifest.quantization.method
    yield from section("Quantization", [f"`{method}`. {_METHODS.get(method, '')}", ""])
    yield from items(manifest.quantization.details)
    yield from section(
        "Limits",
        [
            f"- Reads windows of {manifest.max_length} pieces that share at least {manifest.overlap}; a longer text's",
            "  vector is the mean of its windows' vectors, so that details weigh less in it.",
            "- A cosine is no probability: what counts as alike is for the user to settle on own texts.",
            "- Was measured on the data above; expect less on other languages, domains, spellings and noise.",
        ],
    )
    command = manifest.training.get("export_command")
    if command:
        yield from section("Made by", ["```sh", str(command), "```"])


def _metrics(metrics: Mapping[str, Any]) -> Iterator[str]:
    titles = {"sts": "STS-B, Spearman", "tatoeba": "Tatoeba, accuracy"}
    tables = {
        key: metrics[key]["per_language"]
        for key in titles
        if isinstance(metrics.get(key), Mapping) and isinstance(metrics[key].get("per_language"), Mapping)
    }
    if tables:
        yield f"| language | {' | '.join(titles[key] for key in tables)} |"
        yield f"|---|{'---:|' * len(tables)}"
        for language in sorted({language for table in tables.values() for language in table}):
            cells = [f"{table[language]:.1f}" if language in table else "–" for table in tables.values()]
            yield f"| {language} | {' | '.join(cells)} |"
        yield ""
    for key, value in metrics.items():
        if key in tables:
            rest = {name: entry for name, entry in value.items() if name != "per_language"}
            yield from items({titles[key]: rest})
        else:
            yield from items({key: value})
