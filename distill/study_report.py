"""`onoma distill report`: what a run's results say, as Markdown with plots."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

from distill.corpora import WIKIANN, source_title
from distill.expectations import expected_pairs
from distill.files import write_text
from distill.report import markdown_table
from distill.studies import RESULTS, counted_rows
from distill.study_plots import plot_steps, plot_tradeoff, plot_variants

REPORT = "report.md"
LATENCY = "latency.json"  # what `onoma export latency` measured
TEACHER = "teacher"
BESIDE = {"gold": "gold test", "zero_shot": "zero-shot"}  # parts that a run may have beside dev and test

Run = dict[str, Any]
# Two-sided 95 % quantiles of Student's t by degrees of freedom.
_T95 = (math.nan, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)


class Results:
    """The results of a run, by variant in the recipe's order, and the teacher's scores if they were taken."""

    def __init__(self, content: dict[str, Any], latency: dict[str, dict[str, float]] | None = None) -> None:
        self.content, self.latency = content, latency or {}
        self.teacher: Run | None = content.get("teacher")
        self.by_variant: dict[str, list[Run]] = {}
        order = [variant["name"] for variant in content["recipe"]["variants"]]
        runs = sorted(content["runs"], key=lambda run: order.index(run["variant"]) if order else 0)
        for run in runs:
            self.by_variant.setdefault(run["variant"], []).append(run)

    def figures(self, variant: str, part: str = "test", which: str = "all") -> list[float]:
        """Macro F1 of every seed."""
        return [run[part][which]["macro_f1"] for run in self.by_variant[variant]]

    @property
    def columns(self) -> dict[str, list[Run]]:
        """Who has scores for each language and source: the teacher, then the variants."""
        return {**({TEACHER: [self.teacher]} if self.teacher else {}), **self.by_variant}

    def milliseconds(self, variant: str, shape: str) -> float | None:
        """Median latency of the variant's students, if it was measured; `shape` is `1x32` or `32x32`."""
        measured = [self.latency.get(run["student"]) for run in self.by_variant[variant]]
        found = [one[shape] for one in measured if one is not None]
        return statistics.median(found) if found else None


def write_report(run: Path, out: Path) -> Path:
    """Write report.md and its plots to `out`; returns the report's path.

    :raises FileNotFoundError: if there are no results in `run`.
    :raises ValueError: if none of its runs is through.
    """
    if not (run / RESULTS).is_file():
        raise FileNotFoundError(f"no {RESULTS} in {run}: `onoma distill run RECIPE --out {run}` writes it")
    content = json.loads((run / RESULTS).read_text(encoding="utf-8"))
    if not content["runs"]:
        raise ValueError(f"{run / RESULTS} has no runs")
    latency = run / LATENCY
    results = Results(content, json.loads(latency.read_text(encoding="utf-8")) if latency.exists() else None)
    out.mkdir(parents=True, exist_ok=True)
    parts = [_head(results), _table(results), _picture(plot_variants(results, out), "Macro F1 by variant")]
    parts += [_expectations(results)]
    if results.latency:
        parts.append(_picture(plot_tradeoff(results, out), "Macro F1 against latency"))
    parts += [_steps(results), _picture(plot_steps(results, out), "Dev F1 after each step"), _languages(results)]
    parts += [_beside(results), _confusion(results), _coverage(results)]
    write_text(out / REPORT, "\n".join(part for part in parts if part))
    return out / REPORT


def _picture(name: str | None, title: str) -> str:
    return f"![{title}]({name})\n" if name else ""


def mean_and_spread(values: list[float]) -> str:
    """`80.12 ± 0.34`: mean and standard deviation over seeds."""
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{spread}"


def _head(results: Results) -> str:
    content = results.content
    recipe = content["recipe"]
    names = [variant["name"] for variant in recipe["variants"]] or [recipe["name"]]
    there = {(run["variant"], run["seed"]) for run in content["runs"]}
    missing = [f"{name} (seed {seed})" for name in names for seed in recipe["seeds"] if (name, seed) not in there]
    main = source_title(recipe.get("labels", {}).get("source", WIKIANN))
    lines = [
        f"# {recipe['name']}\n",
        recipe["description"] + "\n" if recipe["description"] else "",
        f"`onoma distill run {content['path']}`, {content['date']}, on {content['machine']}. Seeds "
        f"{', '.join(map(str, recipe['seeds']))}. Teacher: {_who(recipe)}. Strict span F1 in percent on "
        f"raw text; chosen on dev, reported on {main} test; mean and standard deviation over seeds.\n",
        f"**{len(missing)} runs are missing:** {', '.join(missing)}.\n" if missing else "",
    ]
    return "\n".join(line for line in lines if line)


