"""What `onoma evaluate-encoder` measures of sentence encoders: quality, size, latency."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from distill.sentences.checkpoints import read_checkpoint
from distill.sentences.evaluation import Embed, retrieval_figures, spread, sts_spearman
from distill.sentences.splits import Part, read_sts, read_tatoeba, tatoeba_languages
from onoma.bundle import MANIFEST
from onoma.embedder import Embedder

BATCH = 32
_ROUNDS, _ALONE, _TOGETHER = 9, 8, 1  # rounds, and calls of each kind in a round


@dataclass(frozen=True, slots=True)
class Measured:
    """An encoder and what is known of it without running it.

    :param languages: those it was trained on, by its manifest; none where that is not stated.
    :param size: bytes of all files of its folder.
    """

    embedder: Embedder
    architecture: str
    parameters: int
    languages: tuple[str, ...]
    size: int


def load(folder: Path, *, threads: int | None = None) -> Measured:
    """A bundle, or a checkpoint in torch.

    :param threads: of one run; None for all cores. For torch this is set for the whole process.
    :raises FileNotFoundError: if there is no encoder.
    """
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if (folder / MANIFEST).is_file():
        embedder = Embedder.load(folder, threads=threads)
        manifest = embedder.manifest
        assert manifest is not None  # that of the bundle just loaded
        return Measured(embedder, manifest.architecture, manifest.parameters, manifest.languages, size)
    checkpoint = read_checkpoint(folder)
    if threads is not None:
        torch.set_num_threads(threads)
    return Measured(checkpoint.embedder(), checkpoint.architecture, checkpoint.parameters, (), size)


def measure(
    folders: Sequence[Path],
    *,
    split: Part,
    languages: Sequence[str],
    tatoeba: Sequence[str] = (),
    limit: int | None = None,
    threads: int | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Measure encoders and print a table of them, side by side.

    :param languages: of STS-B.
    :param tatoeba: languages to find translations in; empty for all that there are.
    :param limit: so many rows of each language of STS-B, and lines of each of Tatoeba, evenly spread.
    :return: figures of each encoder by folder; see `sts_spearman`, `retrieval_figures` and `latencies`.
    """
    loaded = {str(folder): load(folder, threads=threads) for folder in folders}
    encoders = {}
    for folder, one in loaded.items():
        encoders[folder] = {
            "architecture": one.architecture,
            "parameters": one.parameters,
            "bytes": one.size,
            "dimensions": one.embedder.dimensions,
            "sts": sts_spearman(one.embedder.embed, split=split, languages=languages, limit=limit),
            "tatoeba": tatoeba_figures(
                one.embedder.embed, part=split, languages=tatoeba, trained=one.languages, limit=limit
            ),
        }
    texts = [pair.first for pair in read_sts(languages[0], split)]
    times = latencies({folder: one.embedder for folder, one in loaded.items()}, texts)
    for folder, own in encoders.items():
        own["latency_ms"] = times[folder]
    results = {"split": split, "limit": limit, "threads": threads, "languages": list(languages), "encoders": encoders}
    show(results, console or Console())
    return results


def tatoeba_figures(
    embed: Embed, *, part: Part, languages: Sequence[str], trained: Sequence[str], limit: int | None
) -> dict[str, Any]:
    """As `retrieval_figures`, and where some of the languages were trained on, `trained`: the same over these alone."""
    lines = {language: spread(read_tatoeba(language, part), limit) for language in languages or tatoeba_languages()}
    figures = {"part": part, **retrieval_figures(embed, lines)}
    known = {name: one["accuracy"] for name, one in figures["per_language"].items() if name in trained}
    if known:
        worst = min(known, key=lambda name: known[name])
        figures["trained"] = {
            "languages": len(known),
            "mean": round(statistics.fmean(known.values()), 2),
            "worst": [worst, known[worst]],
        }
    return figures


