"""The tables of `onoma evaluate`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from distill.corpora import languages_of
from distill.evaluation import (
    APART,
    COLLECTIONS,
    PARTS,
    SILVER,
    LanguageScore,
    Row,
    evaluate_rows,
    groups_of,
    retention,
)
from onoma.tagger import Tagger

FORM_NAMES = {"raw": "raw text", "tokens": "given tokens"}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table: a macro mean, another figure over many rows, or one row; a cell for each column."""

    kind: Literal["mean", "figure", "row"]
    label: str
    cells: tuple[str, ...]


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
    """Score bundles on a source or a collection of sources, and print a table of each.

    The result has every figure under `bundles` by folder and section, a section being a form ("raw") or, of a
    collection, a group and a form ("gold, raw"); `sections` names them by group and form. With two bundles or more,
    `retention` compares each with `reference`: the first teacher among them, or the last bundle if none is one.

    :param source: a labelled source, "gold" or "all"; see `groups_of`.
    :param languages: empty for all of the source (of WikiANN: the 45 with at least 1,000 training sentences).
    :raises ValueError: if the source lacks the split, or lacks it in one of the languages.
    """
    log = Console(stderr=True)
    groups = groups_of(source, languages, split)
    sections = {group: {form: _section(source, group, form) for form in forms} for group in groups}
    bundles: dict[str, dict[str, Any]] = {}
    teachers = []
    for folder in folders:
        tagger = Tagger.load(folder, threads=threads)
        if tagger.manifest is not None and tagger.manifest.role == "teacher":
            teachers.append(str(folder))

        def progress(row: str, score: LanguageScore, name: str = folder.name) -> None:
            if sys.stderr.isatty():
                log.print(f"{name} {row} {score.all.f1:.2f}", end="\r")

        bundles[str(folder)] = {
            sections[group][form]: evaluate_rows(
                tagger, rows, split=split, raw=form == "raw", limit=limit, progress=progress
            )
            for group, rows in groups.items()
            for form in forms
        }
    results = {
        "source": source,
        "split": split,
        "limit": limit,
        "sections": sections,
        "without_train": _without_train(groups),
        "bundles": bundles,
    }
    if len(bundles) > 1:
        reference = (teachers or [str(folders[-1])])[0]
        results |= {"reference": reference, "retention": _retention(bundles, reference)}
    _show(results, console or Console())
    return results


def _section(source: str, group: str, form: str) -> str:
    """WikiANN's figures keep their names in a collection, so that they stay comparable in every manifest."""
    return form if source not in COLLECTIONS or group == SILVER else f"{group}, {form}"


def _without_train(groups: Mapping[str, Mapping[str, Row]]) -> list[str]:
    rows = {row for by_name in groups.values() for row in by_name.values()}
    return sorted({source for source, language in rows if language not in languages_of(source, "train")})


def _retention(bundles: Mapping[str, Mapping[str, Any]], reference: str) -> dict[str, Any]:
    return {
        folder: {
            section: {part: retention(parts[part], bundles[reference][section][part]) for part in PARTS}
            for section, parts in by_section.items()
        }
        for folder, by_section in bundles.items()
        if folder != reference
    }


def _show(results: Mapping[str, Any], console: Console) -> None:
    """A table of each bundle: bundles side by side would not fit a terminal."""
    for folder in results["bundles"]:
        header, lines = table_lines(results, [folder])
        table = Table(title=f"{folder}: {results['source']} {results['split']}, strict span F1")
        for at, name in enumerate(header):
            table.add_column(name, justify="right" if at else "left")
        for line in lines:
            if line.kind == "row":
                table.add_row(line.label, *line.cells)
        table.add_section()
        for line in lines:
            if line.kind != "row":
                table.add_row(line.label, *line.cells, style="bold" if line.kind == "mean" else None)
        console.print(table)
    for note in notes(results):
        console.print(note)


def markdown(results: Mapping[str, Any]) -> str:
    """A Markdown table of what `evaluate_bundles` returned, bundles side by side, with its notes under it."""
    header, lines = table_lines(results, list(results["bundles"]))
    rows = [
        [f"**{line.label}**" if line.kind == "mean" else line.label, *line.cells]
        for line in sorted(lines, key=lambda line: line.kind == "row")
    ]
    return markdown_table(header, rows) + "".join(f"\n{note}\n" for note in notes(results))


