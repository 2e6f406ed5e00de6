"""The report in Markdown, and the files in docs/ that it goes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests.figures import Table, fixed_table, kinds_table, latency_plots, rate_plots, steps_table, sustained_table
from loadtests.plots import sheet
from loadtests.summary import Findings, Point, Spread

BEGIN, END = "<!-- results: written by make loadtest-docs -->", "<!-- end of results -->"


@dataclass(frozen=True, slots=True)
class Result:
    """A whole run.

    :ivar facts: machine, date, command and so on, by name.
    :ivar compared: the gate's ratios.
    :ivar problems: why the run fails: errors and regressions.
    :ivar notes: what a reader should know; they do not fail the run.
    :ivar was_compared: whether p95 was compared with a baseline.
    """

    findings: Findings
    facts: Mapping[str, str]
    compared: Mapping[str, Spread]
    problems: Sequence[str]
    notes: Sequence[str]
    was_compared: bool

    @property
    def verdict(self) -> str:
        """In a few words."""
        if self.problems:
            return "Failed"
        return f"Passed: no errors; p95 {'has not become worse' if self.was_compared else 'was not compared'}."

    def by_kind(self) -> tuple[str, list[Point]]:
        """The load that is shown by kind of request: the highest rate that all sustain, else the fixed users."""
        rate = self.findings.common_rate()
        if rate:
            words = f"at {rate:g} requests/s offered, the highest rate that every model was offered and sustained"
            return words, self.findings.at(rate)
        return "with a fixed number of users", self.findings.fixed


def markdown_table(table: Table) -> str:
    """A Markdown table, numbers to the right."""
    head, rows = table
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def listed(title: str, lines: Sequence[str]) -> str:
    """A titled list; empty for no lines."""
    return "\n".join([f"{title}:", "", *(f"- {line}" for line in lines)]) if lines else ""


def markdown(result: Result, *, assets: str = "") -> str:
    """The results in Markdown, without a title.

    :param assets: folder of the page and its plots as seen from here, with a slash at its end; empty leaves them out.
    """
    findings = result.findings
    load, points = result.by_kind()
    titles = {
        "latency": "Latency against offered load",
        "rates": "Achieved requests/s and words/s against offered load",
    }
    images = [f"![{title}]({assets}{name}.svg)" for name, title in titles.items()]
    compared = [f"{name}: {value.text(2)}" for name, value in result.compared.items()]
    parts = [
        f"The same on one page, with all plots: [{assets}index.html]({assets}index.html)" if assets else "",
        "\n".join(f"- {name}: {value}" for name, value in result.facts.items()),
        listed(f"**{result.verdict}**", result.problems) or result.verdict,
        listed("Notes", result.notes),
        "\n".join(f"- {line}" for line in findings.ratios()),
    ]
    if findings.steps():
        parts += ["### What each model sustains", markdown_table(sustained_table(findings))]
        parts += ["\n".join(images)] if assets else []
    if findings.fixed:
        parts += ["### A fixed number of users", markdown_table(fixed_table(findings))]
    parts += [f"### By kind of request, {load}", markdown_table(kinds_table(points))] if points else []
    if findings.steps():
        parts += ["### Every step", markdown_table(steps_table(findings))]
    parts += [
        "Medians over the rounds, least and greatest in brackets. Latencies are of good answers.",
        listed("Ratios that the gate compares, at the fixed number of users", compared),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def publish(folder: Path, result: Result, page: str) -> None:
    """Write the results between the marks of FOLDER/loadtest.md, and the page and its plots into FOLDER/loadtest/.

    :raises ValueError: if loadtest.md lacks the marks.
    """
    document = folder / "loadtest.md"
    before, begin, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{document} lacks the line {BEGIN if not begin else END!r}")
    assets = folder / "loadtest"
    assets.mkdir(exist_ok=True)
    (assets / "index.html").write_text(page, encoding="utf-8")
    if result.findings.steps():
        (assets / "latency.svg").write_text(sheet(latency_plots(result.findings)), encoding="utf-8")
        (assets / "rates.svg").write_text(sheet(rate_plots(result.findings)), encoding="utf-8")
    text = f"{before}{begin}\n\n{markdown(result, assets='loadtest/')}\n{end}{after}"
    document.write_text(text, encoding="utf-8")