def latencies(embedders: Mapping[str, Embedder], texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Milliseconds to embed one text alone, and a batch of 32, tokenizer included; the median of interleaved rounds.

    Encoders take turns in each round: a machine is slower at times.

    :param texts: at least 32.
    :raises ValueError: if there are fewer.
    """
    if len(texts) < BATCH:
        raise ValueError(f"latency needs at least {BATCH} texts, got {len(texts)}")
    alone: dict[str, list[float]] = {name: [] for name in embedders}
    together: dict[str, list[float]] = {name: [] for name in embedders}
    for number in range(_ROUNDS + 1):
        chosen = [texts[(number * BATCH + at) % len(texts)] for at in range(BATCH)]
        for name, embedder in embedders.items():
            single = _milliseconds(embedder, [[text] for text in chosen[:_ALONE]])
            batch = _milliseconds(embedder, [chosen] * _TOGETHER)
            if number:  # the first round warms up
                alone[name].append(single)
                together[name].append(batch)
    return {
        name: {"alone": round(statistics.median(alone[name]), 3), "batch": round(statistics.median(together[name]), 3)}
        for name in embedders
    }


def _milliseconds(embedder: Embedder, calls: Sequence[Sequence[str]]) -> float:
    """The mean of some calls."""
    start = time.perf_counter()
    for texts in calls:
        embedder.embed(texts)
    return 1000 * (time.perf_counter() - start) / len(calls)


def show(results: Mapping[str, Any], console: Console) -> None:
    """The table of `measure`: encoders side by side."""
    encoders = results["encoders"]
    table = Table(title=f"STS-B and Tatoeba, {results['split']}: Spearman and accuracy in percent")
    table.add_column("")
    for folder in encoders:
        table.add_column(Path(folder).name, justify="right")
    for section in rows(list(encoders.values())):
        for label, *cells in section:
            table.add_row(label, *cells)
        table.add_section()
    console.print(table)
    if results["limit"] is not None:
        console.print(f"Only {results['limit']} rows and lines of each language, evenly spread.")


def rows(encoders: Sequence[Mapping[str, Any]]) -> list[list[list[str]]]:
    """Sections of rows: a label, then a cell for each encoder."""
    sts, found = [one["sts"] for one in encoders], [one["tatoeba"] for one in encoders]

    def worst(pair: Sequence[Any] | None) -> str:
        return "-" if pair is None else f"{pair[0]} {pair[1]:.2f}"

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    return [
        [
            ["mean of languages", *(number(one["mean"]) for one in sts)],
            ["standard deviation", *(number(one["std"]) for one in sts)],
            ["worst language", *(worst(one["worst"]) for one in sts)],
            ["across languages, mean", *(number(one["cross"].get("mean")) for one in sts)],
            ["across languages, worst", *(worst(one["cross"].get("worst")) for one in sts)],
            ["with English, mean", *(number(one["cross"].get("english")) for one in sts)],
        ],
        [[name, *(number(one["per_language"][name]) for one in sts)] for name in sts[0]["per_language"]],
        [
            [f"Tatoeba, {len(found[0]['per_language'])} languages", *(number(one["mean"]) for one in found)],
            ["Tatoeba, worst", *(worst(one["worst"]) for one in found)],
            ["Tatoeba, languages trained on", *(number(one.get("trained", {}).get("mean")) for one in found)],
        ],
        [
            ["parameters", *(f"{one['parameters']:,}" for one in encoders)],
            ["MB on disk", *(f"{one['bytes'] / 1e6:.1f}" for one in encoders)],
            ["ms a text alone", *(f"{one['latency_ms']['alone']:.2f}" for one in encoders)],
            [f"ms a batch of {BATCH}", *(f"{one['latency_ms']['batch']:.1f}" for one in encoders)],
        ],
    ]


def metrics_of(results: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """One encoder's figures in the shape that a bundle's manifest and model card hold."""
    own = results["encoders"][str(folder)]
    sts, tatoeba = own["sts"], own["tatoeba"]
    part = "" if results["limit"] is None else f", {results['limit']} rows of each language"
    cross = {key: value for key, value in sts["cross"].items() if key != "pairs"}
    found = {language: one["accuracy"] for language, one in tatoeba["per_language"].items()}
    return {
        "measured_on": f"STS-B {results['split']} (Spearman) and Tatoeba {results['split']} (accuracy), percent{part}",
        "sts": {**{key: sts[key] for key in ("per_language", "mean", "std", "worst")}, "across_languages": cross},
        "tatoeba": {
            "per_language": found,
            **{key: tatoeba[key] for key in ("mean", "std", "worst", "trained") if key in tatoeba},
        },
        "latency_ms": own["latency_ms"],
    }