def _who(recipe: dict[str, Any]) -> str:
    own = recipe.get("teachers")
    if not own:
        return str(recipe["teacher"]["path"])
    shape = own["shape"]
    size = f"{shape['kind']} {shape['decoder']}, E={shape['embedding']} H={shape['hidden']}"
    return f"trained by the recipe, one {'of all languages' if own['together'] else 'a language'} ({size})"


def _parts_beside(results: Results) -> list[str]:
    """The parts that any run has beside dev and test."""
    everyone = [run for runs in results.columns.values() for run in runs]
    return [part for part in BESIDE if any(part in run for run in everyone)]


def _table(results: Results) -> str:
    beside = _parts_beside(results)
    head = ["variant", "seeds", "dev", "test", "test, unseen", "std of languages", "worst language", "parameters"]
    head += [BESIDE[part] for part in beside]
    head += ["ms, 1x32", "ms, 32x32"] if results.latency else []
    rows = []
    if results.teacher:
        rows.append([TEACHER, "-", *_scores([results.teacher], beside), *(["-", "-"] if results.latency else [])])
    for name, runs in results.by_variant.items():
        row = [name, str(len(runs)), *_scores(runs, beside)]
        if results.latency:
            row += [_milliseconds(results.milliseconds(name, shape)) for shape in ("1x32", "32x32")]
        rows.append(row)
    return markdown_table(head, rows)


def _scores(runs: list[Run], beside: list[str]) -> list[str]:
    """Cells of the main table from dev to the parts beside."""
    parts = [("dev", "all"), ("test", "all"), ("test", "unseen")]
    cells = [mean_and_spread([run[part][which]["macro_f1"] for run in runs]) for part, which in parts]
    cells += [f"{statistics.fmean(run['test']['all']['std'] for run in runs):.2f}", _worst(runs)]
    cells.append(f"{runs[0]['parameters'] / 1e6:.2f}M" if "parameters" in runs[0] else "-")
    for part in beside:
        whole = all(part in run for run in runs)
        cells.append(mean_and_spread([run[part]["all"]["macro_f1"] for run in runs]) if whole else "-")
    return cells


def _worst(runs: list[Run]) -> str:
    """The worst language in the mean over seeds, among those with gold spans."""
    average = _by_row(runs, "test")
    counted = set.intersection(*(set(counted_rows(run["test"]["all"])) for run in runs))
    if not counted:
        return "-"
    # Where several have 0, a run's own worst has gold spans for certain.
    named = {run["test"]["all"]["worst"][0] for run in runs}
    worst = min(counted, key=lambda language: (average[language], language not in named, language))
    return f"{worst} {average[worst]:.1f}"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _by_row(runs: list[Run], part: str) -> dict[str, float]:
    """Mean F1 over seeds of each row; empty if a run lacks the part."""
    if not all(part in run for run in runs):
        return {}
    rows = runs[0][part]["all"]["f1"]
    return {row: statistics.fmean(run[part]["all"]["f1"][row] for run in runs) for row in rows}


def _expectations(results: Results) -> str:
    """Every `a < b` that the recipe expects: differences of means with their 95 % intervals over seeds."""
    recipe = results.content["recipe"]
    names = [variant["name"] for variant in recipe["variants"]]
    pairs = [pair for order in recipe["expect"] for pair in expected_pairs(order, names)]
    if not pairs:
        return ""
    head = ["expected", "margin", "difference", "95 % interval", "seeds", "rows ahead", "verdict"]
    text = (
        "## Expected orders\n\nDifferences of macro F1 on test, paired by seed (Student's t); an order holds above its "
        "margin. Rows ahead: languages whose mean over seeds is higher.\n\n"
    )
    text += markdown_table(head, _compared(results, pairs, "test"))
    if "zero_shot" in _parts_beside(results):
        text += "\nThe same in the zero-shot languages.\n\n"
        text += markdown_table(head, _compared(results, pairs, "zero_shot"))
    return text


def _compared(results: Results, pairs: list[tuple[str, float, str]], part: str) -> list[list[str]]:
    rows = []
    for low, margin, high in pairs:
        both = low in results.by_variant and high in results.by_variant
        found = compare(results, low, high, margin, part) if both else ["-", "-", "0", "-", "not run"]
        rows.append([f"{low} < {high}", f"{margin:g}", *found])
    return rows


