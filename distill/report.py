"""The tables of `onoma evaluate`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from distill.corpora import WIKIANN_45, languages_of
from distill.evaluation import LanguageScore, evaluate
from onoma.tagger import Tagger

FORM_NAMES = {"raw": "raw text", "tokens": "given tokens"}


def evaluate_bundles(
    folders: Sequence[Path],
    *,
    source: str,
    languages: Sequence[str],
    split: str,
    forms: Sequence[str],
    limit: int | None = None,
    threads: int | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Score bundles on one source and print a table of each; returns every figure by bundle folder and form.

    :param languages: empty for all of the source (of WikiANN: the 45 with at least 1,000 training sentences).
    """
    console = console or Console()
    log = Console(stderr=True)
    chosen = list(languages) or (list(WIKIANN_45) if source == "wikiann" else languages_of(source, split))
    if unknown := sorted(set(chosen) - set(languages_of(source, split))):
        raise ValueError(f"{source} has no {split} split in: {', '.join(unknown)}")
    results: dict[str, Any] = {"source": source, "split": split, "limit": limit, "bundles": {}}
    for folder in folders:
        tagger = Tagger.load(folder, threads=threads)

        def progress(language: str, score: LanguageScore, name: str = folder.name) -> None:
            if sys.stderr.isatty():
                log.print(f"{name} {language} {score.all.f1:.2f}", end="\r")

        by_form = {
            form: evaluate(
                tagger, source=source, languages=chosen, split=split, raw=form == "raw", limit=limit, progress=progress
            )
            for form in forms
        }
        results["bundles"][str(folder)] = by_form
        console.print(_table(f"{folder}: {source} {split}, strict span F1", by_form))
    return results


def _table(title: str, by_form: dict[str, Any]) -> Table:
    table = Table(title=title)
    table.add_column("language")
    for form in by_form:
        table.add_column(FORM_NAMES[form], justify="right")
        table.add_column("unseen", justify="right")
    languages = next(iter(by_form.values()))["all"]["f1"]
    for language in languages:
        figures = [by_form[form][part]["f1"][language] for form in by_form for part in ("all", "unseen")]
        table.add_row(language, *(f"{figure:.2f}" for figure in figures))
    table.add_section()
    for label, key in (("macro mean", "macro_f1"), ("std", "std")):
        table.add_row(label, *(f"{by_form[form][part][key]:.2f}" for form in by_form for part in ("all", "unseen")))
    worst = [by_form[form][part]["worst"] or ["-", 0.0] for form in by_form for part in ("all", "unseen")]
    table.add_row("worst", *(f"{name} {value:.2f}" for name, value in worst))
    return table


def markdown(results: dict[str, Any]) -> str:
    """A Markdown table of what `evaluate_bundles` returned: a row a language, a column a bundle, form and part."""
    columns = [
        (f"{Path(folder).name} {FORM_NAMES[form]}{'' if part == 'all' else ', unseen'}", by_form[form][part])
        for folder, by_form in results["bundles"].items()
        for form in by_form
        for part in ("all", "unseen")
    ]
    rows = [["language", *(name for name, _ in columns)], ["---", *("---:" for _ in columns)]]
    rows.append(["**macro mean**", *(f"{figures['macro_f1']:.2f}" for _, figures in columns)])
    rows.append(["standard deviation", *(f"{figures['std']:.2f}" for _, figures in columns)])
    worst = [figures["worst"] or ["-", 0.0] for _, figures in columns]
    rows.append(["worst", *(f"{name} {value:.1f}" for name, value in worst)])
    for language in columns[0][1]["f1"]:
        rows.append([language, *(f"{figures['f1'][language]:.1f}" for _, figures in columns)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def metrics_of(by_form: dict[str, Any], *, source: str, split: str) -> dict[str, Any]:
    """One bundle's figures in the shape that a bundle's manifest and model card hold: a section a form and part."""
    metrics: dict[str, Any] = {"measured_on": f"{source} {split}, strict span F1 in percent"}
    for form, parts in by_form.items():
        for part, figures in parts.items():
            worst = figures["worst"] or ["none", 0.0]
            metrics[form if part == "all" else f"{form}, unseen"] = {
                "per_language": figures["f1"],
                "macro_f1": figures["macro_f1"],
                "std": figures["std"],
                "worst": f"{worst[0]} {worst[1]:.2f}",
            }
    return metrics