def markdown_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table, first column left, others right."""
    names = list(head)
    lines = [names, ["---", *("---:" for _ in names[1:])], *(list(row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def table_lines(results: Mapping[str, Any], folders: Sequence[str]) -> tuple[list[str], list[Line]]:
    """Header and lines of the table of some bundles, group by group: means and other figures, then rows.

    A column is a bundle, form and part; in a collection massive_ner is a single mean.
    """
    forms = list(next(iter(results["sections"].values())))
    columns = [(folder, form, part) for folder in folders for form in forms for part in PARTS]
    header = ["row" if results["source"] in COLLECTIONS else "language"]
    for folder, form, part in columns:
        header.append(f"{Path(folder).name} {FORM_NAMES[form]}{'' if part == 'all' else ', unseen'}")
    lines: list[Line] = []
    for group, section in results["sections"].items():
        figures = [results["bundles"][folder][section[form]][part] for folder, form, part in columns]
        if results["source"] not in COLLECTIONS:
            lines += _lines(figures, suffix="", prefix="")
        elif group == APART:
            lines.append(Line("mean", f"{group}, {len(figures[0]['f1'])} locales", _macro(figures)))
        else:
            lines += _lines(figures, suffix=f", {group}", prefix=f"{group}/" if group == SILVER else "")
            if "retention" in results:
                kept = [
                    results["retention"].get(folder, {}).get(section[form], {}).get(part)
                    for folder, form, part in columns
                ]
                lines += _retention_lines(kept, suffix=f", {group}")
    return header, lines


def _macro(figures: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(f"{one['macro_f1']:.2f}" for one in figures)


def _lines(figures: Sequence[Mapping[str, Any]], *, suffix: str, prefix: str) -> Iterator[Line]:
    names = list(figures[0]["f1"])
    yield Line("mean", f"macro mean{suffix} ({len(names)} rows)" if suffix else "macro mean", _macro(figures))
    yield Line("figure", f"standard deviation{suffix}", tuple(f"{one['std']:.2f}" for one in figures))
    worst = [one["worst"] or ["-", 0.0] for one in figures]
    yield Line("figure", f"worst{suffix}", tuple(f"{name} {value:.1f}" for name, value in worst))
    for name in names:
        yield Line("row", prefix + name, tuple(f"{one['f1'][name]:.1f}" for one in figures))


def _retention_lines(kept: Sequence[Mapping[str, Any] | None], *, suffix: str) -> Iterator[Line]:
    yield Line("figure", f"retention{suffix}", tuple(f"{one['macro']:.1f} %" if one else "-" for one in kept))
    least = tuple(f"{one['least'][0]} {one['least'][1]:.1f} %" if one else "-" for one in kept)
    yield Line("figure", f"least retention{suffix}", least)


def notes(results: Mapping[str, Any]) -> list[str]:
    """What a reader of a collection's table must know, a sentence or two each; nothing for one source."""
    if results["source"] not in COLLECTIONS:
        return []
    found = [
        "Macro mean of gold: every row counts alike, a row being a source and a language; massive_ner is kept apart, "
        "its many locales of the same voice commands would drown the others. MISC counts as no entity; rows in which "
        "no other entity is left do not count.",
        "Unseen: sentences that do not stand in the training split of the same source and language.",
    ]
    if results["without_train"]:
        found.append(f"Rows without a training split of their own in: {', '.join(results['without_train'])}.")
    if results["limit"] is not None:
        found.append(f"Only the first {results['limit']} sentences of each row.")
    if "retention" in results:
        found.append(f"Retention: F1 as a share of that of {results['reference']}.")
    return found


def metrics_of(results: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """One bundle's figures in the shape that a bundle's manifest and model card hold.

    A section a form and part, such as "raw" and "raw, unseen"; a collection adds "gold, raw" and "massive_ner, raw",
    the latter without its locales.
    """
    measured_on = f"{', '.join(results['sections'])} {results['split']}, strict span F1 in percent"
    metrics: dict[str, Any] = {"measured_on": measured_on}
    for group, sections in results["sections"].items():
        for section in sections.values():
            for part, figures in results["bundles"][str(folder)][section].items():
                worst = figures["worst"] or ["none", 0.0]
                brief = group == APART and results["source"] in COLLECTIONS
                metrics[section if part == "all" else f"{section}, unseen"] = {
                    **({} if brief else {"per_language": figures["f1"]}),
                    "macro_f1": figures["macro_f1"],
                    "std": figures["std"],
                    "worst": f"{worst[0]} {worst[1]:.2f}",
                }
    return metrics