def compare(results: Results, low: str, high: str, margin: float = 0.0, part: str = "test") -> list[str]:
    """Mean difference over the seeds that both have, its interval, how many seeds, in how many rows, the verdict."""
    of_low, of_high = (
        {run["seed"]: run for run in results.by_variant[name] if part in run} for name in (low, high)
    )
    pairs = [(of_low[seed], of_high[seed]) for seed in of_low if seed in of_high]
    if not pairs:
        return ["-", "-", "0", "-", "no seed in common"]
    differences = [second[part]["all"]["macro_f1"] - first[part]["all"]["macro_f1"] for first, second in pairs]
    mean = statistics.fmean(differences)
    first, second = (_by_row(list(runs), part) for runs in zip(*pairs, strict=True))
    gaps = [second[row] - first[row] for row in first if row in second]
    ahead = f"{sum(gap > 0 for gap in gaps)} of {len(gaps)}"
    verdict = "holds" if mean > margin else "does not hold"
    half = interval(differences)
    if half is None:
        return [f"{mean:+.2f}", "-", "1", ahead, verdict]
    if abs(mean - margin) <= half:
        verdict += ", within the noise of the seeds"
    return [f"{mean:+.2f}", f"{mean - half:+.2f} to {mean + half:+.2f}", str(len(differences)), ahead, verdict]


def interval(differences: list[float]) -> float | None:
    """Half the width of the 95 % interval of their mean (Student's t); None for fewer than two."""
    if len(differences) < 2:
        return None
    degrees = min(len(differences) - 1, len(_T95) - 1)
    return _T95[degrees] * statistics.stdev(differences) / math.sqrt(len(differences))


def _steps(results: Results) -> str:
    rows = []
    for name, runs in results.by_variant.items():
        if len(runs[0]["steps"]) < 2:
            continue
        for at, step in enumerate(runs[0]["steps"]):
            own = [run["steps"][at] for run in runs]
            f1 = mean_and_spread([one["f1"] for one in own])
            minutes = statistics.fmean(one["minutes"] for one in own)
            layers = ", ".join(step["thawed"])
            rows.append([name, step["stage"], layers, f"{step['pieces'] / 1e6:.2f}M", f1, f"{minutes:.1f}"])
    if not rows:
        return ""
    note = "F1 on dev of the best tags without decoding; near 0 until logits have been learned.\n\n"
    head = ["variant", "stage", "layers that learn", "word-pieces", "dev F1", "minutes"]
    return "## After each step\n\n" + note + markdown_table(head, rows)


def _languages(results: Results) -> str:
    return "## By language\n\nMean F1 on test over seeds.\n\n" + _rows_table(results, "test", "language")


def _beside(results: Results) -> str:
    """The gold sources, and the languages that nobody had labels of, if any run was judged on them."""
    told = {
        "gold": ("By gold source", "Mean F1 on the gold sources' test over seeds.", "source/language"),
        "zero_shot": ("Zero-shot", "Mean F1 over seeds in languages whose labels nobody has seen.", "language"),
    }
    tables = []
    for part in _parts_beside(results):
        title, note, row = told[part]
        tables.append(f"## {title}\n\n{note}\n\n" + _rows_table(results, part, row))
    return "\n".join(tables)


def _rows_table(results: Results, part: str, title: str) -> str:
    averages = {name: _by_row(runs, part) for name, runs in results.columns.items()}
    names = sorted({row for average in averages.values() for row in average})
    rows = [[row, *(f"{own[row]:.1f}" if row in own else "-" for own in averages.values())] for row in names]
    return markdown_table([title, *averages], rows)


def _confusion(results: Results) -> str:
    best = max(results.by_variant, key=lambda name: statistics.fmean(results.figures(name, "dev")))
    total: dict[str, dict[str, int]] = {}
    for run in results.by_variant[best]:
        for gold, row in run["test"]["confusion"].items():
            for found, count in row.items():
                total.setdefault(gold, {}).setdefault(found, 0)
                total[gold][found] += count
    rows = [[gold, *(str(count) for count in row.values())] for gold, row in total.items()]
    title = "## Confusion of types\n\n"
    note = f"{best} (best on dev), all seeds and languages of test: gold in rows, found in columns.\n\n"
    return title + note + markdown_table(["gold", *next(iter(total.values()))], rows)


def _coverage(results: Results) -> str:
    """What trimming the vocabulary does to each language's dev sentences, where it was trimmed."""
    parts: list[tuple[dict[str, dict[str, float]], str]] = []
    for name, runs in results.by_variant.items():
        table = runs[0].get("coverage")
        if not table or any(table == other for other, _ in parts):
            continue
        parts.append((table, f"{name}: {runs[0]['vocabulary']:,} pieces kept.\n\n" + _coverage_table(table)))
    if not parts:
        return ""
    note = (
        "In percent, on dev: more pieces than with the whole vocabulary; pieces without a meaning before and after; of "
        "the different pieces that the language's sentences use, those still there.\n\n"
    )
    return "## Vocabulary\n\n" + note + "\n".join(text for _, text in parts)


def _coverage_table(table: dict[str, dict[str, float]]) -> str:
    head = ["language", "longer", "unknown before", "unknown", "kept"]
    keys = ("longer", "unknown_before", "unknown", "kept")
    return markdown_table(head, [[language, *(f"{row[key]:.2f}" for key in keys)] for language, row in table.items()])
