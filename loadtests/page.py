"""The report as one HTML page: plots inside, nothing loaded from anywhere, light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from loadtests.figures import (
    Table,
    fallback_plots,
    fixed_plots,
    fixed_table,
    kinds_table,
    latency_plots,
    rate_plots,
    reasons,
    steps_table,
    sustained_table,
)
from loadtests.plots import style
from loadtests.report import Result
from loadtests.summary import Findings
from loadtests.texts import SENTENCES

_STYLE = """
:root{color-scheme:light dark;--paper:#fff;--card:#f5f7f9;--good:#12703f;--bad:#b3261e;--warn:#7a5200}
@media(prefers-color-scheme:dark){:root{--paper:#14181d;--card:#1c2229;--good:#62cf93;--bad:#ff8f86;--warn:#e6b85c}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,
'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}
main{max-width:1240px;margin:0 auto;padding:28px 20px 60px}h1{font-size:1.7rem;line-height:1.2;margin:0 0 4px}
h2{font-size:1.2rem;margin:44px 0 6px}p{max-width:76ch;margin:6px 0 12px}.soft{color:var(--soft)}
.verdict{border-left:4px solid var(--good);background:var(--card);padding:10px 16px;margin:18px 0}
.verdict.failed{border-color:var(--bad)}.verdict strong{color:var(--good)}.verdict.failed strong{color:var(--bad)}
.verdict.notes{border-color:var(--warn)}.verdict.notes strong{color:var(--warn)}
.verdict ul{margin:6px 0;padding-left:20px}
.cards{display:grid;gap:14px;grid-template-columns:repeat(auto-fit,minmax(230px,1fr));margin:18px 0}
.card{background:var(--card);border-top:4px solid var(--c);padding:12px 16px}.card h3{margin:0;font-size:1rem}
.card .big{font-size:1.9rem;font-weight:650;line-height:1.3;color:var(--c)}.card dl{margin:6px 0 0;display:grid;
grid-template-columns:auto 1fr;gap:2px 14px;font-size:.9rem}.card dt{color:var(--soft)}
.card dd{margin:0;text-align:right}
.plots{display:grid;gap:18px 22px;grid-template-columns:repeat(auto-fit,minmax(min(360px,100%),1fr))}
.plots svg{width:100%;height:auto;max-width:560px;display:block}.table{overflow-x:auto;margin:10px 0}
table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}
th,td{padding:5px 11px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}th{font-weight:600;
color:var(--soft);vertical-align:bottom}th:first-child,td:first-child{text-align:left}td.name{text-align:left}
.facts{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;font-size:.92rem}.facts dt{color:var(--soft)}
.facts dd{margin:0;overflow-wrap:anywhere}code{font:.88em ui-monospace,Menlo,Consolas,monospace}
@media(max-width:560px){.facts{grid-template-columns:1fr}.facts dd{margin-bottom:6px}}
"""


def _table(table: Table) -> str:
    head, rows = table
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="table" tabindex="0"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'


def _section(title: str, words: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2><p>{escape(words)}</p>{''.join(parts)}</section>"


def _plots(plots: Sequence[str]) -> str:
    return f'<div class="plots">{"".join(f"<div>{plot}</div>" for plot in plots)}</div>' if plots else ""


def _box(title: str, lines: Sequence[str], css: str = "") -> str:
    items = f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else ""
    return f'<div class="verdict {css}"><strong>{escape(title)}</strong>{items}</div>'


def _cards(findings: Findings) -> str:
    cards = []
    for point in findings.fixed:
        best = findings.sustained(point.model)
        over = "" if findings.was_saturated(point.model) else " or more"
        big = f"{best.rate:g}/s{over}" if best else f"{point.over(lambda leg: leg.achieved).median:.0f}/s"
        words = (
            "requests, the highest offered rate that was sustained"
            if best
            else "requests, with a fixed number of users"
        )
        shown = {
            "fixed users: requests/s": point.over(lambda leg: leg.achieved).text(),
            "fixed users: words/s": point.over(lambda leg: leg.words_per_second).text(),
            "fixed users: p50, ms": point.latency(50).text(),
            "fixed users: p95, ms": point.latency(95).text(),
        }
        rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in shown.items())
        cards.append(
            f'<div class="card {point.model}"><h3>{escape(point.model)}</h3><div class="big">{escape(big)}</div>'
            f'<div class="soft">{words}</div><dl>{rows}</dl></div>'
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _sections(result: Result) -> list[str]:
    findings = result.findings
    sections = []
    if findings.steps():
        limits = findings.limits
        sections += [
            _section(
                "Latency against offered load",
                "Requests arrive at the offered rate whether or not earlier ones have been answered; latency "
                "counts from when a request was due. Both axes are logarithmic. Bands: least to greatest of the "
                "rounds. Hollow: the step was saturated.",
                _plots(latency_plots(findings)),
            ),
            _section(
                "Offered against achieved, and words",
                f"A step is saturated when good answers come at under {100 * limits.achieved_share:g} % of the "
                f"offered rate, or p99 is over {limits.p99_ms:g} ms. What is neither answered nor wrong was "
                "rejected (429).",
                _plots(rate_plots(findings)),
                _table(sustained_table(findings)),
            ),
        ]
    if findings.fixed:
        sections.append(
            _section(
                "A fixed number of users",
                "Each user sends its next request as soon as it has its answer: the most that so many clients "
                "get, and latencies that are mostly waiting for each other.",
                _plots(fixed_plots(findings)),
                _table(fixed_table(findings)),
            )
        )
    if "auto" in findings.models:
        plots = fallback_plots(findings)
        every = [point for point in findings.points if point.model == "auto"]
        none = "In this run the teacher answered no text for the student, and none was declined."
        words = (
            "Share of auto's texts that the teacher answered in the student's place, and of those that it should "
            "have answered and did not, by reason."
        )
        fixed = [
            f"Fixed users: answered {reasons(p)}; declined {reasons(p, declined=True)}." for p in every if not p.rate
        ]
        has_any = any(leg.fallbacks or leg.declined for point in every for leg in point.legs)
        sections.append(_section("Fallback", f"{words} {' '.join(fixed) if has_any else none}", _plots(plots)))
    load, points = result.by_kind()
    if points:
        sections.append(_section("By kind of request", f"{load[0].upper()}{load[1:]}.", _table(kinds_table(points))))
    if findings.steps():
        words = (
            "Generator CPU is Locust's share of one core, the greatest of the rounds. Sent late: how far behind "
            "its plan the generator sent requests; that time is part of their latency."
        )
        sections.append(_section("Every step", words, _table(steps_table(findings))))
    if result.compared:
        rows = [[name, value.text(2)] for name, value in result.compared.items()]
        words = (
            "Ratios within this run, at the fixed number of users: milliseconds of two runs on a noisy machine "
            "cannot be compared. The yardstick is a fixed piece of work, timed just before each leg on the "
            "service's cores."
        )
        sections.append(
            _section("What the gate compares", words, _table((["ratio", "median (least..greatest)"], rows)))
        )
    return sections


def page(result: Result) -> str:
    """The whole page."""
    findings, facts = result.findings, result.facts
    verdict = _box(result.verdict, result.problems, "failed" if result.problems else "")
    notes = _box("Notes", result.notes, "notes") if result.notes else ""
    ratios = "".join(f"<li>{escape(line)}</li>" for line in findings.ratios())
    details = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    names = ", ".join(findings.models)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><title>onoma: load test</title>'
        f"<style>{style()}{_STYLE}</style></head><body><main><h1>Load test: {escape(names)}</h1>"
        f'<p class="soft">POST /ner over {len(SENTENCES)} languages and mixed lengths. {escape(facts["date"])}, '
        f"{escape(facts['machine'])}.</p>"
        f"{verdict}{notes}{_cards(findings)}<ul>{ratios}</ul>{''.join(_sections(result))}"
        f'<section><h2>How it was run</h2><dl class="facts">{details}</dl></section></main></body></html>\n'
    )
